//! Largest frame, clip and file that is decoded; checked before memory is asked for.

use std::path::Path;

use crate::{Error, Result};

/// Longest side of a frame, in pixels.
pub const MAX_SIDE: usize = 8192;
/// Most pixels in a frame.
pub const MAX_PIXELS: usize = 64_000_000;
/// Most frames in a file.
pub const MAX_FRAMES: usize = 1_000_000;
/// Most bytes in a decoded clip.
pub const MAX_CLIP_BYTES: usize = 4 << 30;
/// Most frames in a GIF file.
pub const MAX_GIF_FRAMES: usize = 100_000;
/// Most bytes in a GIF that is decoded as a whole.
pub const MAX_GIF_BYTES: usize = 2 << 30;

/// Refuses a frame size that no sane file has, before anything is allocated for it.
pub fn check_frame(path: &Path, width: usize, height: usize) -> Result<()> {
    let pixels = width.saturating_mul(height);
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(Error::media(
            path,
            format!(
                "frame size {width}x{height} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE} \
                 or above {MAX_PIXELS} pixels"
            ),
        ));
    }
    Ok(())
}

/// Bytes of a clip [T, H, W, C], if they are not too many.
pub fn clip_bytes(shape: [usize; 4]) -> Result<usize> {
    let bytes = shape
        .iter()
        .try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    bytes
        .filter(|bytes| *bytes <= MAX_CLIP_BYTES)
        .ok_or_else(|| {
            let text = format!("a clip {shape:?} has more than {MAX_CLIP_BYTES} bytes");
            Error::Argument(text)
        })
}
