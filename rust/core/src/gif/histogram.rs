//! How often colours come, in cells four levels wide.

use super::{CLEAR, unpack};

const BITS: u32 = 6;
/// Cells along an axis of the colour cube.
pub const SIDE: usize = 1 << BITS;
/// Cells of the colour cube.
pub const CELLS: usize = 1 << (3 * BITS);

/// The cell of a colour.
pub fn cell_of([r, g, b]: [u8; 3]) -> usize {
    usize::from(r >> 2) << (2 * BITS) | usize::from(g >> 2) << BITS | usize::from(b >> 2)
}

/// Where a cell lies along an axis, 0 to 63.
pub fn place_of(cell: usize, axis: usize) -> usize {
    cell >> (BITS * (2 - axis as u32)) & (SIDE - 1)
}

/// The pixels of one cell.
#[derive(Clone, Copy)]
pub struct Entry {
    pub cell: u32,
    pub weight: f32,
    pub mean: [f32; 3],
}

/// Counts of colours.
pub struct Histogram {
    /// For each cell one more than its place in `filled`, or nought.
    places: Vec<u32>,
    /// Cell, number of pixels, and sums of the two bits that the cell drops.
    filled: Vec<(usize, [u32; 4])>,
}

impl Histogram {
    pub fn new() -> Self {
        Self {
            places: vec![0; CELLS],
            filled: Vec::new(),
        }
    }

    /// Counts every `step`-th opaque pixel of a row, from number `start`.
    pub fn count(&mut self, row: &[u32], start: usize, step: usize) {
        for pixel in row.iter().skip(start).step_by(step) {
            if *pixel != CLEAR {
                let color = unpack(*pixel);
                let [r, g, b] = color.map(|v| u32::from(v & 3));
                self.add(cell_of(color), [1, r, g, b]);
            }
        }
    }

    /// Counts what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (cell, sums) in &other.filled {
            self.add(*cell, *sums);
        }
    }

    /// Gives back memory that only counting needs.
    pub fn close(&mut self) {
        self.places = Vec::new();
    }

    fn add(&mut self, cell: usize, sums: [u32; 4]) {
        let place = &mut self.places[cell];
        if *place == 0 {
            self.filled.push((cell, [0; 4]));
            *place = self.filled.len() as u32;
        }
        let held = &mut self.filled[*place as usize - 1].1;
        for (held, sum) in held.iter_mut().zip(sums) {
            *held = held.saturating_add(sum);
        }
    }

    /// The cells that are not empty, in their order.
    pub fn entries(&self) -> Vec<Entry> {
        let mut filled = self.filled.clone();
        filled.sort_unstable_by_key(|(cell, _)| *cell);
        let entry = |(cell, [count, sums @ ..]): (usize, [u32; 4])| {
            let weight = count as f32;
            let corner = [0, 1, 2].map(|axis| 4.0 * place_of(cell, axis) as f32);
            Entry {
                cell: cell as u32,
                weight,
                mean: [0, 1, 2].map(|axis| corner[axis] + sums[axis] as f32 / weight),
            }
        };
        filled.into_iter().map(entry).collect()
    }
}
