//! Threshold masks, which tile the plane: which share of a mixture each pixel shows.

use std::sync::OnceLock;

/// Side of the blue-noise mask.
const SIDE: usize = 64;
/// Reach of the Gaussian, whose weight has faded to nothing there.
const REACH: usize = 8;
/// Squared width times two, for the width of 1.5 that Ulichney gives.
const TWICE_VARIANCE: f64 = 4.5;

/// Thresholds in 0..1, each as often as any other.
pub struct Mask {
    side: usize,
    thresholds: Vec<f32>,
}

impl Mask {
    fn new(side: usize, ranks: &[usize]) -> Self {
        let count = ranks.len() as f32;
        let thresholds = ranks.iter().map(|rank| (*rank as f32 + 0.5) / count);
        Self {
            side,
            thresholds: thresholds.collect(),
        }
    }

    /// The threshold of a pixel.
    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.thresholds[y % self.side * self.side + x % self.side]
    }
}

/// Bayer's matrix of 8 x 8.
pub fn bayer() -> &'static Mask {
    static MASK: OnceLock<Mask> = OnceLock::new();
    MASK.get_or_init(|| {
        let rank = |i: usize| {
            let (x, y) = (i % 8, i / 8);
            // the coarsest bits of the place are the finest of the rank
            (0..3).fold(0, |rank, bit| {
                let (x, y) = (x >> bit & 1, y >> bit & 1);
                rank << 2 | (x ^ y) << 1 | y
            })
        };
        Mask::new(8, &(0..64).map(rank).collect::<Vec<_>>())
    })
}

/// A mask without low frequencies, made by void and cluster (Ulichney 1993).
pub fn blue_noise() -> &'static Mask {
    static MASK: OnceLock<Mask> = OnceLock::new();
    MASK.get_or_init(|| Mask::new(SIDE, &void_and_cluster()))
}

fn void_and_cluster() -> Vec<usize> {
    let mut dots = Dots::scattered();
    loop {
        let cluster = dots.tightest();
        dots.set(cluster, false);
        let void = dots.emptiest();
        dots.set(void, true);
        if void == cluster {
            break;
        }
    }
    let mut ranks = vec![0; SIDE * SIDE];
    let mut fewer = dots.clone();
    for rank in (0..dots.count()).rev() {
        let cluster = fewer.tightest();
        fewer.set(cluster, false);
        ranks[cluster] = rank;
    }
    // among few gaps, the tightest cluster of them is the emptiest place among the dots
    for rank in dots.count()..SIDE * SIDE {
        let void = dots.emptiest();
        dots.set(void, true);
        ranks[void] = rank;
    }
    ranks
}

/// Dots on a torus, and how near each place is to them.
#[derive(Clone)]
struct Dots {
    is_dot: Vec<bool>,
    /// Whole numbers, so that adding and taking away leave no trace.
    nearness: Vec<u32>,
    weights: Vec<u32>,
}

impl Dots {
    /// A tenth of the places, at random, the same in every run.
    fn scattered() -> Self {
        let width = 2 * REACH + 1;
        let weight = |i: usize| {
            let along = |v: usize| v.abs_diff(REACH).pow(2) as f64;
            let squared = along(i % width) + along(i / width);
            (1e6 * (-squared / TWICE_VARIANCE).exp()).round() as u32
        };
        let mut dots = Self {
            is_dot: vec![false; SIDE * SIDE],
            nearness: vec![0; SIDE * SIDE],
            weights: (0..width * width).map(weight).collect(),
        };
        let mut state = 1_u32;
        while dots.count() < SIDE * SIDE / 10 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = (state >> 20) as usize;
            if !dots.is_dot[place] {
                dots.set(place, true);
            }
        }
        dots
    }

    fn count(&self) -> usize {
        self.is_dot.iter().filter(|is_dot| **is_dot).count()
    }

    fn set(&mut self, place: usize, is_dot: bool) {
        self.is_dot[place] = is_dot;
        let (left, top) = (place % SIDE + SIDE - REACH, place / SIDE + SIDE - REACH);
        let mut weights = self.weights.iter();
        for y in top..=top + 2 * REACH {
            for (x, weight) in (left..=left + 2 * REACH).zip(weights.by_ref()) {
                let held = &mut self.nearness[y % SIDE * SIDE + x % SIDE];
                *held = if is_dot {
                    *held + weight
                } else {
                    *held - weight
                };
            }
        }
    }

    fn tightest(&self) -> usize {
        let dots = (0..SIDE * SIDE).filter(|i| self.is_dot[*i]);
        dots.max_by_key(|i| (self.nearness[*i], *i)).unwrap_or(0)
    }

    fn emptiest(&self) -> usize {
        let gaps = (0..SIDE * SIDE).filter(|i| !self.is_dot[*i]);
        gaps.min_by_key(|i| (self.nearness[*i], *i)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threshold_comes_once() {
        for mask in [bayer(), blue_noise()] {
            let mut thresholds = mask.thresholds.clone();
            thresholds.sort_by(f32::total_cmp);
            let count = thresholds.len() as f32;
            let wanted = (0..thresholds.len()).map(|rank| (rank as f32 + 0.5) / count);
            assert!(wanted.eq(thresholds));
        }
    }

    #[test]
    fn bayer_spreads_its_first_pixels() {
        let first = |i: usize| bayer().thresholds[i] < 4.0 / 64.0;
        let places: Vec<_> = (0..64).filter(|i| first(*i)).collect();
        assert_eq!(places, [0, 4, 32, 36]);
    }

    /// Mean square of the differences between places so far apart; 1/6 where they are independent.
    fn contrast(mask: &Mask, apart: usize) -> f32 {
        let square = |i: usize| {
            let (x, y) = (i % SIDE, i / SIDE);
            (mask.at(x, y) - mask.at(x + apart, y)).powi(2)
        };
        (0..SIDE * SIDE).map(square).sum::<f32>() / (SIDE * SIDE) as f32
    }

    #[test]
    fn blue_noise_differs_most_from_its_neighbours() {
        let [near, far] = [1, 16].map(|apart| contrast(blue_noise(), apart));
        assert!(near > 0.2 && (0.14..0.19).contains(&far), "{near} {far}");
    }

    #[test]
    fn blue_noise_has_no_low_frequencies() {
        // means of blocks of 8 x 8: independent thresholds would be off by 1 / (8 * sqrt(12))
        let mean = |block: usize| {
            let (left, top) = (block % 8 * 8, block / 8 * 8);
            let pixel = |i: usize| blue_noise().at(left + i % 8, top + i / 8);
            (0..64).map(pixel).sum::<f32>() / 64.0
        };
        let off = (0..64)
            .map(|block| (mean(block) - 0.5).powi(2))
            .sum::<f32>()
            / 64.0;
        assert!(off.sqrt() < 0.036 / 3.0, "{off}");
    }
}
