//! The palette of a frame or a clip, and the entry for a colour.

use super::cluster::{BINS, bin, distance, reduce};
use super::{CLEAR, pack, unpack};

/// Below this many colours a transparent entry costs more than differencing gains.
const MIN_COLORS_FOR_DIFFERENCING: usize = 16;
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
    Exact(Box<ColorSet>),
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
        let opaque = pixels().filter(|pixel| *pixel != CLEAR);
        let mut colors = reduce(opaque, stock.colors - usize::from(has_transparent));
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
        let mut set = ColorSet::of(pixels.filter(|pixel| *pixel != CLEAR), room)?;
        let fits = set.colors.len() < stock.colors;
        let has_transparent = stock.has_clear || (wants_transparent && fits);
        set.break_ramp(u32::from(has_transparent));
        let mut colors: Vec<_> = set.colors.iter().map(|color| unpack(*color)).collect();
        if has_transparent {
            colors.insert(0, [0; 3]);
        }
        Some(Self {
            colors,
            has_transparent,
            lookup: Lookup::Exact(Box::new(set)),
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

    /// Changes the order if entry i is the grey i: Pillow takes such a palette for none, and then
    /// shows later frames in false colours.
    fn break_ramp(&mut self, first: u32) {
        let is_ramp = (first..)
            .zip(&self.colors)
            .all(|(i, color)| *color == i * 0x0001_0101);
        if let [one, two, ..] = self.colors[..]
            && is_ramp
        {
            let slots = (self.slot(one), self.slot(two));
            self.slots.swap(slots.0, slots.1);
            self.colors.swap(0, 1);
        }
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
