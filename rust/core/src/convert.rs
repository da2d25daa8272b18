//! From a decoded picture to a frame of a clip: turn, crop, fit, grey; [`crate::resize`] does the
//! resampling.

use crate::clip::Clip;
use crate::limits::{self, clip_bytes};
use crate::resize::{Filter, Format, Resize, Rows, Scratch, Span};
use crate::{Error, Result};

/// What happens where source and output differ in aspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The centre of the output's aspect is cut out.
    Crop,
    /// Black bars are added before the resize.
    Pad,
    /// The picture is distorted.
    Stretch,
}

/// Part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

/// How a source frame becomes a frame of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Height and width of the output; `None` keeps those of the (cropped) source.
    pub size: Option<(usize, usize)>,
    /// Part of the upright source that is shown.
    pub crop: Option<Rect>,
    /// What happens where the aspects differ.
    pub fit: Fit,
    /// The resize's filter.
    pub filter: Filter,
    /// One channel of luma instead of three of RGB.
    pub is_grey: bool,
}

/// A packed RGB picture, rows `stride` bytes apart.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// At least `(height - 1) * stride + 3 * width` bytes.
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

/// A [`View`] worked out for frames of one format and size.
#[derive(Debug)]
pub(crate) struct Plan {
    resize: Resize,
    is_grey: bool,
    /// Clockwise turn that shows the resized frame upright.
    rotation: u16,
    /// Height and width of the resized frame before it is turned.
    coded_size: [usize; 2],
    /// What it is for: format, and height and width as coded.
    pub source: (Format, [usize; 2]),
    /// Height and width of the output.
    pub size: [usize; 2],
    scratch: Scratch,
    rgb: Vec<u8>,
}

fn round_ratio(numerator: usize, denominator: usize) -> usize {
    (2 * numerator + denominator) / (2 * denominator)
}

impl View {
    /// Channels of the output.
    #[must_use]
    pub fn channels(&self) -> usize {
        if self.is_grey { 1 } else { 3 }
    }

    /// The rows and columns that are shown of an upright source, whose sides are at most
    /// the limit.
    pub(crate) fn spans(&self, height: usize, width: usize) -> Result<[Span; 2]> {
        let whole = Rect {
            top: 0,
            left: 0,
            height,
            width,
        };
        let part = self.crop.unwrap_or(whole);
        let ends = (
            part.top.checked_add(part.height),
            part.left.checked_add(part.width),
        );
        let is_inside =
            ends.0.is_some_and(|end| end <= height) && ends.1.is_some_and(|end| end <= width);
        if !is_inside || part.height == 0 || part.width == 0 {
            let crop = (part.top, part.left, part.height, part.width);
            return Err(Error::Argument(format!(
                "crop {crop:?} (top, left, height, width) is outside: \
                 the frame is {height} high and {width} wide"
            )));
        }
        let size = self.size.unwrap_or((part.height, part.width));
        let most = limits::get().max_side;
        if size.0 == 0 || size.1 == 0 || size.0 > most || size.1 > most {
            let text = format!("size must be 1 to {most}, got {} x {}", size.0, size.1);
            return Err(Error::Argument(text));
        }
        let (part, canvas) = fit(self.fit, part, size)?;
        let span = |canvas, first, real, out| Span {
            canvas,
            pad: (canvas - real) / 2,
            first,
            real,
            out,
        };
        Ok([
            span(canvas.0, part.top, part.height, size.0),
            span(canvas.1, part.left, part.width, size.1),
        ])
    }

    /// Whether a decoder may make frames of `size` (height, width) `scale` times smaller.
    pub(crate) fn can_reduce(&self, size: [usize; 2], scale: usize) -> bool {
        let spans = self.spans(size[0], size[1]);
        size.iter().all(|side| side.is_multiple_of(scale))
            && spans.is_ok_and(|spans| spans.iter().all(|span| span.reduced(scale).is_some()))
    }

    /// Works the view out for frames that are decoded in `format` and `size` (height, width), `scale`
    /// times smaller than they are, and upright after a clockwise turn by `rotation` degrees.
    pub(crate) fn plan(
        &self,
        format: Format,
        size: [usize; 2],
        rotation: u16,
        scale: usize,
    ) -> Result<Plan> {
        let [height, width] = size;
        let is_upended = !rotation.is_multiple_of(180);
        let upright = if is_upended { [width, height] } else { size };
        let mut spans = self.spans(upright[0] * scale, upright[1] * scale)?;
        if scale > 1 {
            spans = spans.map(|span| span.reduced(scale).unwrap_or(span));
        }
        let [rows, cols] = spans;
        let coded = match rotation {
            90 => [cols.mirrored(height), rows],
            180 => [rows.mirrored(height), cols.mirrored(width)],
            270 => [cols, rows.mirrored(width)],
            _ => spans,
        };
        Ok(Plan {
            resize: Resize::new(format, size, self.filter, coded),
            is_grey: self.is_grey,
            rotation,
            coded_size: coded.map(|span| span.out),
            source: (format, size),
            size: spans.map(|span| span.out),
            scratch: Scratch::default(),
            rgb: Vec::new(),
        })
    }
}

/// The part of the source that is shown, and height and width of the canvas in whose centre it is.
fn fit(fit: Fit, part: Rect, size: (usize, usize)) -> Result<(Rect, (usize, usize))> {
    let Rect {
        top,
        left,
        height: h,
        width: w,
    } = part;
    let (out_h, out_w) = size;
    match fit {
        Fit::Stretch => Ok((part, (h, w))),
        Fit::Crop => {
            let is_wide = w * out_h > h * out_w;
            let new_h = if is_wide {
                h
            } else {
                round_ratio(w * out_h, out_w).max(1)
            };
            let new_w = if is_wide {
                round_ratio(h * out_w, out_h).max(1)
            } else {
                w
            };
            let (top, left) = (top + (h - new_h) / 2, left + (w - new_w) / 2);
            Ok((
                Rect {
                    top,
                    left,
                    height: new_h,
                    width: new_w,
                },
                (new_h, new_w),
            ))
        }
        Fit::Pad => {
            let canvas_h = h.max(round_ratio(w * out_h, out_w));
            let canvas_w = w.max(round_ratio(h * out_w, out_h));
            let most = limits::get().max_side;
            if canvas_h.max(canvas_w) > most {
                return Err(Error::Argument(format!(
                    "{h}x{w} padded to the aspect of {size:?} is {canvas_h}x{canvas_w}: \
                     a side may have {most} pixels"
                )));
            }
            Ok((part, (canvas_h, canvas_w)))
        }
    }
}

impl Plan {
    /// Writes the frame as the view shows it to `out`, [h, w, channels].
    pub fn show(&mut self, picture: &[Rows], out: &mut [u8]) {
        if self.rotation == 0 && !self.is_grey {
            self.resize.show(picture, &mut self.scratch, out);
            return;
        }
        let [height, width] = self.coded_size;
        self.rgb.resize(3 * height * width, 0);
        self.resize.show(picture, &mut self.scratch, &mut self.rgb);
        if self.is_grey {
            let grey: Vec<u8> = to_grey(&self.rgb).collect();
            turn::<1>(&grey, self.coded_size, self.rotation, out);
        } else {
            turn::<3>(&self.rgb, self.coded_size, self.rotation, out);
        }
    }
}

/// Frames [T, H, W, 3] as a view shows them.
pub fn resize_clip(bytes: &[u8], shape: [usize; 4], view: &View) -> Result<Clip> {
    let [frames, height, width, channels] = shape;
    let frame_bytes = height.saturating_mul(width).saturating_mul(channels);
    if channels != 3 || frame_bytes == 0 || bytes.len() != frame_bytes.saturating_mul(frames) {
        let text = format!("frames must be [T, H, W, 3] and not empty, got {shape:?}");
        return Err(Error::Argument(text));
    }
    let mut plan = view.plan(Format::RGB, [height, width], 0, 1)?;
    let shape = [frames, plan.size[0], plan.size[1], view.channels()];
    let mut pixels = vec![0; clip_bytes(shape)?];
    let shown = pixels.chunks_exact_mut(shape[1] * shape[2] * shape[3]);
    for (frame, out) in bytes.chunks_exact(frame_bytes).zip(shown) {
        plan.show(&[Rows::Bytes(frame.chunks_exact(3 * width).collect())], out);
    }
    Ok(Clip {
        pixels: pixels.into(),
        shape,
    })
}

/// Luma of BT.601, with Pillow's rounding.
fn to_grey(row: &[u8]) -> impl Iterator<Item = u8> + '_ {
    row.chunks_exact(3).map(|pixel| {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16) as u8
    })
}

/// Lays RGBA rows over black, into packed RGB.
pub(crate) fn flatten(rgba: Image<'_>, rgb: &mut Vec<u8>) {
    rgb.clear();
    for row in rgba.bytes.chunks(rgba.stride).take(rgba.height) {
        for pixel in row[..4 * rgba.width].chunks_exact(4) {
            let alpha = u16::from(pixel[3]);
            rgb.extend(
                pixel[..3]
                    .iter()
                    .map(|c| ((u16::from(*c) * alpha + 127) / 255) as u8),
            );
        }
    }
}

/// Turns packed pixels [h, w, C] clockwise by 0, 90, 180 or 270 degrees.
fn turn<const C: usize>(bytes: &[u8], [h, w]: [usize; 2], degrees: u16, out: &mut [u8]) {
    if degrees == 0 {
        out.copy_from_slice(bytes);
        return;
    }
    let new_width = if degrees == 180 { w } else { h };
    for (i, pixel) in out.chunks_exact_mut(C).enumerate() {
        let (y, x) = (i / new_width, i % new_width);
        let from = match degrees {
            90 => (h - 1 - x) * w + y,
            180 => (h - 1 - y) * w + w - 1 - x,
            _ => x * w + w - 1 - y,
        };
        pixel.copy_from_slice(&bytes[C * from..C * (from + 1)]);
    }
}
