//! From a decoded picture to a frame of a clip: turn, crop, fit, grey; [`crate::resize`] does the
//! resampling.

use crate::clip::Clip;
use crate::limits::{MAX_SIDE, clip_bytes};
use crate::resize::{Filter, Weights, resize};
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
#[derive(Clone, Copy, Debug)]
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

/// A [`View`] worked out for one source size.
#[derive(Clone, Debug)]
pub struct Plan {
    part: Rect,
    rows: Weights,
    cols: Weights,
    is_grey: bool,
    /// Height and width of the source it is for.
    pub source: (usize, usize),
    /// Height and width of the output.
    pub size: (usize, usize),
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

    /// Works the view out for an upright source; sides are at most [`MAX_SIDE`].
    pub fn plan(&self, height: usize, width: usize) -> Result<Plan> {
        let whole = Rect {
            top: 0,
            left: 0,
            height,
            width,
        };
        let part = self.crop.unwrap_or(whole);
        let is_inside = part
            .height
            .checked_add(part.top)
            .is_some_and(|end| end <= height)
            && part
                .width
                .checked_add(part.left)
                .is_some_and(|end| end <= width);
        if !is_inside || part.height == 0 || part.width == 0 {
            let crop = (part.top, part.left, part.height, part.width);
            return Err(Error::Argument(format!(
                "crop {crop:?} (top, left, height, width) is outside: \
                 the frame is {height} high and {width} wide"
            )));
        }
        let size = self.size.unwrap_or((part.height, part.width));
        if size.0 == 0 || size.1 == 0 || size.0 > MAX_SIDE || size.1 > MAX_SIDE {
            let text = format!("size must be 1 to {MAX_SIDE}, got {} x {}", size.0, size.1);
            return Err(Error::Argument(text));
        }
        let (part, canvas) = fit(self.fit, part, size)?;
        let rows = Weights::new(self.filter, canvas.0, part.height, size.0);
        let cols = Weights::new(self.filter, canvas.1, part.width, size.1);
        let source = (height, width);
        Ok(Plan {
            part,
            rows,
            cols,
            is_grey: self.is_grey,
            source,
            size,
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
            if canvas_h.max(canvas_w) > MAX_SIDE {
                return Err(Error::Argument(format!(
                    "{h}x{w} padded to the aspect of {size:?} is {canvas_h}x{canvas_w}: \
                     a side may have {MAX_SIDE} pixels"
                )));
            }
            Ok((part, (canvas_h, canvas_w)))
        }
    }
}

impl Plan {
    /// Writes the picture as the plan shows it to `out`, [h, w, channels]. `out` has that length
    /// and `image` the plan's source size.
    pub fn show(&self, image: Image<'_>, out: &mut [u8]) {
        let Rect {
            top,
            left,
            height,
            width,
        } = self.part;
        let rows = image.bytes.chunks(image.stride).skip(top).take(height);
        let parts: Vec<&[u8]> = rows.map(|row| &row[3 * left..3 * (left + width)]).collect();
        if self.is_grey {
            let grey: Vec<u8> = parts.into_iter().flat_map(to_grey).collect();
            let parts: Vec<&[u8]> = grey.chunks_exact(width).collect();
            resize::<1>(&parts, &self.rows, &self.cols, out);
        } else {
            resize::<3>(&parts, &self.rows, &self.cols, out);
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
    let plan = view.plan(height, width)?;
    let shape = [frames, plan.size.0, plan.size.1, view.channels()];
    let mut pixels = vec![0; clip_bytes(shape)?];
    let shown = pixels.chunks_exact_mut(shape[1] * shape[2] * shape[3]);
    for (frame, out) in bytes.chunks_exact(frame_bytes).zip(shown) {
        let image = Image {
            bytes: frame,
            stride: 3 * width,
            height,
            width,
        };
        plan.show(image, out);
    }
    Ok(Clip { pixels, shape })
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

/// Turns a picture clockwise by 90, 180 or 270 degrees, into packed RGB.
pub(crate) fn turn(image: Image<'_>, degrees: u16, out: &mut Vec<u8>) {
    let (h, w) = (image.height, image.width);
    let pixel = |y: usize, x: usize| &image.bytes[y * image.stride + 3 * x..][..3];
    out.clear();
    let (new_h, new_w) = if degrees == 180 { (h, w) } else { (w, h) };
    for y in 0..new_h {
        for x in 0..new_w {
            out.extend_from_slice(match degrees {
                90 => pixel(h - 1 - x, y),
                180 => pixel(h - 1 - y, w - 1 - x),
                _ => pixel(x, w - 1 - y),
            });
        }
    }
}
