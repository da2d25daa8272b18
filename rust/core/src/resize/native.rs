//! Pictures at their own size whose colours have half the columns, as most videos are decoded: the
//! rows of colour are mixed, doubled in width, turned into RGB and written in one go. The bytes are
//! those of the passes of [`super`].

use super::axis::{Filter, Grid, Span, WEIGHT_BITS, Weights};
use super::color::NO_COLOR;
use super::{Colors, Format, Matrix, avx2_native};

/// Samples behind the end of a row of colour that the vector code may read.
const SPARE: usize = avx2_native::PIXELS / 2;

/// How the rows of such a picture are made.
#[derive(Clone, Debug)]
pub(super) struct Native {
    matrix: Matrix,
    /// First row and column of the picture that are shown, and how many columns.
    first: [usize; 2],
    width: usize,
    /// Rows of colour for each row shown, and their weights in 64ths.
    rows: Vec<([usize; 2], [i8; 2])>,
    /// Samples in a row of colour.
    samples: usize,
    /// Samples lie between two columns, not on the first of them.
    is_centred: bool,
}

impl Native {
    /// `None` where the picture or the processor is of another kind.
    pub fn new(format: Format, filter: Filter, spans: [Span; 2]) -> Option<Self> {
        let Colors::Yuv {
            matrix,
            chroma: [lines, columns],
            is_joined: false,
        } = format.colors
        else {
            return None;
        };
        let Grid {
            samples,
            step: 2,
            place,
        } = columns
        else {
            return None;
        };
        let is_simple = format.depth == 8
            && spans.iter().all(|span| span.is_copy())
            && spans[1].first.is_multiple_of(2)
            && matches!(place, 0 | 128)
            && is_x86_feature_detected!("avx2");
        if !is_simple {
            return None;
        }
        let rows = Weights::new(filter, spans[0], lines, NO_COLOR);
        let mixes = (0..spans[0].out).map(|i| pair(&rows, i));
        Some(Self {
            matrix,
            first: spans.map(|span| span.first),
            width: spans[1].out,
            rows: mixes.collect::<Option<_>>()?,
            samples,
            is_centred: place == 128,
        })
    }

    /// Writes the picture to `out`, [h, w, 3]; `colors` are buffers.
    pub fn show(&self, planes: [&[&[u8]]; 3], mut colors: [&mut Vec<i16>; 2], out: &mut [u8]) {
        let first = self.first[1] / 2;
        let count = self.width.div_ceil(2);
        // and a neighbour on each side, where the plane has one
        let from = first.saturating_sub(1);
        let to = (first + count + 1).min(self.samples);
        let skipped = from + 1 - first;
        for row in &mut colors {
            row.resize(count + 2 + SPARE, 0);
        }
        for (i, (out, (rows, weights))) in out
            .chunks_exact_mut(3 * self.width)
            .zip(&self.rows)
            .enumerate()
        {
            for (row, plane) in colors.iter_mut().zip(&planes[1..]) {
                let rows = rows.map(|y| &plane[y][from..to]);
                let end = skipped + to - from;
                // SAFETY: `new` saw that the processor has AVX2
                unsafe { avx2_native::mix(rows, *weights, &mut row[skipped..end]) };
                row[0] = row[skipped];
                row[count + 1] = row[end.min(count + 2) - 1];
            }
            let luma = &planes[0][self.first[0] + i][self.first[1]..][..self.width];
            let colors = colors.each_ref().map(|row| &row[..]);
            // SAFETY: as above
            unsafe {
                if self.is_centred {
                    avx2_native::to_rgb::<true>(luma, colors, &self.matrix, out);
                } else {
                    avx2_native::to_rgb::<false>(luma, colors, &self.matrix, out);
                }
            }
        }
    }
}

/// The rows that make row `i`, two at most, and their weights in 64ths; `None` if they need more.
fn pair(rows: &Weights, i: usize) -> Option<([usize; 2], [i8; 2])> {
    let (span, weights) = rows.row(i);
    let unit = WEIGHT_BITS - 6;
    let is_whole = |weight: &i16| *weight >= 0 && weight.trailing_zeros() >= unit;
    if !(1..=2).contains(&weights.len()) || !weights.iter().all(is_whole) {
        return None;
    }
    let first = rows.used.start + span.start;
    let weight = |tap: usize| weights.get(tap).map_or(0, |weight| (weight >> unit) as i8);
    Some(([first, first + weights.len() - 1], [weight(0), weight(1)]))
}
