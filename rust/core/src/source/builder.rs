//! A clip in the making: frames are turned, resized and put in their places as they are decoded.

use std::alloc::{Layout, alloc_zeroed};
use std::path::Path;
use std::ptr::slice_from_raw_parts_mut;

use crate::clip::Clip;
use crate::convert::{Plan, View, flatten};
use crate::ffmpeg::{Frame, Scaler};
use crate::limits::clip_bytes;
use crate::resize::{Format, Rows};
use crate::{Error, Result};

/// A clip that fills up in the order in which frames are decoded.
pub(crate) struct Builder<'a> {
    path: &'a Path,
    view: &'a View,
    /// Frame number and place in the clip, by number.
    order: Vec<(usize, usize)>,
    done: usize,
    pixels: Vec<u8>,
    plan: Option<Plan>,
    scaler: Scaler,
    flat: Vec<u8>,
}

impl<'a> Builder<'a> {
    /// An empty clip of the frames `numbers`.
    pub fn new(path: &'a Path, view: &'a View, numbers: &[usize]) -> Self {
        let mut order: Vec<(usize, usize)> = numbers
            .iter()
            .enumerate()
            .map(|(place, number)| (*number, place))
            .collect();
        order.sort_unstable();
        Self {
            path,
            view,
            order,
            done: 0,
            pixels: Vec::new(),
            plan: None,
            scaler: Scaler::default(),
            flat: Vec::new(),
        }
    }

    /// Number of the frame that is to be added next; `None` when all are there.
    pub fn next_wanted(&self) -> Option<usize> {
        self.order.get(self.done).map(|(number, _)| *number)
    }

    /// Numbers of all frames, rising, some more than once.
    pub fn wanted(&self) -> impl Iterator<Item = usize> {
        self.order.iter().map(|(number, _)| *number)
    }

    /// Takes the frame that was wanted next, for all its places.
    pub fn add(&mut self, frame: &Frame, rotation: u16) -> Result<()> {
        let (width, height) = frame.size();
        let (format, rows) = match frame.samples() {
            Some(samples) => samples,
            None => (
                Format::RGB,
                to_rgb(&mut self.scaler, &mut self.flat, self.path, frame)?,
            ),
        };
        let plan = plan_for(
            &mut self.plan,
            self.path,
            self.view,
            (format, [height, width]),
            rotation,
        )?;
        let [height, width] = plan.size;
        let shape = [self.order.len(), height, width, self.view.channels()];
        let frame_bytes = clip_bytes(shape)? / self.order.len();
        if self.pixels.is_empty() {
            self.pixels = zeros(self.path, frame_bytes * self.order.len())?;
        }
        let number = self.order.get(self.done).map(|(number, _)| *number);
        let mut shown: Option<usize> = None;
        while let Some((_, place)) = self
            .order
            .get(self.done)
            .filter(|(n, _)| Some(*n) == number)
        {
            let start = place * frame_bytes;
            match shown {
                Some(from) => self.pixels.copy_within(from..from + frame_bytes, start),
                None => plan.show(&rows, &mut self.pixels[start..start + frame_bytes]),
            }
            shown = Some(start);
            self.done += 1;
        }
        Ok(())
    }

    /// The finished clip.
    pub fn finish(self) -> Result<Clip> {
        let Some(plan) = self.plan else {
            return Err(Error::media(self.path, "no frame was decoded"));
        };
        let shape = [
            self.order.len(),
            plan.size[0],
            plan.size[1],
            self.view.channels(),
        ];
        Ok(Clip {
            pixels: self.pixels,
            shape,
        })
    }
}

/// The frame in packed RGB, laid over black.
fn to_rgb<'s>(
    scaler: &'s mut Scaler,
    flat: &'s mut Vec<u8>,
    path: &Path,
    frame: &Frame,
) -> Result<Vec<Rows<'s>>> {
    let picture = scaler.convert(path, frame)?;
    let (bytes, stride) = if picture.channels == 4 {
        flatten(picture.as_image(), flat);
        (&flat[..], 3 * picture.width)
    } else {
        (&picture.bytes[..], picture.stride)
    };
    let rows = bytes.chunks(stride).take(picture.height);
    Ok(vec![Rows::Bytes(
        rows.map(|row| &row[..3 * picture.width]).collect(),
    )])
}

/// The plan for a frame, made anew where the frames of a video change their format or size.
fn plan_for<'p>(
    kept: &'p mut Option<Plan>,
    path: &Path,
    view: &View,
    source: (Format, [usize; 2]),
    rotation: u16,
) -> Result<&'p mut Plan> {
    let old = kept.take();
    let old_size = old.as_ref().map(|plan| plan.size);
    let plan = match old {
        Some(plan) if plan.source == source => plan,
        _ => view
            .plan(source.0, source.1, rotation)
            .map_err(|error| match error {
                Error::Argument(text) => Error::Argument(format!("{}: {text}", path.display())),
                other => other,
            })?,
    };
    if old_size.is_some_and(|size| size != plan.size) {
        let sizes = format!("{old_size:?} and {:?}", plan.size);
        let reason = format!("frames have more than one size, {sizes}: give a size");
        return Err(Error::media(path, reason));
    }
    Ok(kept.insert(plan))
}

/// Zeros that the system hands out page by page as they are written to.
fn zeros(path: &Path, bytes: usize) -> Result<Vec<u8>> {
    let fail = || Error::media(path, format!("no memory for a clip of {bytes} bytes"));
    let layout = Layout::array::<u8>(bytes).map_err(|_| fail())?;
    // SAFETY: a clip has bytes; the box gets the memory as it was asked for
    unsafe {
        let start = alloc_zeroed(layout);
        if start.is_null() {
            return Err(fail());
        }
        Ok(Box::from_raw(slice_from_raw_parts_mut(start, bytes)).into_vec())
    }
}
