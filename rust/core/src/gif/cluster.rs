//! Many colours to up to 256: cells are split where that lowers the squared error most, then k-means
//! refines the parts, its search cut short by the triangle inequality.

use super::histogram::{Entry, SIDE, place_of};

/// How many other means an entry looks at in a round.
const NEIGHBOURS: usize = 24;

/// At most `limit` colours for the entries, after `rounds` rounds of k-means.
pub fn reduce(mut entries: Vec<Entry>, limit: usize, rounds: usize) -> Vec<[u8; 3]> {
    let (mut means, mut nearest) = split(&mut entries, limit);
    let mut neighbours = Vec::new();
    for round in 0..rounds {
        // the means hardly move after the first rounds
        if round % 4 == 0 {
            neighbours = neighbours_of(&means);
        }
        refine(&entries, &mut nearest, &mut means, &neighbours);
    }
    means
        .iter()
        .map(|mean| mean.map(|value| value.round() as u8))
        .collect()
}

/// Squared distance.
pub fn distance(a: &[f32; 3], b: &[f32; 3]) -> f32 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2) + (a[2] - b[2]).powi(2)
}

/// A run of entries and the cut that lowers its squared error most.
struct Part {
    start: usize,
    end: usize,
    mean: [f32; 3],
    cut: Cut,
}

#[derive(Clone, Copy, Default)]
struct Cut {
    gain: f64,
    axis: usize,
    /// Cells below this place are cut off.
    below: usize,
}

/// Means of at most `limit` parts of the entries, which are put in the order of the parts, and the
/// part of each.
fn split(entries: &mut [Entry], limit: usize) -> (Vec<[f32; 3]>, Vec<u16>) {
    let mut parts = vec![Part::new(entries, 0, entries.len())];
    while parts.len() < limit {
        let gain = |i: &usize| parts[*i].cut.gain;
        let best = (0..parts.len()).max_by(|a, b| gain(a).total_cmp(&gain(b)));
        let Some(best) = best.filter(|best| parts[*best].cut.gain > 0.0) else {
            break;
        };
        let Part {
            start, end, cut, ..
        } = parts[best];
        let is_below = |entry: &Entry| place_of(entry.cell as usize, cut.axis) < cut.below;
        let middle = start + partition(&mut entries[start..end], is_below);
        parts[best] = Part::new(entries, start, middle);
        parts.push(Part::new(entries, middle, end));
    }
    let mut nearest = vec![0; entries.len()];
    for (i, part) in (0..).zip(&parts) {
        nearest[part.start..part.end].fill(i);
    }
    (parts.iter().map(|part| part.mean).collect(), nearest)
}

/// Moves what is `wanted` to the front and tells how much that is.
fn partition(entries: &mut [Entry], wanted: impl Fn(&Entry) -> bool) -> usize {
    let mut front = 0;
    for i in 0..entries.len() {
        if wanted(&entries[i]) {
            entries.swap(front, i);
            front += 1;
        }
    }
    front
}

impl Part {
    fn new(entries: &[Entry], start: usize, end: usize) -> Self {
        // weight and weighted sum of the slices along each axis
        let mut slices = [[(0.0_f64, 0.0_f64); SIDE]; 3];
        let mut sums = [0.0_f64; 4];
        for entry in &entries[start..end] {
            let weight = f64::from(entry.weight);
            sums[3] += weight;
            for axis in 0..3 {
                let sum = weight * f64::from(entry.mean[axis]);
                let slice = &mut slices[axis][place_of(entry.cell as usize, axis)];
                slice.0 += weight;
                slice.1 += sum;
                sums[axis] += sum;
            }
        }
        let mut cut = Cut::default();
        for axis in 0..3 {
            let (gain, below) = best_cut(&slices[axis], sums[3], sums[axis]);
            if gain > cut.gain {
                cut = Cut { gain, axis, below };
            }
        }
        let mean = [0, 1, 2].map(|axis| (sums[axis] / sums[3]) as f32);
        Self {
            start,
            end,
            mean,
            cut,
        }
    }
}

/// How much the squared error along an axis falls by the best cut, and where that is.
fn best_cut(slices: &[(f64, f64); SIDE], weight: f64, sum: f64) -> (f64, usize) {
    let (mut low, mut best) = ((0.0, 0.0), (0.0, 0));
    for (i, slice) in slices.iter().enumerate() {
        if slice.0 == 0.0 {
            continue;
        }
        let high = (weight - low.0, sum - low.1);
        if low.0 > 0.0 && high.0 > 0.5 {
            let gain = (low.1 * high.0 - high.1 * low.0).powi(2) / (low.0 * high.0 * weight);
            if gain > best.0 {
                best = (gain, i);
            }
        }
        low = (low.0 + slice.0, low.1 + slice.1);
    }
    best
}

/// Moves the means to the middle of the entries that are nearest to them.
///
/// A mean further from the current one than twice the entry can't be nearer (sort-means of
/// Phillips, "Acceleration of k-means and related clustering algorithms", 2002).
fn refine(
    entries: &[Entry],
    nearest: &mut [u16],
    means: &mut [[f32; 3]],
    neighbours: &[Vec<(u32, usize)>],
) {
    let mut sums = vec![[0.0_f64; 4]; means.len()];
    for (entry, held) in entries.iter().zip(nearest) {
        let current = usize::from(*held);
        let start = distance(&entry.mean, &means[current]);
        let (mut best, mut least) = (current, start);
        for (apart, i) in &neighbours[current] {
            if *apart as f32 > 4.0 * start {
                break;
            }
            let here = distance(&entry.mean, &means[*i]);
            if here < least {
                (best, least) = (*i, here);
            }
        }
        *held = best as u16;
        let sum = &mut sums[best];
        let weight = f64::from(entry.weight);
        sum[3] += weight;
        for (sum, value) in sum.iter_mut().zip(entry.mean) {
            *sum += weight * f64::from(value);
        }
    }
    for (mean, sum) in means.iter_mut().zip(&sums).filter(|(_, sum)| sum[3] > 0.0) {
        *mean = [0, 1, 2].map(|axis| (sum[axis] / sum[3]) as f32);
    }
}

/// For each mean the others, nearest first: squared distance (rounded down) and number.
fn neighbours_of(means: &[[f32; 3]]) -> Vec<Vec<(u32, usize)>> {
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
