//! What the viewer sees so far, and the smallest frame that turns it into the next.

use super::lzw::{Cell, LEFT_OUT, SAME};
use super::palette::{Palette, shown_colors};
use super::{CLEAR, OPAQUE_ALPHA, pack};
use crate::parallel;

/// Rows that a thread composes at a time.
const BAND: usize = 16;

/// One frame of a clip as it came.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    pub bytes: &'a [u8],
    pub width: usize,
    pub channels: usize,
}

impl<'a> Picture<'a> {
    pub fn height(&self) -> usize {
        self.bytes.len() / (self.width * self.channels)
    }

    pub fn row(&self, y: usize) -> &'a [u8] {
        let len = self.width * self.channels;
        &self.bytes[y * len..(y + 1) * len]
    }

    /// The pixels of a row as `0x00RRGGBB` or [`CLEAR`].
    pub fn unpack_row(&self, y: usize, pixels: &mut Vec<u32>) {
        let row = self.row(y);
        pixels.clear();
        match self.channels {
            1 => pixels.extend(row.iter().map(|grey| pack([*grey; 3]))),
            3 => pixels.extend(row.as_chunks().0.iter().map(|rgb| pack(*rgb))),
            _ => pixels.extend(row.as_chunks().0.iter().map(|[r, g, b, alpha]| {
                if *alpha >= OPAQUE_ALPHA {
                    pack([*r, *g, *b])
                } else {
                    CLEAR
                }
            })),
        }
    }
}

/// The picture after the frames drawn so far.
pub struct Canvas {
    width: usize,
    /// For each pixel the colour shown and in the top byte the entry that it had.
    shown: Vec<u32>,
    /// Nothing is shown.
    is_blank: bool,
    /// Frames hold transparent pixels: each is drawn whole and wiped before the next.
    is_wiped: bool,
}

/// The part of the canvas that a frame covers.
#[derive(Clone, Copy)]
pub struct Area {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

impl Canvas {
    pub fn new(width: usize, height: usize, is_wiped: bool) -> Self {
        Self {
            width,
            shown: vec![0; width * height],
            is_blank: true,
            is_wiped,
        }
    }

    /// Draws frame after frame, each in entries of its palette, and tells what they change.
    pub fn draw(
        &mut self,
        threads: usize,
        frames: &[Vec<u8>],
        palettes: &[&Palette],
    ) -> Vec<Vec<Cell>> {
        let tables: Vec<_> = palettes.iter().map(|p| shown_colors(p)).collect();
        let mut cells: Vec<_> = frames.iter().map(|f| vec![0; f.len()]).collect();
        let band = self.width * BAND;
        let mut bands: Vec<Vec<(&[u8], &mut [Cell])>> = Vec::new();
        bands.resize_with(self.shown.len().div_ceil(band), Vec::new);
        for (entries, cells) in frames.iter().zip(&mut cells) {
            let parts = entries.chunks(band).zip(cells.chunks_mut(band));
            for (band, part) in bands.iter_mut().zip(parts) {
                band.push(part);
            }
        }
        let (is_blank, is_wiped) = (self.is_blank, self.is_wiped);
        let work = self.shown.chunks_mut(band).zip(bands);
        parallel::map(threads, work, |(shown, frames)| {
            for (i, (entries, cells)) in frames.into_iter().enumerate() {
                let is_blank = is_wiped || is_blank && i == 0;
                compose(shown, entries, cells, (palettes[i], &tables[i]), is_blank);
            }
        });
        self.is_blank = is_wiped;
        cells
    }
}

/// Lays the entries over what is shown; a cell is the same where that changes nothing.
fn compose(
    shown: &mut [u32],
    entries: &[u8],
    cells: &mut [Cell],
    (palette, table): (&Palette, &[u32; 256]),
    is_blank: bool,
) {
    let keeps = palette.has_transparent();
    for ((cell, entry), shown) in cells.iter_mut().zip(entries).zip(shown) {
        *cell = if keeps && *entry == LEFT_OUT {
            let old = *shown >> 24;
            // an entry of an earlier palette says nothing now
            let is_known = !is_blank && table[old as usize] == *shown;
            SAME | if is_known { old as Cell } else { 0 }
        } else {
            let new = table[usize::from(*entry)];
            let is_same = !is_blank && (new ^ *shown) << 8 == 0;
            *shown = new;
            Cell::from(*entry) | if is_same { SAME } else { 0 }
        };
    }
}

/// The smallest rectangle around the cells that change; one pixel if none does.
pub fn changed_area(cells: &[Cell], canvas_width: usize) -> Area {
    let (mut left, mut right) = (canvas_width, 0);
    let (mut top, mut bottom) = (usize::MAX, 0);
    for (y, row) in cells.chunks_exact(canvas_width).enumerate() {
        let is_changed = |cell: &Cell| cell & SAME == 0;
        let Some(first) = row.iter().position(is_changed) else {
            continue;
        };
        let last = row.iter().rposition(is_changed).unwrap_or(first);
        (left, right) = (left.min(first), right.max(last));
        (top, bottom) = (top.min(y), y);
    }
    if top == usize::MAX {
        (left, right, top, bottom) = (0, 0, 0, 0);
    }
    Area {
        left,
        top,
        width: right - left + 1,
        height: bottom - top + 1,
    }
}

impl Area {
    /// The cells of the area.
    pub fn cut(&self, cells: &[Cell], canvas_width: usize) -> Vec<Cell> {
        let rows = cells.chunks_exact(canvas_width);
        let rows = rows.skip(self.top).take(self.height);
        rows.flat_map(|row| &row[self.left..self.left + self.width])
            .copied()
            .collect()
    }
}
