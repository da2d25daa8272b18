//! Separable resize of `u8` pictures: columns, then rows, rounded to `u8` after each pass, with
//! fixed-point weights as Pillow's.

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

fn narrow(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// Resizes rows of packed pixels with `C` channels into `out`, packed.
pub fn resize<'a, const C: usize>(
    source: impl Iterator<Item = &'a [u8]>,
    rows: &Weights,
    cols: &Weights,
    out: &mut [u8],
) {
    let row_bytes = cols.spans.len() * C;
    let mut narrow_rows = Vec::new();
    for row in source {
        if cols.is_identity {
            narrow_rows.extend_from_slice(row);
        } else {
            narrow_rows.extend(
                cols.iter()
                    .flat_map(|(span, values)| mix::<C>(row, span, values)),
            );
        }
    }
    if rows.is_identity {
        out.copy_from_slice(&narrow_rows);
        return;
    }
    let mut sums = vec![HALF; row_bytes];
    for ((span, values), out) in rows.iter().zip(out.chunks_exact_mut(row_bytes)) {
        sums.fill(HALF);
        let taken = &narrow_rows[span.start * row_bytes..span.end * row_bytes];
        for (row, weight) in taken.chunks_exact(row_bytes).zip(values) {
            for (sum, byte) in sums.iter_mut().zip(row) {
                *sum += i32::from(*byte) * weight;
            }
        }
        for (byte, sum) in out.iter_mut().zip(&sums) {
            *byte = narrow(*sum);
        }
    }
}

/// One output pixel of a row.
fn mix<const C: usize>(row: &[u8], span: Range<usize>, values: &[i32]) -> [u8; C] {
    let mut sums = [HALF; C];
    for (pixel, weight) in row[span.start * C..span.end * C]
        .chunks_exact(C)
        .zip(values)
    {
        for (sum, byte) in sums.iter_mut().zip(pixel) {
            *sum += i32::from(*byte) * weight;
        }
    }
    sums.map(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize_row(filter: Filter, row: &[u8], canvas: usize, out: usize) -> Vec<u8> {
        let cols = Weights::new(filter, canvas, row.len(), out);
        let rows = Weights::new(filter, 1, 1, 1);
        let mut result = vec![0; out];
        resize::<1>(std::iter::once(row), &rows, &cols, &mut result);
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
