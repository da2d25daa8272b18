//! Limits for the tests: the process has none until they are set.

use std::time::Duration;

use fastvd_core::limits::{self, Limits};

/// A side whose square is within the limit for pixels.
pub const MAX_SIDE: usize = 4096;
pub const MAX_GIF_FRAMES: usize = 1000;
/// So many frames of the largest square may be in a GIF.
pub const MAX_SQUARES: usize = 4;

pub fn set() {
    limits::set(&Limits {
        max_side: MAX_SIDE,
        max_pixels: MAX_SIDE * MAX_SIDE,
        max_frames: 10_000,
        max_clip_bytes: 1 << 30,
        max_gif_frames: MAX_GIF_FRAMES,
        max_gif_bytes: MAX_SQUARES * MAX_SIDE * MAX_SIDE * 3,
        open_timeout: Duration::MAX,
    });
}
