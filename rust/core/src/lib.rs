//! Moves frames: video and GIF files to `u8` clips `[T, H, W, C]`, and clips to GIF files.

pub mod error;
pub mod gif;
pub mod limits;
pub mod source;

pub use error::{Error, Result};
