//! Separable resize of `u8` pictures: rows, then columns, rounded to `u8` after each pass, with
//! fixed-point weights as Pillow's. Rows first, because whole rows are added up lane by lane.

#![expect(
    clippy::inline_always,
    reason = "the AVX2 copy must hold the loops themselves"
)]

use std::ops::Range;

/// Bits behind the point of a weight: 255 * 2^22 leaves room in an `i32`.
const WEIGHT_BITS: u32 = 22;

/// Which source pixels make an output pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle, as wide as the scale asks for (antialiased).
    Bilinear,
    /// The mean of the area under the output pixel.
    Area,
}

/// For each output pixel of one axis: the source pixels and their weights.
#[derive(Clone, Debug)]
pub struct Weights {
    spans: Vec<Range<usize>>,
    /// `taps` for each output pixel, those behind its span unused.
    values: Vec<i32>,
    taps: usize,
    is_identity: bool,
}

impl Weights {
    /// Weights of a resize from `canvas` to `out` pixels, where the source is `real` pixels in the
    /// centre of the canvas and the rest of it is black.
    #[must_use]
    pub fn new(filter: Filter, canvas: usize, real: usize, out: usize) -> Self {
        let pad = (canvas - real) / 2;
        let scale = canvas as f64 / out as f64;
        let reach = if filter == Filter::Bilinear {
            scale.max(1.0)
        } else {
            0.5 * scale
        };
        let taps = (2.0 * reach).ceil() as usize + 2;
        let mut this = Self {
            spans: Vec::with_capacity(out),
            values: vec![0; taps * out],
            taps,
            is_identity: canvas == out && pad == 0,
        };
        for (i, values) in this.values.chunks_exact_mut(taps).enumerate() {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize)
                .min(canvas)
                .min(first + taps);
            let lo = i as f64 * scale;
            let weight = |pixel: usize| match filter {
                Filter::Bilinear => triangle((pixel as f64 + 0.5 - centre) * (1.0 / reach)),
                Filter::Area => overlap(pixel as f64, lo, lo + scale),
            };
            let total: f64 = (first..last).map(weight).sum();
            let span = first.clamp(pad, pad + real)..last.clamp(pad, pad + real);
            for (value, pixel) in values.iter_mut().zip(span.clone()) {
                *value = (weight(pixel) / total * f64::from(1 << WEIGHT_BITS) + 0.5) as i32;
            }
            this.spans.push(span.start - pad..span.end - pad);
        }
        this
    }

    /// Source pixels and weights of each output pixel.
    fn iter(&self) -> impl Iterator<Item = (Range<usize>, &[i32])> {
        let values = self.values.chunks_exact(self.taps);
        self.spans
            .iter()
            .cloned()
            .zip(values)
            .map(|(span, values)| {
                let count = span.len();
                (span, &values[..count])
            })
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// How much of the pixel that starts at `pixel` lies between `lo` and `hi`.
fn overlap(pixel: f64, lo: f64, hi: f64) -> f64 {
    ((pixel + 1.0).min(hi) - pixel.max(lo)).max(0.0)
}

const HALF: i32 = 1 << (WEIGHT_BITS - 1);

fn narrow(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Resizes rows of packed pixels with `C` channels (at most 4) into `out`, packed.
pub fn resize<const C: usize>(source: &[&[u8]], rows: &Weights, cols: &Weights, out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2
        unsafe { resize_avx2::<C>(source, rows, cols, out) };
        return;
    }
    resize_plain::<C>(source, rows, cols, out);
}

/// The same code, which the compiler turns into AVX2: SSE2 has no product of 32-bit lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn resize_avx2<const C: usize>(source: &[&[u8]], rows: &Weights, cols: &Weights, out: &mut [u8]) {
    resize_plain::<C>(source, rows, cols, out);
}

#[inline(always)]
fn resize_plain<const C: usize>(source: &[&[u8]], rows: &Weights, cols: &Weights, out: &mut [u8]) {
    let row_bytes = cols.spans.len() * C;
    let mut sums: Vec<i32> = Vec::new();
    let mut mixed: Vec<u8> = Vec::new();
    let mut pixels: Vec<[i32; 4]> = Vec::new();
    for (i, ((span, values), out)) in rows.iter().zip(out.chunks_exact_mut(row_bytes)).enumerate() {
        let row = if rows.is_identity {
            source[i]
        } else {
            sums.clear();
            sums.resize(source[0].len(), HALF);
            mix_rows(&source[span], values, &mut sums, &mut mixed);
            &mixed
        };
        if cols.is_identity {
            out.copy_from_slice(row);
        } else {
            mix_columns::<C>(row, cols, &mut pixels, out);
        }
    }
}

/// One output row at the source's width.
#[inline(always)]
fn mix_rows(source: &[&[u8]], values: &[i32], sums: &mut [i32], mixed: &mut Vec<u8>) {
    for (row, weight) in source.iter().zip(values) {
        for (sum, byte) in sums.iter_mut().zip(*row) {
            *sum += i32::from(*byte) * weight;
        }
    }
    mixed.clear();
    mixed.extend(sums.iter().map(|sum| narrow(*sum)));
}

/// One output row from a row of the source's width. A pixel is four lanes, whatever it has.
#[inline(always)]
fn mix_columns<const C: usize>(
    row: &[u8],
    cols: &Weights,
    pixels: &mut Vec<[i32; 4]>,
    out: &mut [u8],
) {
    pixels.clear();
    pixels.extend(row.chunks_exact(C).map(|bytes| {
        let mut lanes = [0; 4];
        for (lane, byte) in lanes.iter_mut().zip(bytes) {
            *lane = i32::from(*byte);
        }
        lanes
    }));
    // every output pixel takes `taps` of them: weights behind its span are zero
    pixels.resize(pixels.len() + cols.taps, [0; 4]);
    let values = cols.values.chunks_exact(cols.taps);
    for ((span, values), out) in cols.spans.iter().zip(values).zip(out.chunks_exact_mut(C)) {
        let mut sums = [HALF; 4];
        for (pixel, weight) in pixels[span.start..span.start + cols.taps]
            .iter()
            .zip(values)
        {
            for (sum, lane) in sums.iter_mut().zip(pixel) {
                *sum += lane * weight;
            }
        }
        for (byte, sum) in out.iter_mut().zip(sums) {
            *byte = narrow(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize_row(filter: Filter, row: &[u8], canvas: usize, out: usize) -> Vec<u8> {
        let cols = Weights::new(filter, canvas, row.len(), out);
        let rows = Weights::new(filter, 1, 1, 1);
        let mut result = vec![0; out];
        resize::<1>(&[row], &rows, &cols, &mut result);
        result
    }

    #[test]
    fn area_is_the_mean_of_what_is_covered() {
        assert_eq!(resize_row(Filter::Area, &[10, 20, 30, 40], 4, 2), [15, 35]);
        // each output pixel covers one and a half source pixels
        assert_eq!(resize_row(Filter::Area, &[30, 60, 90], 3, 2), [40, 80]);
    }

    #[test]
    fn same_size_changes_nothing() {
        for filter in [Filter::Area, Filter::Bilinear] {
            assert_eq!(resize_row(filter, &[1, 200, 3], 3, 3), [1, 200, 3]);
        }
    }

    #[test]
    fn padding_is_black() {
        assert_eq!(
            resize_row(Filter::Area, &[100, 100], 4, 4),
            [0, 100, 100, 0]
        );
        assert_eq!(resize_row(Filter::Area, &[100, 100], 4, 1), [50]);
    }

    #[test]
    fn bilinear_upscale_is_linear_between_centres() {
        assert_eq!(
            resize_row(Filter::Bilinear, &[0, 100], 2, 4),
            [0, 25, 75, 100]
        );
    }
}
