//! Clips to GIF files: palette, dither, frame differencing, container.

mod cluster;
mod dither;
mod frame;
mod palette;

use crate::{Error, Result};
use dither::Mapped;
use frame::Canvas;
use palette::{Palette, Stock};

/// A pixel with alpha below one half; opaque pixels are `0x00RRGGBB`.
const CLEAR: u32 = u32::MAX;
/// Alpha from which on a pixel is opaque.
const OPAQUE_ALPHA: u8 = 128;

/// Where the colours of a frame are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaletteScope {
    /// One palette for the clip.
    Global,
    /// A palette for each frame.
    Local,
}

/// How a clip is encoded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most entries of a palette, 2 to 256; a transparent entry counts.
    pub colors: usize,
    /// Floyd-Steinberg error diffusion, where a palette can't hold every colour.
    pub dither: bool,
    /// One palette or one for each frame.
    pub palette: PaletteScope,
    /// How often the clip is shown again: 0 for ever, `None` not at all.
    pub repeat: Option<u16>,
}

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

    /// The pixels of one frame as `0x00RRGGBB` or [`CLEAR`].
    fn pixels(&self, frame: usize) -> impl Iterator<Item = u32> + 'a {
        let size = self.height * self.width * self.channels;
        let bytes = self
            .data
            .get(frame * size..(frame + 1) * size)
            .unwrap_or_default();
        bytes.chunks_exact(self.channels).map(|pixel| match *pixel {
            [grey] => pack([grey; 3]),
            [r, g, b] => pack([r, g, b]),
            [r, g, b, alpha] if alpha >= OPAQUE_ALPHA => pack([r, g, b]),
            _ => CLEAR,
        })
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

/// The clip as a GIF file; frame i is shown for `delays[i]` hundredths of a second.
///
/// With at most `colors` colours the file holds every pixel exactly. Equal arguments give equal
/// bytes.
pub fn encode(clip: &ClipView<'_>, delays: &[u16], options: &Options) -> Result<Vec<u8>> {
    check(clip, delays, options)?;
    let stock = Stock {
        colors: options.colors,
        has_clear: clip.has_clear(),
    };
    let mut global = match options.palette {
        PaletteScope::Global => Some(global_palette(clip, stock)),
        PaletteScope::Local => None,
    };
    let table = global.as_ref().map(Palette::bytes).unwrap_or_default();
    // the sides were checked to fit
    let mut file = gif::Encoder::new(Vec::new(), clip.width as u16, clip.height as u16, &table)
        .map_err(internal)?;
    if let Some(count) = options.repeat {
        file.set_repeat(if count == 0 {
            gif::Repeat::Infinite
        } else {
            gif::Repeat::Finite(count)
        })
        .map_err(internal)?;
    }
    let mut canvas = Canvas::new(clip.width, clip.height, stock.has_clear);
    for (i, delay) in delays.iter().enumerate() {
        let source: Vec<u32> = clip.pixels(i).collect();
        let mut local = match global {
            Some(_) => None,
            None => Some(canvas.local_palette(&source, stock)),
        };
        let Some(palette) = local.as_mut().or(global.as_mut()) else {
            break;
        };
        let mapped = Mapped::new(source, &canvas, palette, options.dither);
        let mut frame = canvas.draw(mapped, palette);
        frame.delay = *delay;
        frame.palette = local.as_ref().map(Palette::bytes);
        file.write_lzw_pre_encoded_frame(&frame).map_err(internal)?;
    }
    file.into_inner().map_err(internal)
}

fn check(clip: &ClipView<'_>, delays: &[u16], options: &Options) -> Result<()> {
    if delays.len() != clip.frames {
        let text = format!(
            "{} frames need as many delays, got {}",
            clip.frames,
            delays.len()
        );
        return Err(Error::Argument(text));
    }
    if !(2..=256).contains(&options.colors) {
        let text = format!("colors must be in 2..=256, got {}", options.colors);
        return Err(Error::Argument(text));
    }
    Ok(())
}

fn global_palette(clip: &ClipView<'_>, stock: Stock) -> Palette {
    let pixels = || (0..clip.frames).flat_map(|i| clip.pixels(i));
    Palette::new(pixels, stock, clip.frames > 1)
}

// writing to memory fails only where this module hands over a malformed frame
#[allow(
    clippy::needless_pass_by_value,
    reason = "map_err hands over the value"
)]
fn internal(error: gif::EncodingError) -> Error {
    Error::Argument(format!("GIF encoder: {error}"))
}
