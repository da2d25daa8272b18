//! What the viewer sees so far, and the smallest frame that turns it into the next.

use gif::{DisposalMethod, Frame};

use super::CLEAR;
use super::dither::{KEEP, Mapped};
use super::palette::{Palette, Stock};

/// The picture after the frames drawn so far.
pub struct Canvas {
    width: usize,
    /// The last frame as it came; empty before the first.
    source: Vec<u32>,
    /// The colours shown, [`CLEAR`] where nothing is.
    shown: Vec<u32>,
    /// Frames hold transparent pixels: each is drawn whole and wiped before the next.
    is_wiped: bool,
}

/// The part of the canvas that a frame covers.
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Area {
    /// Numbers of the pixels on a canvas of that width.
    fn pixels(&self, canvas: usize) -> impl Iterator<Item = usize> {
        let (left, width) = (self.left, self.width);
        let rows = (self.top..self.top + self.height).map(move |y| y * canvas + left);
        rows.flat_map(move |start| start..start + width)
    }
}

impl Canvas {
    pub fn new(width: usize, height: usize, is_wiped: bool) -> Self {
        Self {
            width,
            source: Vec::new(),
            shown: vec![CLEAR; width * height],
            is_wiped,
        }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether pixel `i` of the last frame was `pixel` and is still to be seen.
    pub fn holds(&self, i: usize, pixel: u32) -> bool {
        !self.is_wiped && self.source.get(i) == Some(&pixel)
    }

    /// A palette for the next frame: of all its colours if they fit, else of those it changes.
    pub fn local_palette(&self, source: &[u32], stock: Stock) -> Palette {
        let all = || source.iter().copied();
        if self.source.is_empty() || self.is_wiped {
            return Palette::new(all, stock, false);
        }
        if !stock.spares_one() {
            return Palette::new(all, stock, true);
        }
        Palette::exact(all(), stock, true).unwrap_or_else(|| {
            let is_changed = |(i, pixel): &(usize, u32)| !self.holds(*i, *pixel);
            let changed = || all().enumerate().filter(is_changed).map(|(_, pixel)| pixel);
            // what stays must be left out, so the transparent entry is a must
            Palette::new(
                changed,
                Stock {
                    has_clear: true,
                    ..stock
                },
                true,
            )
        })
    }

    /// Draws a frame and returns it, compressed, without its delay and palette.
    pub fn draw(&mut self, mapped: Mapped, palette: &Palette) -> Frame<'static> {
        let shown: Vec<u32> = mapped
            .entries
            .iter()
            .zip(&self.shown)
            .map(|(entry, shown)| match *entry {
                KEEP => *shown,
                entry => super::pack(palette.color(entry as u8)),
            })
            .collect();
        let area = self.changed_area(&shown);
        let mut frame = self.cut(&area, &mapped.entries, palette, |_| false);
        let is_same = |i: usize| shown[i] == self.shown[i];
        let same = area.pixels(self.width).filter(|i| is_same(*i)).count();
        // equal colours left out make longer runs, or break them: the shorter file wins
        if palette.transparent().is_some() && same > area.width * area.height / 4 {
            let sparse = self.cut(&area, &mapped.entries, palette, is_same);
            if sparse.buffer.len() < frame.buffer.len() {
                frame = sparse;
            }
        }
        if self.is_wiped {
            frame.dispose = DisposalMethod::Background;
        } else {
            self.shown = shown;
        }
        self.source = mapped.source;
        frame
    }

    /// The smallest rectangle around the pixels whose colour changes; one pixel if none does.
    fn changed_area(&self, shown: &[u32]) -> Area {
        let (mut left, mut right) = (self.width, 0);
        let (mut top, mut bottom) = (usize::MAX, 0);
        let rows = shown
            .chunks_exact(self.width)
            .zip(self.shown.chunks_exact(self.width));
        for (y, (new, old)) in rows.enumerate() {
            let is_changed = |x: &usize| new[*x] != old[*x];
            let Some(first) = (0..self.width).find(is_changed) else {
                continue;
            };
            let last = (0..self.width).rfind(is_changed).unwrap_or(first);
            (left, right) = (left.min(first), right.max(last));
            (top, bottom) = (top.min(y), y);
        }
        if top == usize::MAX {
            return Area {
                left: 0,
                top: 0,
                width: 1,
                height: 1,
            };
        }
        Area {
            left,
            top,
            width: right - left + 1,
            height: bottom - top + 1,
        }
    }

    fn cut(
        &self,
        area: &Area,
        entries: &[u16],
        palette: &Palette,
        is_left_out: impl Fn(usize) -> bool,
    ) -> Frame<'static> {
        let transparent = palette.transparent();
        let clear = u16::from(transparent.unwrap_or(0));
        let pick = |i: usize| {
            if entries[i] == KEEP || is_left_out(i) {
                clear
            } else {
                entries[i]
            }
        };
        let indices: Vec<u8> = area.pixels(self.width).map(|i| pick(i) as u8).collect();
        let mut frame = Frame {
            left: area.left as u16,
            top: area.top as u16,
            width: area.width as u16,
            height: area.height as u16,
            transparent: transparent.filter(|clear| indices.contains(clear)),
            buffer: indices.into(),
            ..Frame::default()
        };
        frame.make_lzw_pre_encoded();
        frame
    }
}
