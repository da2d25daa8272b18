//! Limits of what is read.

use std::time::Duration;

use fastvd_core::limits::{self, Limits};
use pyo3::prelude::*;

/// Largest frame, clip and file that is decoded from now on.
#[pyfunction]
#[pyo3(signature = (*, max_side, max_pixels, max_frames, max_clip_bytes, max_gif_frames, max_gif_bytes, open_timeout_s))]
pub fn set_limits(
    max_side: usize,
    max_pixels: usize,
    max_frames: usize,
    max_clip_bytes: usize,
    max_gif_frames: usize,
    max_gif_bytes: usize,
    open_timeout_s: f64,
) {
    limits::set(&Limits {
        max_side,
        max_pixels,
        max_frames,
        max_clip_bytes,
        max_gif_frames,
        max_gif_bytes,
        // infinity is for ever
        open_timeout: Duration::try_from_secs_f64(open_timeout_s).unwrap_or(Duration::MAX),
    });
}
