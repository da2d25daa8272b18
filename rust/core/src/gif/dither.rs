//! Pixels to palette entries, with error diffusion or a threshold mask.

use super::frame::Picture;
use super::lzw::LEFT_OUT;
use super::mask::{self, Mask};
use super::nearest::Nearest;
use super::palette::{Lookup, Palette};
use super::{CLEAR, Dither, UNSEEN, per_axis, unpack};

/// A pixel that keeps what the canvas shows.
const KEPT: u32 = CLEAR;

/// An entry for each pixel of a picture, [`LEFT_OUT`] where it is transparent.
///
/// `before`: pixels equal to those of this earlier picture are left out, so that they never change;
/// the palette must have a transparent entry.
pub fn entries(
    picture: Picture<'_>,
    before: Option<Picture<'_>>,
    palette: &Palette,
    dither: Dither,
) -> Vec<u8> {
    let mut entries = vec![LEFT_OUT; picture.width * picture.height()];
    let mut rows = Rows {
        picture,
        before,
        old: Vec::new(),
    };
    let first = u8::from(palette.has_transparent());
    match (palette.lookup(), dither) {
        (Lookup::Exact(set), _) => {
            rows.each(&mut entries, |_, row, entries| {
                look_up(row, entries, |pixel| set.find(pixel) + first);
            });
        }
        (Lookup::Nearest(nearest), Dither::None) => {
            rows.each(&mut entries, |_, row, entries| {
                look_up(row, entries, |pixel| nearest.find(unpack(pixel)) + first);
            });
        }
        (Lookup::Nearest(nearest), Dither::Diffusion) => {
            let colors = &palette.colors()[usize::from(first)..];
            let mut errors = Errors::new(picture.width);
            rows.each(&mut entries, |y, row, entries| {
                errors.diffuse(y, row, entries, nearest, colors, first);
            });
        }
        (Lookup::Nearest(nearest), Dither::Ordered | Dither::BlueNoise) => {
            let is_ordered = dither == Dither::Ordered;
            let mask = if is_ordered {
                mask::bayer()
            } else {
                mask::blue_noise()
            };
            rows.each(&mut entries, |y, row, entries| {
                mix(y, row, entries, nearest, mask, first);
            });
        }
    }
    entries
}

fn look_up(row: &[u32], entries: &mut [u8], find: impl Fn(u32) -> u8) {
    let mut last = (KEPT, LEFT_OUT);
    for (pixel, entry) in row.iter().zip(entries) {
        if *pixel != last.0 {
            last = (
                *pixel,
                if *pixel == KEPT {
                    LEFT_OUT
                } else {
                    find(*pixel)
                },
            );
        }
        *entry = last.1;
    }
}

fn mix(y: usize, row: &[u32], entries: &mut [u8], nearest: &Nearest, mask: &Mask, first: u8) {
    for (x, (pixel, entry)) in row.iter().zip(entries).enumerate() {
        if *pixel != KEPT {
            *entry = nearest.mix(unpack(*pixel), mask.at(x, y)) + first;
        }
    }
}

/// The rows of a picture, with what is kept marked.
struct Rows<'a> {
    picture: Picture<'a>,
    before: Option<Picture<'a>>,
    old: Vec<u32>,
}

impl Rows<'_> {
    /// Hands over number, pixels and entries of each row.
    fn each(&mut self, entries: &mut [u8], mut see: impl FnMut(usize, &[u32], &mut [u8])) {
        let mut row = Vec::new();
        for (y, entries) in entries.chunks_exact_mut(self.picture.width).enumerate() {
            self.picture.unpack_row(y, &mut row);
            if let Some(before) = self.before {
                before.unpack_row(y, &mut self.old);
                for (pixel, old) in row.iter_mut().zip(&self.old) {
                    *pixel = if pixel == old { KEPT } else { *pixel };
                }
            }
            see(y, &row, entries);
        }
    }
}

/// Floyd and Steinberg 1976, every second row from right to left.
///
/// A kept pixel takes and gives no error: its surroundings were balanced when it was drawn.
struct Errors {
    /// Sixteenths of levels, for this row and the next, with a spare cell at both ends.
    here: Vec<[i32; 3]>,
    below: Vec<[i32; 3]>,
}

impl Errors {
    fn new(width: usize) -> Self {
        let here = vec![[0; 3]; width + 2];
        let below = here.clone();
        Self { here, below }
    }

    fn diffuse(
        &mut self,
        y: usize,
        row: &[u32],
        entries: &mut [u8],
        nearest: &Nearest,
        colors: &[[u8; 3]],
        first: u8,
    ) {
        let is_leftward = y % 2 == 1;
        // errors of this pixel's two predecessors, and what is due below the last
        let (mut ahead, mut due, mut late) = ([0; 3], [0; 3], [0; 3]);
        for step in 0..row.len() {
            let x = if is_leftward {
                row.len() - 1 - step
            } else {
                step
            };
            let behind = if is_leftward { x + 2 } else { x };
            let mut error = [0; 3];
            if row[x] != KEPT {
                let color = unpack(row[x]);
                let here = self.here[x + 1];
                let wanted: [u8; 3] = per_axis(|axis| {
                    let owed = here[axis] + 7 * ahead[axis];
                    (i32::from(color[axis]) + ((owed + 8) >> 4)).clamp(0, 255) as u8
                });
                let entry = nearest.find(wanted);
                let shown = colors[usize::from(entry)];
                error = per_axis(|axis| {
                    let error = i32::from(wanted[axis]) - i32::from(shown[axis]);
                    error - error.clamp(-UNSEEN, UNSEEN)
                });
                entries[x] = entry + first;
            }
            self.below[behind] = per_axis(|axis| due[axis] + 3 * error[axis]);
            due = per_axis(|axis| late[axis] + 5 * error[axis]);
            (late, ahead) = (error, error);
        }
        let last = if is_leftward { 1 } else { row.len() };
        self.below[last] = due;
        std::mem::swap(&mut self.here, &mut self.below);
    }
}
