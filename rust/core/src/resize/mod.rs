//! From the planes of a decoder to a small RGB picture in one pass: each output row is mixed from
//! rows of samples, resized, turned into RGB and written, while it is in the cache.
//!
//! The weights of a plane with fewer samples than the picture hold the linear interpolation of its
//! samples to pixels as well, so the result is that of a resize of the RGB picture, but for rounding.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_color;
#[cfg(target_arch = "x86_64")]
mod avx2_native;
mod axis;
mod color;
#[cfg(target_arch = "x86_64")]
mod narrow;
#[cfg(target_arch = "x86_64")]
mod native;
mod rows;

use std::sync::OnceLock;

pub use axis::Filter;
pub(crate) use axis::{Grid, Span};
pub(crate) use color::Matrix;

use axis::{BLOCK, ONE, Weights};
use rows::{Mix, POINT, Sample, mix_columns, mix_rows, widen};

/// What the samples of a picture mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Bits of a sample, 8 to 15.
    pub depth: u32,
    pub colors: Colors,
}

impl Format {
    /// Packed 8-bit RGB.
    pub const RGB: Self = Self {
        depth: 8,
        colors: Colors::Rgb,
    };
}

/// How the planes hold colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colors {
    /// One plane of red, green, blue.
    Rgb,
    /// A plane of Y, and one each for Cb and Cr or one for both.
    Yuv {
        matrix: Matrix,
        /// Rows and columns of Cb and Cr.
        chroma: [Grid; 2],
        is_joined: bool,
    },
}

/// The rows of a plane, with one sample after the other for each of its components.
pub(crate) enum Rows<'a> {
    Bytes(Vec<&'a [u8]>),
    Words(Vec<&'a [u16]>),
}

/// A resize of pictures of one format and size.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    format: Format,
    /// Height and width of the pictures.
    source: [usize; 2],
    filter: Filter,
    spans: [Span; 2],
    /// Worked out when they are first needed: many weights where the output is large.
    planes: OnceLock<Vec<Plane>>,
    #[cfg(target_arch = "x86_64")]
    native: Option<native::Native>,
}

#[derive(Clone, Debug)]
struct Plane {
    rows: Weights,
    cols: Weights,
    components: usize,
    depth: u32,
    /// What lies around the picture, between the passes.
    black: i16,
}

/// Buffers that are used again for each frame.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    mixed: Vec<i16>,
    lanes: [Lane; 3],
}

#[derive(Debug, Default)]
struct Lane {
    samples: Vec<i16>,
    pixels: Vec<i16>,
}

impl Resize {
    /// A resize of pictures `size` (height, width) by `spans` of rows and columns.
    pub fn new(format: Format, size: [usize; 2], filter: Filter, spans: [Span; 2]) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            native: native::Native::new(format, filter, spans),
            format,
            source: size,
            filter,
            spans,
            planes: OnceLock::new(),
        }
    }

    fn planes(&self) -> Vec<Plane> {
        let plane = |grids: [Grid; 2], components, black| {
            let axis = |i: usize| Weights::new(self.filter, self.spans[i], grids[i], black);
            Plane {
                rows: axis(0),
                cols: axis(1),
                components,
                depth: self.format.depth,
                black,
            }
        };
        let full = self.source.map(Grid::full);
        match self.format.colors {
            Colors::Rgb => vec![plane(full, 3, 0)],
            Colors::Yuv {
                matrix,
                chroma,
                is_joined,
            } => {
                let luma = plane(full, 1, matrix.black << POINT);
                let components = if is_joined { 2 } else { 1 };
                let color = plane(chroma, components, color::NO_COLOR);
                let colors = std::iter::repeat_n(color, 2 / components);
                std::iter::once(luma).chain(colors).collect()
            }
        }
    }

    /// Writes the picture to `out`, [h, w, 3].
    pub fn show(&self, picture: &[Rows], scratch: &mut Scratch, out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if let (Some(native), [Rows::Bytes(luma), Rows::Bytes(cb), Rows::Bytes(cr)]) =
            (&self.native, picture)
        {
            let [_, first, second] = &mut scratch.lanes;
            native.show(
                [luma, cb, cr],
                [&mut first.samples, &mut second.samples],
                out,
            );
            return;
        }
        self.show_by_passes(picture, scratch, out);
    }

    fn show_by_passes(&self, picture: &[Rows], scratch: &mut Scratch, out: &mut [u8]) {
        let width = self.spans[1].out;
        let planes = self.planes.get_or_init(|| self.planes());
        let matrix = match &self.format.colors {
            Colors::Rgb => None,
            Colors::Yuv { matrix, .. } => Some(matrix),
        };
        for (i, out) in out.chunks_exact_mut(3 * width).enumerate() {
            let mut done = 0;
            for (plane, rows) in planes.iter().zip(picture) {
                let lanes = &mut scratch.lanes[done..done + plane.components];
                if let [lane] = lanes {
                    plane.mix(rows, i, &mut lane.samples);
                } else {
                    plane.mix(rows, i, &mut scratch.mixed);
                    split(&scratch.mixed, lanes);
                }
                for lane in lanes {
                    plane.stretch(lane, width);
                }
                done += plane.components;
            }
            let lanes = scratch.lanes.each_ref().map(|lane| &lane.pixels[..width]);
            color::to_rgb(lanes, matrix, out);
        }
    }
}

impl Plane {
    /// Row `i` of the output, at the width of the source.
    fn mix(&self, rows: &Rows, i: usize, mixed: &mut Vec<i16>) {
        let count = self.cols.used.len() * self.components;
        let length = self.cols.row_length() * self.components;
        if mixed.len() != length {
            mixed.clear();
            mixed.resize(length, 0);
        }
        match rows {
            Rows::Bytes(rows) => self.mix_samples(rows, i, &mut mixed[..count]),
            Rows::Words(rows) => self.mix_samples(rows, i, &mut mixed[..count]),
        }
    }

    fn mix_samples<S: Sample>(&self, rows: &[&[S]], i: usize, mixed: &mut [i16]) {
        let used = self.cols.used.start * self.components..self.cols.used.end * self.components;
        let (span, weights) = self.rows.row(i);
        let first = self.rows.used.start;
        let rows = &rows[first + span.start..first + span.end];
        if let ([row], true) = (rows, weights == [ONE as i16]) {
            widen(&row[used], self.depth, mixed);
            return;
        }
        let shift = self.depth - 8 + POINT;
        let black = i32::from(self.black) >> (8 + POINT - self.depth);
        let mix = Mix {
            from: used.start,
            weights,
            init: self.rows.fills[i] * black + (1 << (shift - 1)),
            shift,
        };
        mix_rows(rows, &mix, mixed);
    }

    fn stretch(&self, lane: &mut Lane, width: usize) {
        if self.cols.is_copy {
            std::mem::swap(&mut lane.pixels, &mut lane.samples);
        } else {
            lane.pixels.resize(width.next_multiple_of(BLOCK), 0);
            mix_columns(&lane.samples, &self.cols, &mut lane.pixels);
        }
    }
}

/// Gives each component a row of its own.
fn split(mixed: &[i16], lanes: &mut [Lane]) {
    let count = lanes.len();
    for (i, lane) in lanes.iter_mut().enumerate() {
        lane.samples.clear();
        lane.samples.extend(mixed.iter().skip(i).step_by(count));
    }
}

#[cfg(test)]
mod tests;
