//! Moves frames: video and GIF files to `u8` clips `[T, H, W, C]`, clips to batches and GIF files.

pub mod av1;
mod avi;
pub mod batch;
mod bits;
pub mod clip;
pub mod convert;
pub mod error;
pub mod ffmpeg;
pub mod gif;
pub mod h264;
pub mod index;
pub mod limits;
pub mod map;
mod mp4;
mod mpeg4;
pub mod order;
pub mod parallel;
pub mod pixels;
pub mod resize;
pub mod source;
pub mod store;
mod tables;
mod track;

pub use error::{Error, Result};

#[cfg(test)]
extern crate self as fastvd_core;
#[cfg(test)]
#[path = "../tests/shared/mod.rs"]
mod shared;
