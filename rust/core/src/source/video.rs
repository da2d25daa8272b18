//! Videos by FFmpeg: frame i is the i-th decoded frame in display order.

use std::path::Path;

use crate::clip::{Clip, Wanted};
use crate::convert::{Image, Plan, View, flatten, turn};
use crate::ffmpeg::{Frame, Input, Scaler};
use crate::index::Index;
use crate::limits::clip_bytes;
use crate::source::stream::Stream;
use crate::{Error, Result};

/// Frames that are decoded rather than skipped by a seek.
const SEEK_WORTH: usize = 8;

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Info {
    /// When each frame is shown, in seconds from the first.
    pub times: Vec<f64>,
    /// When the last frame's time is over.
    pub end: f64,
    /// Height and width as shown.
    pub size: (usize, usize),
    /// Degrees clockwise that show the coded frames upright.
    pub rotation: u16,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// Whether there is sound.
    pub has_audio: bool,
}

/// Counts the frames of a file and tells its format.
pub fn probe(path: &Path) -> Result<Info> {
    let mut input = Input::open(path)?;
    let index = Index::build(&mut input)?;
    let (width, height) = input.coded_size();
    let rotation = input.rotation();
    let first = index.times.first().copied().unwrap_or(0);
    let seconds = |ticks: i64| ticks as f64 * input.tick();
    let times: Vec<f64> = index
        .times
        .iter()
        .map(|t| seconds(t.saturating_sub(first)))
        .collect();
    let last = times.last().copied().unwrap_or(0.0);
    let shown = if index.last_duration > 0 {
        seconds(index.last_duration)
    } else {
        gap(&times)
    };
    Ok(Info {
        end: last + shown,
        times,
        size: if rotation.is_multiple_of(180) {
            (height, width)
        } else {
            (width, height)
        },
        rotation,
        codec: input.codec().to_owned(),
        has_audio: input.has_audio(),
    })
}

/// The median time between frames; a 25th of a second for a single one.
fn gap(times: &[f64]) -> f64 {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    match gaps.len() {
        0 => 0.04,
        n => f64::midpoint(gaps[(n - 1) / 2], gaps[n / 2]),
    }
}

/// Decodes the frames asked for.
pub fn read(path: &Path, wanted: &Wanted, view: &View) -> Result<Clip> {
    let mut input = Input::open(path)?;
    let mut index = Index::build(&mut input)?;
    drop(input);
    loop {
        let numbers = wanted.resolve(path, index.times.len())?;
        let mut clip = Builder::new(path, view, &numbers);
        if decode(path, &index, &mut clip)? {
            return clip.finish();
        }
        if !index.is_seekable() {
            return Err(Error::media(
                path,
                "gives other frames each time it is decoded",
            ));
        }
        // the packets promised other frames than the decoder makes, or some are damaged
        index = Index::by_decoding(path)?;
    }
}

/// Decodes until the clip is complete. `false`: other frames came than the index says, or damaged
/// ones, which look different after a seek.
fn decode(path: &Path, index: &Index, clip: &mut Builder) -> Result<bool> {
    let mut cursor = Cursor {
        stream: Stream::open(path)?,
        index,
        at: None,
    };
    let rotation = cursor.stream.input.rotation();
    while let Some(number) = clip.next_wanted() {
        if !cursor.reach(number)? {
            return Ok(false);
        }
        clip.add(&cursor.stream.frame, rotation)?;
    }
    Ok(true)
}

/// A place in a file that is being decoded.
struct Cursor<'a> {
    stream: Stream,
    index: &'a Index,
    at: Option<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    /// Number of the frame that comes next.
    next: usize,
    /// Frames shown before this time are leading ones, which lack their references.
    since: Option<i64>,
}

impl Cursor<'_> {
    /// Decodes frame `number` into the stream's frame; numbers must rise from call to call.
    fn reach(&mut self, number: usize) -> Result<bool> {
        let Some(mut place) = self.place_before(number)? else {
            return Ok(false);
        };
        while self.stream.next_frame()? {
            let pts = self.stream.frame.pts();
            if pts.zip(place.since).is_some_and(|(pts, since)| pts < since) {
                continue;
            }
            if place.since.is_some() {
                // leading frames that lack their references are no damage
                self.stream.is_damaged = false;
            }
            let is_damaged = self.stream.is_damaged || self.stream.frame.is_damaged();
            let is_expected = pts == self.index.times.get(place.next).copied();
            if self.index.is_seekable() && (is_damaged || !is_expected) {
                return Ok(false);
            }
            place = Place {
                next: place.next + 1,
                since: None,
            };
            self.at = Some(place);
            if place.next > number {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stays where it is, or seeks where that saves frames. `None` if that fails.
    fn place_before(&mut self, number: usize) -> Result<Option<Place>> {
        let Some(entry) = self.index.entry_of(number) else {
            return Ok(Some(self.at.unwrap_or(Place {
                next: 0,
                since: None,
            })));
        };
        let first = self.index.times.partition_point(|time| *time < entry.pts);
        match self.at {
            Some(place) if first <= place.next + SEEK_WORTH => Ok(Some(place)),
            _ => {
                let is_there = self.stream.go_to(entry, self.at.is_none())?;
                Ok(is_there.then_some(Place {
                    next: first,
                    since: Some(entry.pts),
                }))
            }
        }
    }
}

/// A clip that fills up in the order in which frames are decoded.
struct Builder<'a> {
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
    fn new(path: &'a Path, view: &'a View, numbers: &[usize]) -> Self {
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

    fn next_wanted(&self) -> Option<usize> {
        self.order.get(self.done).map(|(number, _)| *number)
    }

    /// Takes the frame that was wanted next, for all its places.
    fn add(&mut self, frame: &Frame, rotation: u16) -> Result<()> {
        let picture = self.scaler.convert(self.path, frame)?;
        let [flat, turned] = &mut self.scratch;
        let mut image = picture.as_image();
        if picture.channels == 4 {
            flatten(image, flat);
            image = Image {
                bytes: flat,
                stride: 3 * image.width,
                ..image
            };
        }
        if rotation != 0 {
            turn(image, rotation, turned);
            let is_upended = !rotation.is_multiple_of(180);
            let (height, width) = if is_upended {
                (image.width, image.height)
            } else {
                (image.height, image.width)
            };
            image = Image {
                bytes: turned,
                stride: 3 * width,
                height,
                width,
            };
        }
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

    fn finish(self) -> Result<Clip> {
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
