//! Weights as the AVX2 code takes them.

use super::axis::{BLOCK, Row};

/// Weights for blocks of eight output pixels. Two and two samples are taken for each pixel, those of
/// half a block from a window of eight.
#[derive(Clone, Debug)]
pub(super) struct Narrow {
    /// Where the two windows of each block and pair start.
    pub windows: Vec<[usize; 2]>,
    /// Where the last window ends.
    pub end: usize,
    /// Pairs of samples for each pixel.
    pub pairs: usize,
    /// For each block and pair: which bytes of the windows go where.
    pub places: Vec<[u8; 32]>,
    /// For each block and pair: the weights.
    pub values: Vec<[i16; 16]>,
}

const WINDOW: usize = 8;

impl Narrow {
    /// `None` where a pair of each pixel of a half does not fit into a window.
    pub fn new(rows: &[Row], longest: usize) -> Option<Self> {
        let pairs = longest.div_ceil(2);
        let blocks = rows.len() / BLOCK;
        let mut this = Self {
            windows: vec![[0; 2]; blocks * pairs],
            end: 0,
            pairs,
            // a byte with its top bit set is a zero
            places: vec![[0x80; 32]; blocks * pairs],
            values: vec![[0; 16]; blocks * pairs],
        };
        for (i, half) in rows.chunks_exact(BLOCK / 2).enumerate() {
            for pair in 0..pairs {
                let used = half.iter().filter(|row| row.values.len() > 2 * pair);
                let window = used.map(|row| row.start).min().unwrap_or(0) + 2 * pair;
                this.windows[i / 2 * pairs + pair][i % 2] = window;
                this.end = this.end.max(window + WINDOW);
            }
            for (pixel, row) in half.iter().enumerate() {
                for (tap, value) in row.values.iter().enumerate() {
                    let (block, lane) = (i / 2 * pairs + tap / 2, i % 2 * 8 + pixel * 2 + tap % 2);
                    let sample = row.start + tap - this.windows[block][i % 2];
                    if sample >= WINDOW {
                        return None;
                    }
                    this.values[block][lane] = *value;
                    this.places[block][2 * lane] = 2 * sample as u8;
                    this.places[block][2 * lane + 1] = 2 * sample as u8 + 1;
                }
            }
        }
        Some(this)
    }
}
