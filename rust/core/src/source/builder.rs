//! A clip in the making: frames are turned, resized and put in their places as they are decoded.

use std::path::Path;

use crate::clip::Clip;
use crate::convert::{Image, Plan, View, flatten, turn};
use crate::ffmpeg::{Frame, Picture, Scaler};
use crate::limits::clip_bytes;
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
    scratch: [Vec<u8>; 2],
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
        let (scaler, scratch) = (Scaler::default(), [Vec::new(), Vec::new()]);
        Self {
            path,
            view,
            order,
            done: 0,
            pixels: Vec::new(),
            plan: None,
            scaler,
            scratch,
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
        let picture = self.scaler.convert(self.path, frame)?;
        let image = upright(picture, rotation, &mut self.scratch);
        let plan = plan_for(&mut self.plan, self.path, self.view, image)?;
        let (height, width) = plan.size;
        let shape = [self.order.len(), height, width, self.view.channels()];
        let frame_bytes = clip_bytes(shape)? / self.order.len();
        if self.pixels.is_empty() {
            reserve(self.path, &mut self.pixels, frame_bytes * self.order.len())?;
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
                None => plan.show(image, &mut self.pixels[start..start + frame_bytes]),
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
            plan.size.0,
            plan.size.1,
            self.view.channels(),
        ];
        Ok(Clip {
            pixels: self.pixels,
            shape,
        })
    }
}

/// The picture without alpha and as it is to be shown; `scratch` holds it where it had to change.
fn upright<'a>(picture: &'a Picture, rotation: u16, scratch: &'a mut [Vec<u8>; 2]) -> Image<'a> {
    let [flat, turned] = scratch;
    let mut image = picture.as_image();
    if picture.channels == 4 {
        flatten(image, flat);
        image = Image {
            bytes: flat,
            stride: 3 * image.width,
            ..image
        };
    }
    if rotation == 0 {
        return image;
    }
    turn(image, rotation, turned);
    let Image {
        mut height,
        mut width,
        ..
    } = image;
    if !rotation.is_multiple_of(180) {
        std::mem::swap(&mut height, &mut width);
    }
    Image {
        bytes: turned,
        stride: 3 * width,
        height,
        width,
    }
}

/// The plan for an image, made anew where the frames of a video change their size.
fn plan_for<'p>(
    kept: &'p mut Option<Plan>,
    path: &Path,
    view: &View,
    image: Image<'_>,
) -> Result<&'p Plan> {
    let source = (image.height, image.width);
    let old = kept.take();
    let old_size = old.as_ref().map(|plan| plan.size);
    let plan = match old {
        Some(plan) if plan.source == source => plan,
        _ => view.plan(source.0, source.1).map_err(|error| match error {
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

fn reserve(path: &Path, pixels: &mut Vec<u8>, bytes: usize) -> Result<()> {
    let reserved = pixels.try_reserve_exact(bytes);
    reserved.map_err(|_| Error::media(path, format!("no memory for a clip of {bytes} bytes")))?;
    pixels.resize(bytes, 0);
    Ok(())
}
