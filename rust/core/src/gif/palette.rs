//! The palette of a frame, a scene or a clip, and the entry for a colour.

use super::cluster::reduce;
use super::frame::Picture;
use super::histogram::Histogram;
use super::nearest::Nearest;
use super::{CLEAR, Quality, pack, unpack};

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
    pub quality: Quality,
}

impl Stock {
    /// Whether a reduced palette has room for a transparent entry.
    pub fn spares_one(self) -> bool {
        self.has_clear || self.colors >= MIN_COLORS_FOR_DIFFERENCING
    }
}

/// The colours of some pictures: each of them, while they are few, and a sample.
pub struct Seen {
    set: Option<ColorSet>,
    sample: Histogram,
}

impl Seen {
    pub fn new() -> Self {
        Self {
            set: Some(ColorSet::new()),
            sample: Histogram::new(),
        }
    }

    /// Takes in picture number `i`.
    pub fn add(&mut self, picture: Picture<'_>, i: usize, quality: Quality) {
        self.add_rows(picture, i, quality, |_, _| {});
    }

    /// Takes in picture number `i`, whose rows `mask` may make [`CLEAR`] in parts.
    pub fn add_rows(
        &mut self,
        picture: Picture<'_>,
        i: usize,
        quality: Quality,
        mut mask: impl FnMut(usize, &mut [u32]),
    ) {
        let step = (picture.width * picture.height())
            .div_ceil(quality.samples())
            .max(1);
        let mut row = Vec::new();
        for y in 0..picture.height() {
            // a lattice that moves from row to row and from frame to frame
            let start = (5 * y + 3 * i) % step;
            if self.set.is_none() && start >= picture.width {
                continue;
            }
            picture.unpack_row(y, &mut row);
            mask(y, &mut row);
            if !self.set.as_mut().is_none_or(|set| set.add(&row)) {
                self.set = None;
            }
            self.sample.count(&row, start, step);
        }
    }

    /// Gives back memory that only adding needs.
    pub fn close(&mut self) {
        self.sample.close();
    }

    /// Takes in what `other` saw after this.
    pub fn merge(&mut self, other: Self) {
        self.sample.merge(&other.sample);
        self.set = match (self.set.take(), other.set) {
            (Some(mut set), Some(other)) => set.add(&other.colors).then_some(set),
            _ => None,
        };
    }

    /// The palette for what was seen.
    ///
    /// `wants_transparent`: frames are going to be drawn over earlier ones.
    pub fn palette(self, stock: Stock, wants_transparent: bool) -> Palette {
        let Self { set, sample } = self;
        if let Some(palette) = set.and_then(|set| Palette::exact(set, stock, wants_transparent)) {
            return palette;
        }
        let has_transparent = stock.has_clear || (wants_transparent && stock.spares_one());
        let limit = stock.colors - usize::from(has_transparent);
        let mut colors = reduce(sample.entries(), limit, stock.quality.rounds());
        let nearest = Nearest::new(&colors, stock.quality != Quality::Fast);
        if has_transparent {
            colors.insert(0, [0; 3]);
        }
        Palette {
            colors,
            has_transparent,
            lookup: Lookup::Nearest(nearest),
        }
    }
}

/// The colours of a frame or of a clip; entry 0 is the transparent one, where there is one.
pub struct Palette {
    colors: Vec<[u8; 3]>,
    has_transparent: bool,
    lookup: Lookup,
}

/// How the entry of a colour is found; numbers are those without the transparent entry.
pub enum Lookup {
    /// Each colour has its own entry.
    Exact(ColorSet),
    Nearest(Nearest),
}

impl Palette {
    /// A palette of all the colours, or `None` where there are too many.
    pub fn exact(mut set: ColorSet, stock: Stock, wants_transparent: bool) -> Option<Self> {
        if set.colors.len() > stock.colors - usize::from(stock.has_clear) {
            return None;
        }
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
            lookup: Lookup::Exact(set),
        })
    }

    pub fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Whether entry 0 leaves what was there before.
    pub fn has_transparent(&self) -> bool {
        self.has_transparent
    }

    /// The colour of each entry.
    pub fn colors(&self) -> &[[u8; 3]] {
        &self.colors
    }

    /// The entries in a GIF's colour table are numbered in so many bits.
    pub fn bits(&self) -> u32 {
        usize::BITS - self.colors.len().saturating_sub(1).max(1).leading_zeros()
    }
}

/// Up to 256 distinct colours, in the order they came.
pub struct ColorSet {
    colors: Vec<u32>,
    slots: Vec<u16>,
}

impl ColorSet {
    const SLOTS: usize = 1024;
    const ROOM: usize = 256;

    pub fn new() -> Self {
        Self {
            colors: Vec::new(),
            slots: vec![UNKNOWN; Self::SLOTS],
        }
    }

    /// Adds the opaque pixels; false where that would be too many colours.
    pub fn add(&mut self, pixels: &[u32]) -> bool {
        let mut last = CLEAR;
        for pixel in pixels {
            if *pixel == last || *pixel == CLEAR {
                continue;
            }
            last = *pixel;
            let slot = self.slot(*pixel);
            if self.slots[slot] == UNKNOWN {
                if self.colors.len() == Self::ROOM {
                    return false;
                }
                self.slots[slot] = self.colors.len() as u16;
                self.colors.push(*pixel);
            }
        }
        true
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

    /// The number of a colour that is there.
    pub fn find(&self, color: u32) -> u8 {
        self.slots[self.slot(color)] as u8
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

/// The colour as it is kept on the canvas: its entry in the top byte.
pub fn shown_colors(palette: &Palette) -> [u32; 256] {
    let mut shown = [0; 256];
    for (i, (slot, color)) in (0..).zip(shown.iter_mut().zip(palette.colors())) {
        *slot = i << 24 | pack(*color);
    }
    shown
}
