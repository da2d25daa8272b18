//! The first look at a clip: where its scenes begin, and which palette each gets.

use super::frame::Picture;
use super::palette::{Palette, Seen, Stock};
use super::{CLEAR, ClipView, Options, PaletteScope, unpack};
use crate::parallel;

/// Pixels of a frame that tell its scene.
const SIGNATURE_PIXELS: usize = 4096;
/// Colours of a signature, eight along each axis.
const SIGNATURE_CELLS: usize = 512;
/// A scene begins where this share of the pixels has other colours than in the frame before.
const CUT_SHARE: f32 = 0.45;

/// What is known of the frames seen so far.
pub struct Scan {
    frames: usize,
    pub has_clear: bool,
    /// First frame and colours of each scene; none where each frame has its own palette.
    scenes: Vec<(usize, Seen)>,
    last: Vec<f32>,
}

impl Scan {
    pub fn new() -> Self {
        Self {
            frames: 0,
            has_clear: false,
            scenes: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Takes in the frames that follow.
    pub fn add(&mut self, clip: &ClipView<'_>, options: &Options) {
        self.has_clear |= clip.has_clear();
        let cuts = match options.palette {
            PaletteScope::Local => return,
            PaletteScope::Global if self.frames == 0 => vec![0],
            PaletteScope::Global => Vec::new(),
            PaletteScope::Scene => self.cuts(clip, options.threads),
        };
        let mut start = 0;
        while start < clip.frames {
            let end = cuts.iter().copied().find(|cut| *cut > start);
            let end = end.unwrap_or(clip.frames);
            if cuts.contains(&start) {
                if let Some((_, old)) = self.scenes.last_mut() {
                    old.close();
                }
                self.scenes.push((self.frames + start, Seen::new()));
            }
            self.add_to_scene(clip, start, end, options);
            start = end;
        }
        self.frames += clip.frames;
    }

    fn add_to_scene(&mut self, clip: &ClipView<'_>, start: usize, end: usize, options: &Options) {
        let share = (end - start).div_ceil(options.threads.max(1));
        let parts = (end - start).div_ceil(share);
        let parts = parallel::map(options.threads, 0..parts, |part| {
            let mut seen = Seen::new();
            let from = start + part * share;
            for i in from..(from + share).min(end) {
                seen.add(clip.picture(i), self.frames + i, options.quality);
            }
            seen
        });
        if let Some((_, scene)) = self.scenes.last_mut() {
            for part in parts {
                scene.merge(part);
            }
        }
    }

    /// Frames of `clip` that begin a scene.
    fn cuts(&mut self, clip: &ClipView<'_>, threads: usize) -> Vec<usize> {
        let signatures = parallel::map(threads, 0..clip.frames, |i| signature(clip.picture(i)));
        let mut cuts = Vec::new();
        for (i, signature) in signatures.into_iter().enumerate() {
            let apart = signature.iter().zip(&self.last).map(|(a, b)| (a - b).abs());
            if self.last.is_empty() || apart.sum::<f32>() > 2.0 * CUT_SHARE {
                cuts.push(i);
            }
            self.last = signature;
        }
        cuts
    }

    /// First frame and palette of each scene.
    pub fn palettes(self, stock: Stock, threads: usize) -> Vec<(usize, Palette)> {
        let is_moving = self.frames > 1;
        parallel::map(threads, self.scenes, |(first, seen)| {
            (first, seen.palette(stock, is_moving))
        })
    }
}

/// Shares of coarse colours.
fn signature(picture: Picture<'_>) -> Vec<f32> {
    let step = (picture.width * picture.height()).div_ceil(SIGNATURE_PIXELS);
    let mut counts = vec![0.0; SIGNATURE_CELLS];
    let (mut row, mut total) = (Vec::new(), 0.0_f32);
    for y in 0..picture.height() {
        let start = 5 * y % step;
        if start >= picture.width {
            continue;
        }
        picture.unpack_row(y, &mut row);
        let pixels = row.iter().skip(start).step_by(step);
        for pixel in pixels.filter(|pixel| **pixel != CLEAR) {
            let [r, g, b] = unpack(*pixel).map(|v| usize::from(v >> 5));
            counts[r << 6 | g << 3 | b] += 1.0;
            total += 1.0;
        }
    }
    counts.iter().map(|count| count / total.max(1.0)).collect()
}
