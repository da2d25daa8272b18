//! The nearest of up to 256 colours, for many threads at once.

use std::sync::atomic::{AtomicU16, Ordering};

use super::histogram::{CELLS, cell_of};
use super::{UNSEEN, per_axis};

/// A colour table that is searched.
///
/// Each cell of the colour cube learns, when first asked, what is nearest to its middle; from there
/// the colours around are looked at. What is found depends on the colour alone.
pub struct Nearest {
    /// One more than an entry, or nought.
    cells: Vec<AtomicU16>,
    colors: Vec<[i16; 3]>,
    /// For each entry the others, nearest first.
    around: Vec<[Other; AROUND]>,
    /// The colours around are looked at.
    is_thorough: bool,
}

/// An entry beside another.
#[derive(Clone, Copy)]
struct Other {
    /// A quarter of the squared distance.
    quarter: u16,
    color: [i16; 3],
    entry: u8,
}

/// Further away hardly anything is nearer than where the search starts.
const AROUND: usize = 12;
/// Chooses near colours for a mixture, unless far ones give a much better mean.
const NOISE_PRICE: f32 = 0.2;

impl Nearest {
    /// A table to search; if not `is_thorough`, all colours of a cell get the same entry.
    pub fn new(colors: &[[u8; 3]], is_thorough: bool) -> Self {
        let colors: Vec<_> = colors.iter().map(|color| color.map(i16::from)).collect();
        let around = colors.iter().map(|color| around(*color, &colors)).collect();
        let mut cells = Vec::new();
        cells.resize_with(CELLS, AtomicU16::default);
        Self {
            cells,
            colors,
            around,
            is_thorough,
        }
    }

    /// The entry nearest to a colour.
    #[inline]
    pub fn find(&self, color: [u8; 3]) -> u8 {
        let start = self.start(color);
        if !self.is_thorough {
            return start;
        }
        let color = per_axis(|axis| i16::from(color[axis]));
        let apart = apart(color, self.colors[usize::from(start)]);
        let (mut best, mut least) = (start, apart);
        for other in &self.around[usize::from(start)] {
            if u32::from(other.quarter) > apart {
                break;
            }
            let here = self::apart(color, other.color);
            if here < least {
                (best, least) = (other.entry, here);
            }
        }
        best
    }

    /// One of the two entries whose mixture comes nearest to a colour; the brighter of them is shown
    /// where its share is above the threshold. What is off by unseen levels is not mixed.
    pub fn mix(&self, color: [u8; 3], threshold: f32) -> u8 {
        let nearest = self.find(color);
        let from = self.colors[usize::from(nearest)];
        let wanted = per_axis(|axis| f32::from(i16::from(color[axis]) - from[axis]));
        if wanted.iter().all(|v| v.abs() <= UNSEEN as f32) {
            return nearest;
        }
        let length = dot(&wanted, &wanted);
        let (mut best, mut share, mut least) = (nearest, 0.0, length);
        for other in &self.around[usize::from(nearest)] {
            let way = per_axis(|axis| f32::from(other.color[axis] - from[axis]));
            let (along, whole) = (dot(&wanted, &way), dot(&way, &way));
            if along <= 0.0 {
                continue;
            }
            let part = (along / whole).min(0.5);
            // what the mean is off by, and a price for the noise of mixing
            let off = length - along * along / whole + NOISE_PRICE * along * (1.0 - part);
            if off < least {
                (best, share, least) = (other.entry, part, off);
            }
        }
        if best == nearest {
            return nearest;
        }
        let brightness = |entry: u8| {
            let [r, g, b] = self.colors[usize::from(entry)];
            (2 * r + 4 * g + b, entry)
        };
        let (dark, bright, share) = if brightness(best) > brightness(nearest) {
            (nearest, best, share)
        } else {
            (best, nearest, 1.0 - share)
        };
        if threshold < share { bright } else { dark }
    }

    /// The entry nearest to the middle of a colour's cell.
    #[inline]
    fn start(&self, color: [u8; 3]) -> u8 {
        let cell = &self.cells[cell_of(color)];
        // each thread would store the same
        match cell.load(Ordering::Relaxed) {
            0 => {
                let found = self.search(color);
                cell.store(u16::from(found) + 1, Ordering::Relaxed);
                found
            }
            entry => (entry - 1) as u8,
        }
    }

    #[cold]
    fn search(&self, color: [u8; 3]) -> u8 {
        // twice the middle is a whole number
        let middle = color.map(|v| i32::from(v & 0xfc) * 2 + 3);
        let key = |(i, color): (u32, &[i16; 3])| {
            let square = |axis: usize| (2 * i32::from(color[axis]) - middle[axis]).pow(2);
            ((square(0) + square(1) + square(2)) as u32) << 8 | i
        };
        let keys = (0..).zip(&self.colors).map(key);
        keys.fold(u32::MAX, u32::min) as u8
    }
}

fn dot(a: &[f32; 3], b: &[f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn apart(a: [i16; 3], b: [i16; 3]) -> u32 {
    let square = |axis: usize| (i32::from(a[axis]) - i32::from(b[axis])).pow(2);
    (square(0) + square(1) + square(2)) as u32
}

fn around(color: [i16; 3], colors: &[[i16; 3]]) -> [Other; AROUND] {
    let key = |(i, other): (u32, &[i16; 3])| apart(color, *other) << 8 | i;
    let mut keys: Vec<u32> = (0..).zip(colors).map(key).filter(|k| k >> 8 > 0).collect();
    if keys.len() > AROUND {
        keys.select_nth_unstable(AROUND);
        keys.truncate(AROUND);
    }
    keys.sort_unstable();
    let mut around = [Other {
        // a spare place is too far to be looked at
        quarter: u16::MAX,
        color,
        entry: 0,
    }; AROUND];
    for (place, key) in around.iter_mut().zip(keys) {
        let entry = key as u8;
        *place = Other {
            // a squared distance is below four times 65535
            quarter: (key >> 10) as u16,
            color: colors[usize::from(entry)],
            entry,
        };
    }
    around
}
