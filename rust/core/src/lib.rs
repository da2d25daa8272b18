//! Moves frames: video and GIF files to `u8` clips `[T, H, W, C]`, and clips to GIF files.

pub mod clip;
pub mod convert;
pub mod error;
pub mod ffmpeg;
pub mod gif;
pub mod index;
pub mod limits;
pub mod parallel;
pub mod resize;
pub mod source;
mod tables;
mod track;

pub use error::{Error, Result};
