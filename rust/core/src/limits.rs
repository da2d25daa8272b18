//! Largest frame, clip and file that is decoded; checked before memory is asked for.

use std::path::Path;

use crate::{Error, Result};

/// Longest side of a frame, in pixels.
pub const MAX_SIDE: usize = 8192;
/// Most pixels in a frame.
pub const MAX_PIXELS: usize = 64_000_000;
/// Most bytes in a decoded clip.
pub const MAX_CLIP_BYTES: usize = 4 << 30;
/// Most frames in a GIF file.
pub const MAX_GIF_FRAMES: usize = 100_000;
/// Most bytes in a GIF that is decoded as a whole.
pub const MAX_GIF_BYTES: usize = 2 << 30;

/// Refuses a frame size that no sane file has, before anything is allocated for it.
pub fn check_frame(path: &Path, width: usize, height: usize) -> Result<()> {
    let pixels = width.checked_mul(height).unwrap_or(usize::MAX);
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        let reason = format!("frame size {width}x{height} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}");
        return Err(Error::media(path, reason));
    }
    Ok(())
}
