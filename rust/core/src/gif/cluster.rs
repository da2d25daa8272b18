//! Many pixels to up to 256 colours.
//!
//! Histogram of 6 bits a channel, split where it lowers the squared error most, then refined by
//! k-means whose search is cut short by the triangle inequality.

use super::unpack;

const BITS: u32 = 6;
const SIDE: usize = 1 << BITS;
/// Cells of the colour cube, four levels wide.
pub const BINS: usize = 1 << (3 * BITS);
/// More rounds gain less than 0.05 dB on real clips.
const ROUNDS: usize = 8;
/// How many other means an entry looks at in a round.
const NEIGHBOURS: usize = 48;

/// At most `limit` colours for opaque pixels.
pub fn reduce(pixels: impl Iterator<Item = u32>, limit: usize) -> Vec<[u8; 3]> {
    let mut entries = histogram(pixels);
    let start = split(&mut entries, limit);
    k_means(&mut entries, start)
}

/// The cell of a colour.
pub fn bin([r, g, b]: [u8; 3]) -> usize {
    usize::from(r >> 2) << (2 * BITS) | usize::from(g >> 2) << BITS | usize::from(b >> 2)
}

/// Squared distance.
pub fn distance(a: &[f32; 3], b: &[f32; 3]) -> f32 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2) + (a[2] - b[2]).powi(2)
}

/// The pixels of one bin.
struct Entry {
    bin: usize,
    mean: [f32; 3],
    weight: f32,
    nearest: usize,
}

fn histogram(pixels: impl Iterator<Item = u32>) -> Vec<Entry> {
    // count, and sums of the two bits which the bin drops
    let mut bins = vec![[0_u32; 4]; BINS];
    for pixel in pixels {
        let color = unpack(pixel);
        let sums = &mut bins[bin(color)];
        sums[0] = sums[0].saturating_add(1);
        for (sum, value) in sums[1..].iter_mut().zip(color) {
            *sum = sum.saturating_add(u32::from(value & 3));
        }
    }
    let filled = bins.iter().enumerate().filter(|(_, sums)| sums[0] > 0);
    filled.map(|(bin, sums)| entry(bin, *sums)).collect()
}

fn entry(bin: usize, [count, sums @ ..]: [u32; 4]) -> Entry {
    let corner = [bin >> (2 * BITS), bin >> BITS, bin].map(|v| (v % SIDE * 4) as f32);
    let weight = count as f32;
    let mean = [0, 1, 2].map(|axis| corner[axis] + sums[axis] as f32 / weight);
    Entry {
        bin,
        mean,
        weight,
        nearest: 0,
    }
}

/// A run of entries and the cut that lowers its squared error most.
struct Part<'a> {
    entries: &'a mut [Entry],
    gain: f64,
    axis: usize,
    below: usize,
}

/// Means of at most `limit` parts of the entries.
fn split(entries: &mut [Entry], limit: usize) -> Vec<[f32; 3]> {
    let mut parts = vec![Part::new(entries)];
    while parts.len() < limit {
        let best = (0..parts.len()).max_by(|a, b| parts[*a].gain.total_cmp(&parts[*b].gain));
        let Some(best) = best.filter(|best| parts[*best].gain > 0.0) else {
            break;
        };
        let Part {
            entries,
            axis,
            below,
            ..
        } = parts.swap_remove(best);
        entries.sort_unstable_by_key(|entry| coordinate(entry, axis) >= below);
        let middle = entries.partition_point(|entry| coordinate(entry, axis) < below);
        let (low, high) = entries.split_at_mut(middle);
        parts.extend([Part::new(low), Part::new(high)]);
    }
    parts.iter().map(Part::mean).collect()
}

fn coordinate(entry: &Entry, axis: usize) -> usize {
    entry.bin >> (BITS * (2 - axis as u32)) & (SIDE - 1)
}

impl<'a> Part<'a> {
    fn new(entries: &'a mut [Entry]) -> Self {
        let cuts = (0..3).map(|axis| best_cut(entries, axis));
        let best = cuts
            .enumerate()
            .max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0));
        let (axis, (gain, below)) = best.unwrap_or_default();
        Self {
            entries,
            gain,
            axis,
            below,
        }
    }

    fn mean(&self) -> [f32; 3] {
        let weight: f64 = self
            .entries
            .iter()
            .map(|entry| f64::from(entry.weight))
            .sum();
        [0, 1, 2].map(|axis| {
            let sum = self
                .entries
                .iter()
                .map(|e| f64::from(e.weight) * f64::from(e.mean[axis]));
            (sum.sum::<f64>() / weight) as f32
        })
    }
}

/// How much the squared error along `axis` falls by the best cut, and where that is.
fn best_cut(entries: &[Entry], axis: usize) -> (f64, usize) {
    let mut slices = [(0.0_f64, 0.0_f64); SIDE];
    for entry in entries {
        let (weight, sum) = &mut slices[coordinate(entry, axis)];
        *weight += f64::from(entry.weight);
        *sum += f64::from(entry.weight) * f64::from(entry.mean[axis]);
    }
    let add = |a: (f64, f64), b: &(f64, f64)| (a.0 + b.0, a.1 + b.1);
    let (weight, sum) = slices.iter().fold((0.0, 0.0), add);
    let (mut low, mut best) = ((0.0, 0.0), (0.0, 0));
    for (i, slice) in slices.iter().enumerate() {
        let high = (weight - low.0, sum - low.1);
        if low.0 > 0.0 && high.0 > 0.5 {
            let gain = (low.1 / low.0 - high.1 / high.0).powi(2) * low.0 * high.0 / weight;
            if gain > best.0 {
                best = (gain, i);
            }
        }
        low = add(low, slice);
    }
    best
}

/// Moves the means to the middle of the entries that are nearest to them.
///
/// A mean further from the current one than twice the entry can't be nearer (sort-means of
/// Phillips, "Acceleration of k-means and related clustering algorithms", 2002).
fn k_means(entries: &mut [Entry], mut means: Vec<[f32; 3]>) -> Vec<[u8; 3]> {
    for _ in 0..ROUNDS {
        let neighbours = neighbours(&means);
        let mut sums = vec![[0.0_f64; 4]; means.len()];
        for entry in entries.iter_mut() {
            entry.nearest = nearest_from(entry, &means, &neighbours);
            let sum = &mut sums[entry.nearest];
            sum[3] += f64::from(entry.weight);
            for (sum, value) in sum.iter_mut().zip(entry.mean) {
                *sum += f64::from(entry.weight) * f64::from(value);
            }
        }
        for (mean, sum) in means.iter_mut().zip(&sums).filter(|(_, sum)| sum[3] > 0.0) {
            *mean = [0, 1, 2].map(|axis| (sum[axis] / sum[3]) as f32);
        }
    }
    means
        .iter()
        .map(|mean| mean.map(|value| value.round() as u8))
        .collect()
}

/// For each mean the others, nearest first: squared distance (rounded down) and number.
fn neighbours(means: &[[f32; 3]]) -> Vec<Vec<(u32, usize)>> {
    let from = |mean: &[f32; 3]| {
        let apart = means.iter().map(|other| distance(mean, other) as u32);
        // both in one integer sort faster than pairs: three squares of 255 leave 14 bits
        let mut keys: Vec<u32> = (0..).zip(apart).map(|(i, apart)| apart << 8 | i).collect();
        // few entries look further, and they only miss a little
        keys.select_nth_unstable((means.len() - 1).min(NEIGHBOURS));
        keys.truncate(NEIGHBOURS);
        keys.sort_unstable();
        keys.iter()
            .map(|key| (key >> 8, (key & 0xff) as usize))
            .collect()
    };
    means.iter().map(from).collect()
}

fn nearest_from(entry: &Entry, means: &[[f32; 3]], neighbours: &[Vec<(u32, usize)>]) -> usize {
    let start = distance(&entry.mean, &means[entry.nearest]);
    let (mut best, mut least) = (entry.nearest, start);
    for (apart, i) in &neighbours[entry.nearest] {
        if *apart as f32 > 4.0 * start {
            break;
        }
        let here = distance(&entry.mean, &means[*i]);
        if here < least {
            (best, least) = (*i, here);
        }
    }
    best
}
