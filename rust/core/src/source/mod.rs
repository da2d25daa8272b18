//! One decoder for each kind of file.

pub(crate) mod builder;
mod cursor;
pub mod gif;
mod kept;
mod read;
pub(crate) mod stream;
pub mod video;
