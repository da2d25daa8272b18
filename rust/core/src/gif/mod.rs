//! Clips to GIF files: palette, dither, frame differencing, container.

mod cluster;
mod dither;
mod encoder;
mod frame;
mod histogram;
mod lossy;
mod lzw;
mod mask;
mod nearest;
mod options;
mod palette;
mod scan;

use crate::{Error, Result};
pub use encoder::Encoder;
use frame::Picture;
pub use options::{Dither, Options, PaletteScope, Quality};

/// A pixel with alpha below one half; opaque pixels are `0x00RRGGBB`.
const CLEAR: u32 = u32::MAX;
/// Errors up to this many levels, which nobody sees, end where they arise instead of making noise.
const UNSEEN: i32 = 2;
/// Alpha from which on a pixel is opaque.
const OPAQUE_ALPHA: u8 = 128;

/// Borrowed frames `[T, H, W, C]`, C = 1 (grey), 3 (RGB) or 4 (RGBA, alpha cut at one half).
#[derive(Clone, Copy, Debug)]
pub struct ClipView<'a> {
    data: &'a [u8],
    frames: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl<'a> ClipView<'a> {
    /// Wraps `data`, refusing shapes that no GIF has.
    pub fn new(data: &'a [u8], shape: [usize; 4]) -> Result<Self> {
        let [frames, height, width, channels] = shape;
        let sides = 1..=usize::from(u16::MAX);
        let is_sane = frames > 0 && sides.contains(&height) && sides.contains(&width);
        let len = shape.iter().try_fold(1_usize, |len, n| len.checked_mul(*n));
        if !is_sane || ![1, 3, 4].contains(&channels) || len != Some(data.len()) {
            return Err(Error::Argument(format!(
                "a GIF needs [T, H, W, C] with T >= 1, H and W in 1..=65535 and C in 1, 3, 4, \
                 got {shape:?} in {} bytes",
                data.len()
            )));
        }
        Ok(Self {
            data,
            frames,
            height,
            width,
            channels,
        })
    }

    fn picture(&self, frame: usize) -> Picture<'a> {
        let size = self.height * self.width * self.channels;
        Picture {
            bytes: &self.data[frame * size..(frame + 1) * size],
            width: self.width,
            channels: self.channels,
        }
    }

    fn has_clear(&self) -> bool {
        self.channels == 4
            && self
                .data
                .chunks_exact(4)
                .any(|pixel| pixel[3] < OPAQUE_ALPHA)
    }
}

fn pack([r, g, b]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, r, g, b])
}

fn unpack(color: u32) -> [u8; 3] {
    let [_, r, g, b] = color.to_be_bytes();
    [r, g, b]
}

/// An array by the axes of the colour cube; `map` of an array is not always inlined.
#[inline]
fn per_axis<T>(value: impl Fn(usize) -> T) -> [T; 3] {
    [value(0), value(1), value(2)]
}

/// The clip as a GIF file; frame i is shown for `delays[i]` hundredths of a second.
///
/// With at most `colors` colours the file holds every pixel exactly. Equal arguments give equal
/// bytes, whatever the number of threads.
pub fn encode(clip: &ClipView<'_>, delays: &[u16], options: &Options) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(clip.width, clip.height, options)?;
    encoder.scan(clip)?;
    let mut file = encoder.write(clip, delays)?;
    file.extend(encoder.finish());
    Ok(file)
}
