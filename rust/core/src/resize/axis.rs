//! Which samples of a plane make an output pixel, along one axis.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::narrow::Narrow;

/// Bits behind the point of a weight.
pub(super) const WEIGHT_BITS: u32 = 14;
/// A weight of one.
pub(super) const ONE: i32 = 1 << WEIGHT_BITS;

/// Which source pixels make an output pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle, as wide as the scale asks for (antialiased).
    Bilinear,
    /// The mean of the area under the output pixel.
    Area,
}

/// One axis of a view: `real` pixels of the source, from `first` on, lie at `pad` of a black canvas,
/// which is resized to `out` pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub canvas: usize,
    pub pad: usize,
    pub first: usize,
    pub real: usize,
    pub out: usize,
}

impl Span {
    /// The same part of a source that was made `scale` times smaller; `None` if its edges then lie
    /// between pixels, or if the output is so large that the smaller source would show (below 45 dB).
    pub fn reduced(self, scale: usize) -> Option<Self> {
        let edges = [self.canvas, self.pad, self.first, self.real];
        let is_whole = edges.iter().all(|edge| edge.is_multiple_of(scale));
        let [canvas, pad, first, real] = edges.map(|edge| edge / scale);
        (is_whole && 5 * canvas >= 7 * self.out).then_some(Self {
            canvas,
            pad,
            first,
            real,
            out: self.out,
        })
    }

    /// The same part of a source of `total` pixels that is read from its end.
    pub fn mirrored(self, total: usize) -> Self {
        Self {
            pad: self.canvas - self.pad - self.real,
            first: total - self.first - self.real,
            ..self
        }
    }

    /// Whether pixels stay as they are.
    pub fn is_copy(self) -> bool {
        self.out == self.canvas && self.real == self.canvas
    }
}

/// Where the samples of a plane lie along an axis of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Samples of the plane.
    pub samples: usize,
    /// Pixels from one sample to the next.
    pub step: usize,
    /// Where the first sample lies, in 256ths of a pixel from the centre of the first.
    pub place: i64,
}

/// Output pixels that are made at a time.
pub(super) const BLOCK: usize = 8;

/// For each output pixel: the first of its samples, and their weights.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// Samples that any output pixel takes; the others are never read.
    pub used: Range<usize>,
    /// First sample of each output pixel, from the start of `used`; whole blocks of them, the spare
    /// ones without weight.
    pub starts: Vec<usize>,
    /// How many samples each output pixel takes.
    counts: Vec<usize>,
    /// `taps` for each output pixel, those behind its samples zero.
    pub values: Vec<i16>,
    pub taps: usize,
    /// The weight of the black around the picture.
    pub fills: Vec<i32>,
    /// What the sums of the second pass start with: that black, and one half for the rounding.
    pub inits: Vec<i32>,
    /// Output pixels are the samples themselves.
    pub is_copy: bool,
    /// The same weights by blocks, where the samples of a block lie close together.
    #[cfg(target_arch = "x86_64")]
    pub narrow: Option<Narrow>,
}

impl Weights {
    /// Weights that first bring the plane to the picture's pixels (linearly) and then resize these;
    /// `black` is what lies around the picture.
    pub fn new(filter: Filter, span: Span, grid: Grid, black: i16) -> Self {
        let mut rows: Vec<Row> = (0..span.out)
            .map(|i| Row::new(filter, span, grid, i))
            .collect();
        rows.resize_with(span.out.next_multiple_of(BLOCK), Row::default);
        let used = rows.iter().filter(|row| !row.values.is_empty());
        let start = used.clone().map(|row| row.start).min().unwrap_or(0);
        let end = used.map(|row| row.start + row.values.len()).max();
        let longest = rows.iter().map(|row| row.values.len()).max().unwrap_or(0);
        for row in &mut rows {
            row.start = row.start.saturating_sub(start);
        }
        // what the vector code takes at a time
        let taps = longest.next_multiple_of(8).max(8);
        let mut values = vec![0; taps * rows.len()];
        for (to, row) in values.chunks_exact_mut(taps).zip(&rows) {
            to[..row.values.len()].copy_from_slice(&row.values);
        }
        Self {
            used: start..end.unwrap_or(start),
            starts: rows.iter().map(|row| row.start).collect(),
            counts: rows.iter().map(|row| row.values.len()).collect(),
            fills: rows.iter().map(|row| row.fill).collect(),
            inits: rows
                .iter()
                .map(|row| row.fill * i32::from(black) + ONE / 2)
                .collect(),
            values,
            taps,
            is_copy: span.is_copy() && grid.step == 1,
            #[cfg(target_arch = "x86_64")]
            narrow: Narrow::new(&rows, longest),
        }
    }

    /// Samples that a row must have, the spare ones behind its end zero.
    pub fn row_length(&self) -> usize {
        self.used.len() + self.taps
    }

    /// Samples, from the start of `used`, and weights of output pixel `i`.
    pub fn row(&self, i: usize) -> (Range<usize>, &[i16]) {
        let (start, count) = (self.starts[i], self.counts[i]);
        (start..start + count, &self.values[i * self.taps..][..count])
    }
}

/// The samples of an output pixel.
#[derive(Default)]
pub(super) struct Row {
    pub start: usize,
    /// The weights of the samples from there on.
    pub values: Vec<i16>,
    fill: i32,
}

impl Row {
    fn new(filter: Filter, span: Span, grid: Grid, i: usize) -> Self {
        let (pixels, weights) = taps(filter, span, i);
        let mut samples: Vec<f64> = Vec::new();
        let mut start = None;
        for (pixel, weight) in pixels.zip(weights) {
            // a sample without weight must not make the span longer
            if weight == 0.0 || !(span.pad..span.pad + span.real).contains(&pixel) {
                continue;
            }
            let (near, far, share) = grid.between(span.first + pixel - span.pad);
            let start = *start.get_or_insert(near);
            samples.resize(samples.len().max(far - start + 1), 0.0);
            samples[near - start] += weight * (1.0 - share);
            samples[far - start] += weight * share;
        }
        // rounding the running total spreads the rounding errors: the weights add up to one
        let (mut total, mut before) = (0.0, 0);
        let values = samples.iter().map(|weight| {
            total += weight;
            let now = (total * f64::from(ONE) + 0.5).floor() as i32;
            let value = (now - before) as i16;
            before = now;
            value
        });
        let mut values: Vec<i16> = values.collect();
        while values.last() == Some(&0) {
            values.pop();
        }
        Self {
            start: start.unwrap_or(0),
            values,
            fill: ONE - before,
        }
    }
}

/// Pixels of the canvas that make output pixel `i`, and their weights, which add up to one.
fn taps(filter: Filter, span: Span, i: usize) -> (Range<usize>, Vec<f64>) {
    let scale = span.canvas as f64 / span.out as f64;
    let reach = match filter {
        Filter::Bilinear => scale.max(1.0),
        Filter::Area => 0.5 * scale,
    };
    let lo = i as f64 * scale;
    let centre = lo + 0.5 * scale;
    let first = (centre - reach).floor().max(0.0) as usize;
    let last = ((centre + reach).ceil() as usize).min(span.canvas);
    let weight = |pixel: usize| match filter {
        Filter::Bilinear => (1.0 - (pixel as f64 + 0.5 - centre).abs() / reach).max(0.0),
        Filter::Area => ((pixel as f64 + 1.0).min(lo + scale) - (pixel as f64).max(lo)).max(0.0),
    };
    let weights: Vec<f64> = (first..last).map(weight).collect();
    let total: f64 = weights.iter().sum();
    (
        first..last,
        weights.into_iter().map(|w| w / total).collect(),
    )
}

impl Grid {
    /// A plane with a sample for each pixel.
    pub fn full(samples: usize) -> Self {
        Self {
            samples,
            step: 1,
            place: 0,
        }
    }

    /// The samples before and behind a pixel, and the share of the second.
    fn between(self, pixel: usize) -> (usize, usize, f64) {
        let last = self.samples as i64 - 1;
        let unit = 256 * self.step as i64;
        let place = 256 * pixel as i64 - self.place;
        let near = place.div_euclid(unit);
        let share = place.rem_euclid(unit) as f64 / unit as f64;
        let (near, far) = (near.clamp(0, last), (near + 1).clamp(0, last));
        // a share of nothing must not make the span longer
        let far = if share == 0.0 { near } else { far };
        (near as usize, far as usize, share)
    }
}
