//! Chooses up to 256 colours for many pixels and finds the nearest of them.
//!
//! Histogram of 6 bits a channel, split where it lowers the squared error most, then refined by
//! k-means whose search is cut short by the triangle inequality.

use super::{CLEAR, pack, unpack};

const BITS: u32 = 6;
const BINS: usize = 1 << (3 * BITS);
const SIDE: usize = 1 << BITS;
/// More rounds gain less than 0.05 dB on real clips.
const ROUNDS: usize = 8;
/// Below this many colours a transparent entry costs more than differencing gains.
const MIN_COLORS_FOR_DIFFERENCING: usize = 16;
/// How many other means an entry looks at in a round.
const NEIGHBOURS: usize = 48;
const UNKNOWN: u16 = u16::MAX;

/// What a palette may hold.
#[derive(Clone, Copy)]
pub struct Stock {
    /// Most entries, the transparent one included.
    pub colors: usize,
    /// Some pixels are transparent, so that one entry must be.
    pub has_clear: bool,
}

impl Stock {
    /// Whether a reduced palette has room for a transparent entry.
    pub fn spares_one(self) -> bool {
        self.has_clear || self.colors >= MIN_COLORS_FOR_DIFFERENCING
    }
}

/// The colours of a frame or of a clip; entry 0 is the transparent one, where there is one.
pub struct Palette {
    colors: Vec<[u8; 3]>,
    has_transparent: bool,
    lookup: Lookup,
}

enum Lookup {
    Exact(ColorSet),
    Nearest(Nearest),
}

impl Palette {
    /// The palette for `pixels`, which is called once or twice and skips [`CLEAR`].
    ///
    /// `wants_transparent`: frames are going to be drawn over earlier ones.
    pub fn new<I: Iterator<Item = u32>>(
        pixels: impl Fn() -> I,
        stock: Stock,
        wants_transparent: bool,
    ) -> Self {
        if let Some(exact) = Self::exact(pixels(), stock, wants_transparent) {
            return exact;
        }
        let has_transparent = stock.has_clear || (wants_transparent && stock.spares_one());
        let mut entries = histogram(pixels().filter(|pixel| *pixel != CLEAR));
        let start = split(&mut entries, stock.colors - usize::from(has_transparent));
        let mut colors = k_means(&mut entries, start);
        let nearest = Nearest::new(&colors, has_transparent);
        if has_transparent {
            colors.insert(0, [0; 3]);
        }
        Self {
            colors,
            has_transparent,
            lookup: Lookup::Nearest(nearest),
        }
    }

    /// A palette of all the colours in `pixels`, or `None` where there are too many.
    pub fn exact(
        pixels: impl Iterator<Item = u32>,
        stock: Stock,
        wants_transparent: bool,
    ) -> Option<Self> {
        let room = stock.colors - usize::from(stock.has_clear);
        let set = ColorSet::of(pixels.filter(|pixel| *pixel != CLEAR), room)?;
        let fits = set.colors.len() < stock.colors;
        let has_transparent = stock.has_clear || (wants_transparent && fits);
        let mut colors: Vec<_> = set.colors.iter().map(|color| unpack(*color)).collect();
        if has_transparent {
            colors.insert(0, [0; 3]);
        }
        Some(Self {
            colors,
            has_transparent,
            lookup: Lookup::Exact(set),
        })
    }

    /// Whether every pixel that the palette was made for has its own colour in it.
    pub fn is_exact(&self) -> bool {
        matches!(self.lookup, Lookup::Exact(_))
    }

    /// The entry that leaves what was there before.
    pub fn transparent(&self) -> Option<u8> {
        self.has_transparent.then_some(0)
    }

    /// The colour of an entry.
    pub fn color(&self, index: u8) -> [u8; 3] {
        self.colors
            .get(usize::from(index))
            .copied()
            .unwrap_or_default()
    }

    /// The entry for a colour: its own in an exact palette, else the nearest.
    pub fn index(&mut self, color: [u8; 3]) -> u8 {
        match &mut self.lookup {
            Lookup::Exact(set) => {
                set.find(pack(color)).unwrap_or(0) as u8 + u8::from(self.has_transparent)
            }
            Lookup::Nearest(nearest) => nearest.find(color),
        }
    }

    /// The entries as a GIF colour table.
    pub fn bytes(&self) -> Vec<u8> {
        self.colors.concat()
    }
}

/// Up to 256 distinct colours, in the order they came.
struct ColorSet {
    colors: Vec<u32>,
    slots: [u16; Self::SLOTS],
}

impl ColorSet {
    const SLOTS: usize = 1024;

    /// The distinct colours of `pixels`, or `None` where there are more than `room`.
    fn of(pixels: impl Iterator<Item = u32>, room: usize) -> Option<Self> {
        let mut set = Self {
            colors: Vec::new(),
            slots: [UNKNOWN; Self::SLOTS],
        };
        let mut last = CLEAR;
        for pixel in pixels {
            if pixel == last {
                continue;
            }
            last = pixel;
            let slot = set.slot(pixel);
            if set.slots[slot] == UNKNOWN {
                if set.colors.len() == room {
                    return None;
                }
                set.slots[slot] = set.colors.len() as u16;
                set.colors.push(pixel);
            }
        }
        Some(set)
    }

    fn find(&self, color: u32) -> Option<usize> {
        let index = self.slots[self.slot(color)];
        (index != UNKNOWN).then_some(usize::from(index))
    }

    // where the colour is, or the free slot where it belongs; at most 256 of 1024 are taken
    fn slot(&self, color: u32) -> usize {
        let mut slot = (color.wrapping_mul(0x9e37_79b1) >> 22) as usize;
        loop {
            match self.colors.get(usize::from(self.slots[slot])) {
                Some(held) if *held != color => slot = (slot + 1) % Self::SLOTS,
                _ => return slot,
            }
        }
    }
}

/// The pixels of one bin.
struct Entry {
    bin: usize,
    mean: [f32; 3],
    weight: f32,
    nearest: usize,
}

fn bin([r, g, b]: [u8; 3]) -> usize {
    usize::from(r >> 2) << (2 * BITS) | usize::from(g >> 2) << BITS | usize::from(b >> 2)
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
            for axis in 0..3 {
                sum[axis] += f64::from(entry.weight) * f64::from(entry.mean[axis]);
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

fn distance(a: &[f32; 3], b: &[f32; 3]) -> f32 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2) + (a[2] - b[2]).powi(2)
}

/// Finds the nearest of up to 256 colours: each bin knows the few that can be.
struct Nearest {
    /// Start and end in `pool` of a bin's candidates; nought before it is first asked for.
    bins: Vec<(u32, u32)>,
    pool: Vec<[u8; 4]>,
    colors: Vec<[u8; 4]>,
}

impl Nearest {
    /// Half of the longest way through a bin: the root of 3 * 1.5 * 1.5.
    const RADIUS: f32 = 2.6;

    fn new(colors: &[[u8; 3]], has_transparent: bool) -> Self {
        let numbers = u8::from(has_transparent)..=u8::MAX;
        let colors = numbers
            .zip(colors)
            .map(|(i, [r, g, b])| [*r, *g, *b, i])
            .collect();
        Self {
            bins: vec![(0, 0); BINS],
            pool: Vec::new(),
            colors,
        }
    }

    fn find(&mut self, color: [u8; 3]) -> u8 {
        let bin = bin(color);
        if self.bins[bin].1 == 0 {
            self.bins[bin] = self.gather(color);
        }
        let (start, end) = self.bins[bin];
        let candidates = self
            .pool
            .get(start as usize..end as usize)
            .unwrap_or_default();
        let key = |[r, g, b, i]: &[u8; 4]| -> u32 {
            let along = |a: u8, b: u8| (i32::from(a) - i32::from(b)).pow(2) as u32;
            let apart = along(*r, color[0]) + along(*g, color[1]) + along(*b, color[2]);
            apart << 8 | u32::from(*i)
        };
        candidates.iter().map(key).fold(u32::MAX, u32::min) as u8
    }

    fn gather(&mut self, color: [u8; 3]) -> (u32, u32) {
        let centre = color.map(|v| f32::from(v & 0xfc) + 1.5);
        let apart = |[r, g, b, _]: &[u8; 4]| distance(&[*r, *g, *b].map(f32::from), &centre);
        let least = self.colors.iter().map(apart).fold(f32::MAX, f32::min);
        let reach = (least.sqrt() + 2.0 * Self::RADIUS).powi(2);
        let start = self.pool.len();
        self.pool
            .extend(self.colors.iter().filter(|entry| apart(entry) <= reach));
        (start as u32, self.pool.len() as u32)
    }
}
