//! A clip in the making: frames are turned, resized and put in their places as they are decoded.

use std::path::Path;

use crate::convert::{Plan, View, flatten};
use crate::ffmpeg::{Frame, Scaler};
use crate::resize::{Format, Rows};
use crate::source::stream::Stream;
use crate::{Error, Result};

/// A frame of the file and its place in the clip.
pub(crate) type Wish = (usize, usize);

/// A clip, or a part of one, that fills up in the order in which frames are decoded.
pub(crate) struct Builder<'a> {
    path: &'a Path,
    /// In rising order of the frames.
    wishes: &'a [Wish],
    /// Height and width of the clip's frames.
    size: [usize; 2],
    pixels: &'a mut [u8],
    /// The place with which the pixels begin.
    first: usize,
    done: usize,
    pub show: Show,
}

/// A view, and what was worked out and allocated to show frames by it, which goes on to the next clip.
pub(crate) struct Show {
    view: View,
    plan: Option<Plan>,
    scaler: Scaler,
    flat: Vec<u8>,
}

impl Show {
    /// The one that is `kept`, if it is of this view.
    pub fn new(view: &View, kept: Option<Self>) -> Self {
        kept.filter(|show| show.view == *view).unwrap_or(Self {
            view: *view,
            plan: None,
            scaler: Scaler::default(),
            flat: Vec::new(),
        })
    }
}

impl<'a> Builder<'a> {
    /// Frames go to `pixels`, which begins with the first of their places.
    pub fn new(
        path: &'a Path,
        show: Show,
        wishes: &'a [Wish],
        size: [usize; 2],
        pixels: &'a mut [u8],
    ) -> Self {
        Self {
            path,
            wishes,
            size,
            pixels,
            first: wishes.iter().map(|(_, place)| *place).min().unwrap_or(0),
            done: 0,
            show,
        }
    }

    /// Number of the frame that is to be added next; `None` when all are there.
    pub fn next_wanted(&self) -> Option<usize> {
        self.wishes.get(self.done).map(|(number, _)| *number)
    }

    /// Takes the frame that was wanted next, for all its places.
    pub fn add(&mut self, stream: &Stream) -> Result<()> {
        let frame = &stream.frame;
        let Show {
            view,
            plan,
            scaler,
            flat,
        } = &mut self.show;
        let (width, height) = frame.size();
        let (format, rows) = match frame.samples() {
            Some(samples) => samples,
            None => (Format::RGB, to_rgb(scaler, flat, self.path, frame)?),
        };
        let plan = plan_for(plan, self.path, view, (format, [height, width]), stream)?;
        if plan.size != self.size {
            let sizes = format!("{:?} and {:?}", self.size, plan.size);
            let reason = format!("frames have more than one size, {sizes}: give a size");
            return Err(Error::media(self.path, reason));
        }
        let frame_bytes = self.size[0] * self.size[1] * view.channels();
        let number = self.wishes.get(self.done).map(|(number, _)| *number);
        let mut shown: Option<usize> = None;
        while let Some((_, place)) = self
            .wishes
            .get(self.done)
            .filter(|(n, _)| Some(*n) == number)
        {
            let start = (place - self.first) * frame_bytes;
            match shown {
                Some(from) => self.pixels.copy_within(from..from + frame_bytes, start),
                None => plan.show(&rows, &mut self.pixels[start..start + frame_bytes]),
            }
            shown = Some(start);
            self.done += 1;
        }
        Ok(())
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
    stream: &Stream,
) -> Result<&'p mut Plan> {
    let plan = match kept.take() {
        Some(plan) if plan.source == source => plan,
        _ => view
            .plan(
                source.0,
                source.1,
                stream.input.facts.rotation,
                stream.settings.scale,
            )
            .map_err(|error| error.about(path))?,
    };
    Ok(kept.insert(plan))
}
