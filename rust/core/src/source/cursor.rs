//! A place in a video that is being decoded, and the way from there to another frame.

use std::ops::RangeInclusive;

use crate::Result;
use crate::index::Index;
use crate::source::builder::Show;
use crate::source::kept::Open;
use crate::source::stream::Stream;

/// Frames that are decoded rather than skipped by a seek.
const SEEK_WORTH: usize = 8;

/// What came of the way to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The frame is in the stream.
    Frame,
    /// Other frames came than the index says.
    Other,
    /// The data of this frame, or of one that it needs, are damaged.
    Damage,
}

/// Where a decoder is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Number of the frame that comes next.
    pub next: usize,
    /// Frames shown before this time are leading ones, which lack their references.
    since: Option<i64>,
}

impl Place {
    /// In the middle of decoding.
    pub fn at(next: usize) -> Self {
        Self { next, since: None }
    }
}

/// Where a decoder may stand so that it goes on to frame `number` rather than seek.
pub(crate) fn near(index: &Index, number: usize) -> RangeInclusive<usize> {
    let start = index
        .entry_of(number)
        .map_or(0, |entry| index.first_of(entry));
    start.saturating_sub(SEEK_WORTH)..=number
}

/// A video at some place.
pub(crate) struct Cursor<'a> {
    pub stream: Stream,
    index: &'a Index,
    at: Option<Place>,
    /// Whether nothing was decoded yet.
    is_fresh: bool,
    /// How the last clip's frames were shown.
    pub show: Option<Show>,
}

impl<'a> Cursor<'a> {
    /// At the start of a video that was just opened.
    pub fn fresh(stream: Stream, index: &'a Index) -> Self {
        Self {
            stream,
            index,
            at: None,
            is_fresh: true,
            show: None,
        }
    }

    /// At the place where an earlier read ended, if frame `first` is not before it.
    pub fn kept(video: Open, index: &'a Index, first: usize) -> Self {
        video.stream.input.clock().restart();
        Self {
            stream: video.stream,
            index,
            at: video.at.filter(|place| place.next <= first),
            is_fresh: false,
            show: video.show,
        }
    }

    /// Ends the read; the video is good for another one unless it is damaged.
    pub fn finish(self) -> Option<Open> {
        let is_good = self.at.is_some() && !self.stream.is_damaged && self.index.is_seekable();
        is_good.then_some(Open {
            at: self.at.filter(|_| !self.stream.is_over()),
            stream: self.stream,
            show: self.show,
        })
    }

    /// When frame `number` is shown, in ticks.
    pub fn time(&self, number: usize) -> i64 {
        self.index.times[number]
    }

    /// Decodes frame `number` into the stream's frame; numbers rise from call to call.
    pub fn reach(&mut self, number: usize) -> Result<Reached> {
        let Some(mut place) = self.place_before(number)? else {
            return Ok(Reached::Other);
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
                let is_skipping = self.stream.is_skipping();
                let is_expected = |came: &usize| {
                    *came == place.next || is_skipping && (place.next..=number).contains(came)
                };
                match found.filter(is_expected) {
                    _ if is_damaged => return Ok(Reached::Damage),
                    Some(came) => came,
                    None => return Ok(Reached::Other),
                }
            } else {
                place.next
            };
            place = Place::at(came + 1);
            self.at = Some(place);
            if came == number {
                return Ok(Reached::Frame);
            }
        }
        let is_damaged = self.stream.is_damaged && self.index.is_seekable();
        Ok(if is_damaged {
            Reached::Damage
        } else {
            Reached::Other
        })
    }

    /// Stays where it is, or seeks where that saves frames. `None` if that fails.
    fn place_before(&mut self, number: usize) -> Result<Option<Place>> {
        let Some(entry) = self.index.entry_of(number) else {
            return Ok(Some(self.at.unwrap_or(Place::at(0))));
        };
        match self.at {
            Some(place) if near(self.index, number).contains(&place.next) => Ok(Some(place)),
            _ => {
                let is_there = self.stream.go_to(entry, self.is_fresh)?;
                self.is_fresh = false;
                Ok(is_there.then_some(Place {
                    next: self.index.first_of(entry),
                    since: Some(entry.pts),
                }))
            }
        }
    }
}
