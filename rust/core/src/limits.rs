//! Largest frame, clip and file that is decoded; checked before memory is asked for.
//!
//! The numbers are settings of the process whose defaults Python owns. Until they are handed over all
//! are 0, and nothing is read.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::{Error, Result};

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest side of a frame, in pixels.
    pub max_side: usize,
    /// Most pixels in a frame.
    pub max_pixels: usize,
    /// Most frames in a file.
    pub max_frames: usize,
    /// Most bytes in a decoded clip.
    pub max_clip_bytes: usize,
    /// Most frames in a GIF file.
    pub max_gif_frames: usize,
    /// Most bytes in a GIF that is decoded as a whole.
    pub max_gif_bytes: usize,
    /// Longest time without a frame of a video that was opened.
    pub open_timeout: Duration,
}

static CURRENT: [AtomicUsize; 7] = [const { AtomicUsize::new(0) }; 7];

/// From now on these hold; one by one, for the threads that read meanwhile.
pub fn set(limits: &Limits) {
    let timeout_ns = usize::try_from(limits.open_timeout.as_nanos()).unwrap_or(usize::MAX);
    let values = [
        limits.max_side,
        limits.max_pixels,
        limits.max_frames,
        limits.max_clip_bytes,
        limits.max_gif_frames,
        limits.max_gif_bytes,
        timeout_ns,
    ];
    for (cell, value) in CURRENT.iter().zip(values) {
        cell.store(value, Ordering::Relaxed);
    }
}

/// Those that hold now.
pub fn get() -> Limits {
    let values = CURRENT.each_ref().map(|cell| cell.load(Ordering::Relaxed));
    Limits {
        max_side: values[0],
        max_pixels: values[1],
        max_frames: values[2],
        max_clip_bytes: values[3],
        max_gif_frames: values[4],
        max_gif_bytes: values[5],
        open_timeout: Duration::from_nanos(values[6] as u64),
    }
}

/// Refuses a frame size that no sane file has, before anything is allocated for it.
pub fn check_frame(path: &Path, width: usize, height: usize) -> Result<()> {
    let (side, most) = (get().max_side, get().max_pixels);
    let pixels = width.saturating_mul(height);
    if width == 0 || height == 0 || width > side || height > side || pixels > most {
        let reason = format!(
            "frame size {width}x{height} is outside 1x1 to {side}x{side} or above {most} pixels"
        );
        return Err(Error::media(path, reason));
    }
    Ok(())
}

/// Refuses a file of more frames than any should have.
pub fn check_frames(path: &Path, frames: usize) -> Result<()> {
    let most = get().max_frames;
    if frames > most {
        return Err(Error::media(path, format!("has more than {most} frames")));
    }
    Ok(())
}

/// Bytes of a clip [T, H, W, C], if they are not too many.
pub fn clip_bytes(shape: [usize; 4]) -> Result<usize> {
    let most = get().max_clip_bytes;
    let bytes = shape
        .iter()
        .try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    bytes.filter(|bytes| *bytes <= most).ok_or_else(|| {
        let text = format!("a clip {shape:?} has more than {most} bytes");
        Error::Argument(text)
    })
}
