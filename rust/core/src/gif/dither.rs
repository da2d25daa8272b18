//! Pixels to palette entries, with Floyd-Steinberg error diffusion.

use super::frame::Canvas;
use super::palette::Palette;
use super::{CLEAR, unpack};

/// Entry of a pixel that keeps what the canvas shows.
pub const KEEP: u16 = u16::MAX;

/// A frame in palette entries.
pub struct Mapped {
    /// The frame as it came.
    pub source: Vec<u32>,
    /// An entry for each pixel, or [`KEEP`].
    pub entries: Vec<u16>,
}

impl Mapped {
    /// Maps `source`; with a transparent entry, pixels equal to the frame before are kept.
    pub fn new(source: Vec<u32>, canvas: &Canvas, palette: &mut Palette, dither: bool) -> Self {
        let can_keep = palette.transparent().is_some();
        let is_kept = |i: usize, pixel: u32| pixel == CLEAR || can_keep && canvas.holds(i, pixel);
        let entries = if dither && !palette.is_exact() {
            diffuse(&source, canvas.width(), palette, is_kept)
        } else {
            let entry = |(i, pixel): (usize, &u32)| {
                if is_kept(i, *pixel) {
                    KEEP
                } else {
                    palette.index(unpack(*pixel)).into()
                }
            };
            source.iter().enumerate().map(entry).collect()
        };
        Self { source, entries }
    }
}

/// Floyd and Steinberg 1976, every second row from right to left.
///
/// Shares are whole levels, rounded towards nought: errors of one or two levels, which nobody sees,
/// end where they arise instead of making noise. A kept pixel takes and gives none: its surroundings
/// were balanced when it was drawn.
fn diffuse(
    source: &[u32],
    width: usize,
    palette: &mut Palette,
    is_kept: impl Fn(usize, u32) -> bool,
) -> Vec<u16> {
    let mut entries = vec![KEEP; source.len()];
    // one spare cell at both ends takes what falls over the edge
    let mut here = vec![[0_i32; 3]; width + 2];
    let mut below = here.clone();
    for (y, row) in source.chunks_exact(width).enumerate() {
        let is_leftward = y % 2 == 1;
        for step in 0..width {
            let x = if is_leftward { width - 1 - step } else { step };
            let (ahead, behind) = if is_leftward { (x, x + 2) } else { (x + 2, x) };
            let i = y * width + x;
            if is_kept(i, row[x]) {
                continue;
            }
            let color = unpack(row[x]);
            let wanted: [u8; 3] = std::array::from_fn(|axis| {
                (i32::from(color[axis]) + here[x + 1][axis]).clamp(0, 255) as u8
            });
            let index = palette.index(wanted);
            let shown = palette.color(index);
            for axis in 0..3 {
                let error = i32::from(wanted[axis]) - i32::from(shown[axis]);
                here[ahead][axis] += 7 * error / 16;
                below[behind][axis] += 3 * error / 16;
                below[x + 1][axis] += 5 * error / 16;
                below[ahead][axis] += error / 16;
            }
            entries[i] = u16::from(index);
        }
        std::mem::swap(&mut here, &mut below);
        below.fill([0; 3]);
    }
    entries
}
