//! One decoder for each kind of file.

pub(crate) mod builder;
pub mod gif;
pub(crate) mod stream;
pub mod video;
