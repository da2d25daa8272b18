//! Videos by FFmpeg: frame i is the i-th decoded frame in display order.

use std::path::Path;
use std::sync::Arc;

use crate::clip::{Clip, Wanted};
use crate::convert::View;
use crate::ffmpeg::Input;
use crate::index::Index;
use crate::source::builder::Builder;
use crate::source::stream::Stream;
use crate::tables::table_of;
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
    let index = table_of(path, || Index::build(&mut input))?;
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
    let mut index = table_of(path, || Index::build(&mut Input::open(path)?))?;
    loop {
        let numbers = wanted.resolve(path, index.times.len())?;
        let ways: &[bool] = if index.can_skip {
            &[true, false]
        } else {
            &[false]
        };
        for skips in ways {
            let mut clip = Builder::new(path, view, &numbers);
            if decode(path, &index, &mut clip, *skips)? {
                return clip.finish();
            }
        }
        if !index.is_seekable() {
            return Err(Error::media(
                path,
                "gives other frames each time it is decoded",
            ));
        }
        // the packets promised other frames than the decoder makes, or some are damaged
        index = Arc::new(Index::by_decoding(path)?);
    }
}

/// Decodes until the clip is complete. `false`: other frames came than the index says, or damaged
/// ones, which look different after a seek. `skips`: frames that nobody needs are left out.
fn decode(path: &Path, index: &Index, clip: &mut Builder, skips: bool) -> Result<bool> {
    let mut cursor = Cursor {
        stream: Stream::open(path)?,
        index,
        at: None,
    };
    if skips {
        cursor.stream.wanted = clip.wanted().map(|number| index.times[number]).collect();
    }
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
            let came = if self.index.is_seekable() {
                let found = pts.and_then(|pts| self.index.number_at(pts, place.next));
                let is_skipping = !self.stream.wanted.is_empty();
                let is_expected = |came: &usize| {
                    *came == place.next || is_skipping && (place.next..=number).contains(came)
                };
                match found.filter(is_expected) {
                    Some(came) if !is_damaged => came,
                    _ => return Ok(false),
                }
            } else {
                place.next
            };
            place = Place {
                next: came + 1,
                since: None,
            };
            self.at = Some(place);
            if came == number {
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
