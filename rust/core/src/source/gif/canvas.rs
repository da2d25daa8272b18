//! Frames laid over one another, as a viewer does it.

use super::layout::{Disposal, Frame, Layout};
use crate::parallel;

type Color = [u8; 3];
const BLACK: Color = [0; 3];
/// Rows that a thread composes at a time.
const BAND: usize = 32;

/// What a viewer sees, black where nothing was drawn.
pub struct Canvas<'a> {
    bytes: &'a [u8],
    layout: &'a Layout,
    bands: Vec<Band>,
}

/// Some rows of the canvas.
struct Band {
    top: usize,
    pixels: Vec<Color>,
    /// The pixels under a frame that is to be taken away again.
    before: Vec<Color>,
}

/// What all bands need to know of a frame.
struct Coat<'a> {
    frame: &'a Frame,
    entries: &'a [u8],
    colors: [Color; 256],
    wiped: Color,
}

impl<'a> Canvas<'a> {
    pub fn new(bytes: &'a [u8], layout: &'a Layout) -> Self {
        let screen = &layout.screen;
        let mut canvas = Self {
            bytes,
            layout,
            bands: Vec::new(),
        };
        let first = layout.frames.first();
        let color = first.map_or(BLACK, |frame| canvas.wipe_color(frame));
        for top in (0..screen.height).step_by(BAND) {
            let rows = BAND.min(screen.height - top);
            canvas.bands.push(Band {
                top,
                pixels: vec![color; rows * screen.width],
                before: Vec::new(),
            });
        }
        canvas
    }

    /// Lays frames over the canvas, each of its entries, and copies what is then seen to `clip`.
    pub fn paint(
        &mut self,
        threads: usize,
        frames: &[Frame],
        entries: &[Vec<u8>],
        clip: &mut [u8],
    ) {
        let screen = &self.layout.screen;
        let coats: Vec<Coat<'_>> = frames
            .iter()
            .zip(entries)
            .map(|(frame, entries)| self.coat(frame, entries))
            .collect();
        let mut seen: Vec<Vec<&mut [u8]>> = Vec::new();
        seen.resize_with(self.bands.len(), Vec::new);
        let row_bytes = 3 * screen.width;
        for picture in clip.chunks_mut(row_bytes * screen.height) {
            for (band, part) in seen.iter_mut().zip(picture.chunks_mut(row_bytes * BAND)) {
                band.push(part);
            }
        }
        let work = self.bands.iter_mut().zip(seen);
        parallel::map(threads, work, |(band, seen)| {
            for (coat, seen) in coats.iter().zip(seen) {
                band.paint(coat, screen.width);
                seen.copy_from_slice(band.pixels.as_flattened());
                band.dispose(coat, screen.width);
            }
        });
    }

    fn coat<'b>(&self, frame: &'b Frame, entries: &'b [u8]) -> Coat<'b> {
        let table = match &frame.table {
            own if own.is_empty() => &self.layout.screen.table,
            own => own,
        };
        // a pixel without an entry is drawn black
        let mut colors = [BLACK; 256];
        let values = &self.bytes[table.clone()];
        for (slot, value) in colors.as_flattened_mut().iter_mut().zip(values) {
            *slot = *value;
        }
        Coat {
            frame,
            entries,
            colors,
            wiped: self.wipe_color(frame),
        }
    }

    fn wipe_color(&self, frame: &Frame) -> Color {
        let screen = &self.layout.screen;
        let table = self.bytes[screen.table.clone()].as_chunks().0;
        let background = table.get(screen.background).copied().unwrap_or(BLACK);
        if frame.transparent.is_some() {
            BLACK
        } else {
            background
        }
    }
}

impl Band {
    fn paint(&mut self, coat: &Coat<'_>, canvas_width: usize) {
        let frame = coat.frame;
        if frame.disposal == Disposal::Restore {
            self.before.clone_from(&self.pixels);
        }
        for (y, row) in self.rows(frame, canvas_width) {
            let start = stored_row(frame, y) * frame.width;
            let entries = &coat.entries[start..start + frame.width];
            if let Some(transparent) = frame.transparent {
                for (pixel, entry) in row.iter_mut().zip(entries) {
                    if *entry != transparent {
                        *pixel = coat.colors[usize::from(*entry)];
                    }
                }
            } else {
                for (pixel, entry) in row.iter_mut().zip(entries) {
                    *pixel = coat.colors[usize::from(*entry)];
                }
            }
        }
    }

    /// Readies the band for the frame after this one.
    fn dispose(&mut self, coat: &Coat<'_>, canvas_width: usize) {
        match coat.frame.disposal {
            Disposal::Keep => {}
            Disposal::Wipe => {
                let rows = self.rows(coat.frame, canvas_width);
                rows.for_each(|(_, row)| row.fill(coat.wiped));
            }
            Disposal::Restore => self.pixels.clone_from(&self.before),
        }
    }

    /// The rows of a frame in this band: number in the frame, and the pixels it covers.
    fn rows(&mut self, frame: &Frame, width: usize) -> impl Iterator<Item = (usize, &mut [Color])> {
        let (left, right) = (frame.left, frame.left + frame.width);
        let (top, bottom) = (frame.top, frame.top + frame.height);
        let rows = (self.top..).zip(self.pixels.chunks_exact_mut(width));
        rows.filter(move |(y, _)| (top..bottom).contains(y))
            .map(move |(y, row)| (y - top, &mut row[left..right]))
    }
}

/// Where the data of a frame holds its row `y`.
fn stored_row(frame: &Frame, y: usize) -> usize {
    if !frame.is_interlaced {
        return y;
    }
    let height = frame.height;
    // every 8th row, every 8th from the 4th, every 4th from the 2nd, every 2nd from the 1st
    let (eighths, fourths) = (height.div_ceil(8), height.div_ceil(4));
    match y % 8 {
        0 => y / 8,
        4 => eighths + y / 8,
        2 | 6 => fourths + y / 4,
        _ => height.div_ceil(2) + y / 2,
    }
}
