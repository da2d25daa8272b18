//! Frames in, a GIF file out, piece by piece.

use super::dither::entries;
use super::frame::{Canvas, Picture, changed_area};
use super::lzw::{self, SAME};
use super::palette::{Palette, Seen, Stock};
use super::scan::Scan;
use super::{ClipView, Options, PaletteScope, lossy};
use crate::{Error, Result, parallel};

/// Pixels that are worked on at a time.
const BATCH_PIXELS: usize = 1 << 24;

/// Writes a GIF of frames that come in pieces: all of them to `scan`, then again to `write`.
pub struct Encoder {
    width: usize,
    height: usize,
    options: Options,
    scan: Option<Scan>,
    stock: Stock,
    /// First frame and palette of each scene; none where each frame has its own.
    scenes: Vec<(usize, Palette)>,
    canvas: Option<Canvas>,
    /// The last frame written, and how many were before the next.
    last: Vec<u8>,
    channels: usize,
    frames: usize,
}

impl Encoder {
    /// An encoder for frames of one size.
    pub fn new(width: usize, height: usize, options: &Options) -> Result<Self> {
        if !(2..=256).contains(&options.colors) {
            let text = format!("colors must be in 2..=256, got {}", options.colors);
            return Err(Error::Argument(text));
        }
        Ok(Self {
            width,
            height,
            options: *options,
            scan: Some(Scan::new()),
            stock: Stock {
                colors: options.colors,
                has_clear: false,
                quality: options.quality,
            },
            scenes: Vec::new(),
            canvas: None,
            last: Vec::new(),
            channels: 0,
            frames: 0,
        })
    }

    /// Looks at the frames that follow, to choose colours.
    pub fn scan(&mut self, clip: &ClipView<'_>) -> Result<()> {
        self.check(clip)?;
        let options = self.options;
        let Some(scan) = self.scan.as_mut() else {
            let text = "frames were written already: no more can be scanned".to_owned();
            return Err(Error::Argument(text));
        };
        scan.add(clip, &options);
        Ok(())
    }

    /// The bytes of the file that the frames that follow make; frame i is shown for `delays[i]`
    /// hundredths of a second.
    pub fn write(&mut self, clip: &ClipView<'_>, delays: &[u16]) -> Result<Vec<u8>> {
        self.check(clip)?;
        if delays.len() != clip.frames {
            let (frames, given) = (clip.frames, delays.len());
            let text = format!("{frames} frames need as many delays, got {given}");
            return Err(Error::Argument(text));
        }
        let mut file = self.start();
        let batch = BATCH_PIXELS / (self.width * self.height);
        let batch = batch.max(self.options.threads).max(1);
        for start in (0..clip.frames).step_by(batch) {
            let end = (start + batch).min(clip.frames);
            self.write_batch(clip, start..end, delays, &mut file);
        }
        self.last = clip.picture(clip.frames - 1).bytes.to_vec();
        self.channels = clip.channels;
        Ok(file)
    }

    /// What ends the file.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let mut file = self.start();
        file.push(b';');
        file
    }

    fn check(&self, clip: &ClipView<'_>) -> Result<()> {
        if (clip.width, clip.height) != (self.width, self.height) {
            let (w, h) = (clip.width, clip.height);
            let text = format!("a frame is {w}x{h}, the GIF {}x{}", self.width, self.height);
            return Err(Error::Argument(text));
        }
        Ok(())
    }

    /// Ends the scan and makes the file's header, before the first frame.
    fn start(&mut self) -> Vec<u8> {
        let Some(scan) = self.scan.take() else {
            return Vec::new();
        };
        self.stock.has_clear = scan.has_clear;
        self.canvas = Some(Canvas::new(self.width, self.height, scan.has_clear));
        self.scenes = scan.palettes(self.stock, self.options.threads);
        let mut file = b"GIF89a".to_vec();
        // the sides were checked to fit
        for side in [self.width, self.height] {
            file.extend((side as u16).to_le_bytes());
        }
        let global = self.scenes.first().map(|(_, palette)| palette);
        let flags = global.map_or(0, |palette| 0x80 | (palette.bits() as u8 - 1));
        file.extend([flags | 0x70, 0, 0]);
        if let Some(palette) = global {
            put_table(&mut file, palette);
        }
        if let Some(count) = self.options.repeat {
            file.extend(b"!\xff\x0bNETSCAPE2.0\x03\x01");
            file.extend(count.to_le_bytes());
            file.push(0);
        }
        file
    }

    fn write_batch(
        &mut self,
        clip: &ClipView<'_>,
        range: std::ops::Range<usize>,
        delays: &[u16],
        file: &mut Vec<u8>,
    ) {
        let Some(mut canvas) = self.canvas.take() else {
            return;
        };
        let threads = self.options.threads;
        let mapped = parallel::map(threads, range.clone(), |i| self.map(clip, i));
        let (mapped, local): (Vec<_>, Vec<_>) = mapped.into_iter().unzip();
        let palettes: Vec<&Palette> = range
            .clone()
            .zip(&local)
            .filter_map(|(i, local)| local.as_ref().or_else(|| self.scene(self.frames + i)))
            .collect();
        let cells = canvas.draw(threads, &mapped, &palettes);
        let images = parallel::map(threads, range.clone().zip(cells), |(i, cells)| {
            let palette = palettes[i - range.start];
            let is_global = self
                .scenes
                .first()
                .is_some_and(|(_, first)| std::ptr::eq(first, palette));
            self.image(&cells, palette, is_global, delays[i])
        });
        for image in images {
            file.extend(image);
        }
        if range.end == clip.frames {
            self.frames += clip.frames;
        }
        self.canvas = Some(canvas);
    }

    /// The entries of frame `i` of the clip, and its own palette if it has one.
    fn map(&self, clip: &ClipView<'_>, i: usize) -> (Vec<u8>, Option<Palette>) {
        let picture = clip.picture(i);
        let before = match i.checked_sub(1) {
            _ if self.stock.has_clear => None,
            Some(before) => Some(clip.picture(before)),
            None if self.last.is_empty() => None,
            None => Some(Picture {
                bytes: &self.last,
                channels: self.channels,
                ..picture
            }),
        };
        let local = match self.options.palette {
            PaletteScope::Local => Some(self.local_palette(picture, before)),
            _ => None,
        };
        let Some(palette) = local.as_ref().or_else(|| self.scene(self.frames + i)) else {
            return (Vec::new(), None);
        };
        let before = before.filter(|_| palette.has_transparent());
        let entries = entries(picture, before, palette, self.options.dither);
        (entries, local)
    }

    fn scene(&self, frame: usize) -> Option<&Palette> {
        let after = self.scenes.partition_point(|(first, _)| *first <= frame);
        Some(&self.scenes.get(after.checked_sub(1)?)?.1)
    }

    /// A palette for a frame: of all its colours if they fit, else of those it changes.
    fn local_palette(&self, picture: Picture<'_>, before: Option<Picture<'_>>) -> Palette {
        let quality = self.options.quality;
        let mut seen = Seen::new();
        let Some(before) = before.filter(|_| self.stock.spares_one()) else {
            seen.add(picture, 0, quality);
            return seen.palette(self.stock, before.is_some());
        };
        let mut set = Some(super::palette::ColorSet::new());
        let (mut row, mut old) = (Vec::new(), Vec::new());
        for y in 0..picture.height() {
            picture.unpack_row(y, &mut row);
            if !set.as_mut().is_some_and(|set| set.add(&row)) {
                set = None;
                break;
            }
        }
        if let Some(palette) = set.and_then(|set| Palette::exact(set, self.stock, true)) {
            return palette;
        }
        seen.add_rows(picture, 0, quality, |y, row| {
            before.unpack_row(y, &mut old);
            for (pixel, old) in row.iter_mut().zip(&old) {
                if pixel == old {
                    *pixel = super::CLEAR;
                }
            }
        });
        // what stays must be left out, so the transparent entry is a must
        let stock = Stock {
            has_clear: true,
            ..self.stock
        };
        seen.palette(stock, true)
    }

    /// A frame as the file holds it.
    fn image(&self, cells: &[u16], palette: &Palette, is_global: bool, delay: u16) -> Vec<u8> {
        let area = changed_area(cells, self.width);
        let cells = area.cut(cells, self.width);
        let has_clear = palette.has_transparent() && cells.iter().any(|cell| cell & SAME != 0);
        let disposal = if self.stock.has_clear { 2 } else { 1 };
        let mut image = vec![b'!', 0xf9, 4, disposal << 2 | u8::from(has_clear)];
        image.extend(delay.to_le_bytes());
        image.extend([0, 0, b',']);
        for number in [area.left, area.top, area.width, area.height] {
            image.extend((number as u16).to_le_bytes());
        }
        if is_global {
            image.push(0);
        } else {
            image.push(0x80 | (palette.bits() as u8 - 1));
            put_table(&mut image, palette);
        }
        let data = match self.options.lossy {
            0 => lzw::compress(&cells, palette.bits().max(2), palette.has_transparent()),
            lossy => lossy::compress(&cells, palette, lossy),
        };
        image.extend(data);
        image
    }
}

fn put_table(file: &mut Vec<u8>, palette: &Palette) {
    let spare = (1 << palette.bits()) - palette.colors().len();
    file.extend(palette.colors().as_flattened());
    file.extend(vec![0; 3 * spare]);
}
