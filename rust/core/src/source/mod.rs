//! One decoder for each kind of file.

pub mod gif;
pub(crate) mod stream;
pub mod video;
