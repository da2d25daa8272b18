//! From frame numbers to a clip: by one decoder, or by several that share the file among them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::clip::{Clip, Wanted};
use crate::convert::View;
use crate::ffmpeg::{Facts, Input, Settings};
use crate::index::Skip;
use crate::limits::clip_bytes;
use crate::pixels::Pixels;
use crate::source::Pick;
use crate::source::builder::{Builder, Show, Wish};
use crate::source::cursor::{Cursor, Reached, near};
use crate::source::kept::{self, Video};
use crate::source::stream::Stream;
use crate::tables::{Identity, replace_track, track_of};
use crate::track::Track;
use crate::{Error, Result};

/// Places where decoding may start that a clip has for each thread, so that cutting it there pays.
const CUTS_PER_THREAD: usize = 2;

/// Pixels of a frame from which two threads of a decoder are faster than one: frames of fewer are
/// decoded in less time than it takes to hand them over.
const MIN_PIXELS_OF_TWO: usize = 150_000;

/// Decodes the frames asked for, on up to `threads` threads: a clip that spans many places where
/// decoding may start is cut there, another one is left to the threads of its decoder.
pub fn read(pick: Pick, wanted: &Wanted, view: &View, threads: usize) -> Result<Clip> {
    let (identity, track) = track_of(pick)?;
    let (is_seekable, facts) = (track.index.is_seekable(), Arc::clone(&track.facts));
    let job = Job::new(pick, view, &identity, track)?;
    if let Some(clip) = job.clip(wanted, threads)? {
        return Ok(clip);
    }
    let fail = || Error::media(pick.path, "gives other frames each time it is decoded");
    if !is_seekable {
        return Err(fail());
    }
    // the packets promised other frames than the decoder makes: from now on its frames count
    let track = Arc::new(Track::by_decoding(facts, pick)?);
    replace_track(pick, &identity, &track);
    let job = Job::new(pick, view, &identity, track)?;
    job.clip(wanted, threads)?.ok_or_else(fail)
}

/// What is the same for all parts of a read.
struct Job<'a> {
    pick: Pick<'a>,
    view: &'a View,
    identity: &'a Identity,
    track: Arc<Track>,
    /// Height and width of the clip's frames.
    size: [usize; 2],
    /// How many times smaller the decoder makes them.
    scale: usize,
}

impl<'a> Job<'a> {
    fn new(
        pick: Pick<'a>,
        view: &'a View,
        identity: &'a Identity,
        track: Arc<Track>,
    ) -> Result<Self> {
        let (size, scale) = shown_size(pick.path, view, &track.facts)?;
        Ok(Self {
            pick,
            view,
            identity,
            track,
            size,
            scale,
        })
    }

    /// The frames asked for; `None` where the index is wrong about the frames.
    fn clip(&self, wanted: &Wanted, threads: usize) -> Result<Option<Clip>> {
        let wishes = sorted(&wanted.resolve(self.pick.path, self.track.index.times.len())?);
        let shape = [
            wishes.len(),
            self.size[0],
            self.size[1],
            self.view.channels(),
        ];
        let bytes = clip_bytes(shape)?;
        let mut pixels = Pixels::new(bytes).ok_or_else(|| {
            let reason = format!("no memory for a clip of {bytes} bytes");
            Error::media(self.pick.path, reason)
        })?;
        let cuts = self.cuts(&wishes, threads);
        let is_done = if cuts.is_empty() {
            self.fill(&wishes, &mut pixels, threads)?
        } else {
            self.fill_parts(&wishes, &mut pixels, &cuts, threads)?
        };
        Ok(is_done.then_some(Clip { pixels, shape }))
    }

    fn settings(&self, threads: usize) -> Settings {
        let (width, height) = self.track.facts.coded_size;
        let is_small = threads == 2 && width * height < MIN_PIXELS_OF_TWO;
        Settings {
            threads: if is_small { 1 } else { threads },
            scale: self.scale,
        }
    }

    /// Where among the wishes each part of the clip begins; none if it is better left whole.
    fn cuts(&self, wishes: &[Wish], threads: usize) -> Vec<usize> {
        let is_in_order = wishes.iter().enumerate().all(|(i, (_, place))| i == *place);
        if threads < 2 || !is_in_order || !self.track.index.is_seekable() {
            return Vec::new();
        }
        let entry = |wish: &Wish| self.track.index.entry_of(wish.0);
        let starts =
            (0..wishes.len()).filter(|i| *i == 0 || entry(&wishes[*i]) != entry(&wishes[i - 1]));
        let starts: Vec<usize> = starts.collect();
        if starts.len() < CUTS_PER_THREAD * threads {
            return Vec::new();
        }
        // not more parts than keep the threads busy: each costs a seek
        let step = starts.len().div_ceil(2 * CUTS_PER_THREAD * threads);
        starts.into_iter().step_by(step).collect()
    }

    /// Fills the parts that begin at `cuts`, each by one decoder; `false` where the index is wrong about the frames.
    fn fill_parts(
        &self,
        wishes: &[Wish],
        pixels: &mut [u8],
        cuts: &[usize],
        threads: usize,
    ) -> Result<bool> {
        let frame_bytes = pixels.len() / wishes.len();
        let mut parts = Vec::with_capacity(cuts.len());
        let (mut wishes, mut pixels, mut end) = (wishes, pixels, wishes.len());
        for start in cuts.iter().rev() {
            let (before, part) = pixels.split_at_mut(start * frame_bytes);
            parts.push((&wishes[*start..end], part));
            (wishes, pixels, end) = (&wishes[..*start], before, *start);
        }
        // the last one is the first of the file
        let parts = Mutex::new(parts);
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = || -> Result<bool> {
            while let Some((wishes, pixels)) = next() {
                if !self.fill(wishes, pixels, 1)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut is_done = work();
            for worker in workers {
                let other = worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                is_done = is_done.and_then(|done| Ok(done && other?));
            }
            is_done
        })
    }

    /// Fills a clip, or a part of it, by one decoder; `false` where the index is wrong about the frames.
    fn fill(&self, wishes: &[Wish], pixels: &mut [u8], threads: usize) -> Result<bool> {
        let (index, settings) = (&self.track.index, self.settings(threads));
        let first = wishes.first().map_or(0, |(number, _)| *number);
        let near = near(index, first);
        let (mut cursor, is_fresh) = match kept::take(self.pick, self.identity, settings, &near) {
            Some(Video::Decoded(video)) => (Cursor::kept(*video, index, first), false),
            other => {
                let opened = match other {
                    Some(Video::Read(input)) => Some(input),
                    _ => None,
                };
                let input = self.track.open(self.pick, opened)?;
                (Cursor::fresh(Stream::new(input, settings)?, index), true)
            }
        };
        let can_retry = !is_fresh || index.skip != Skip::Nothing;
        let mut end = self.decode(&mut cursor, wishes, pixels, index.skip)?;
        if end != End::Done && can_retry {
            cursor = Cursor::fresh(
                Stream::new(Input::open_by_trial(self.pick)?, settings)?,
                index,
            );
            end = self.decode(&mut cursor, wishes, pixels, Skip::Nothing)?;
        }
        if let End::Damaged(number) = end {
            let reason = format!("frame {number} can't be decoded: its data are damaged");
            return Err(Error::media(self.pick.path, reason));
        }
        let is_done = end == End::Done;
        if is_done && let Some(video) = cursor.finish() {
            kept::keep(self.pick, self.identity, Video::Decoded(Box::new(video)));
        }
        Ok(is_done)
    }

    /// Decodes until all wishes are fulfilled.
    fn decode(
        &self,
        cursor: &mut Cursor,
        wishes: &[Wish],
        pixels: &mut [u8],
        skip: Skip,
    ) -> Result<End> {
        let show = Show::new(self.view, cursor.show.take());
        let mut clip = Builder::new(self.pick.path, show, wishes, self.size, pixels);
        let times = wishes.iter().map(|(number, _)| cursor.time(*number));
        cursor.stream.want(times.collect(), skip);
        while let Some(number) = clip.next_wanted() {
            match cursor.reach(number)? {
                Reached::Frame => clip.add(&cursor.stream)?,
                Reached::Other => return Ok(End::OtherFrames),
                Reached::Damage => return Ok(End::Damaged(number)),
            }
        }
        cursor.show = Some(clip.show);
        Ok(End::Done)
    }
}

/// How decoding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// Other frames came than the index says.
    OtherFrames,
    /// The data of a wanted frame are damaged.
    Damaged(usize),
}

/// Frame numbers with their places, by number.
fn sorted(numbers: &[usize]) -> Vec<Wish> {
    let places = numbers.iter().enumerate();
    let mut wishes: Vec<Wish> = places.map(|(place, number)| (*number, place)).collect();
    wishes.sort_unstable();
    wishes
}

/// How many times smaller MJPEG is decoded where the output is small enough: its transform at half
/// size costs as much as at full size, and an eighth shows.
const MJPEG_SCALE: usize = 4;

/// Height and width of the frames as the view shows them, and how many times smaller the decoder may
/// make them.
fn shown_size(path: &Path, view: &View, facts: &Facts) -> Result<([usize; 2], usize)> {
    let (width, height) = facts.coded_size;
    let is_upended = !facts.rotation.is_multiple_of(180);
    let [height, width] = if is_upended {
        [width, height]
    } else {
        [height, width]
    };
    let spans = view
        .spans(height, width)
        .map_err(|error| error.about(path))?;
    let is_reduced = facts.codec() == "mjpeg" && view.can_reduce([height, width], MJPEG_SCALE);
    let scale = if is_reduced { MJPEG_SCALE } else { 1 };
    Ok((spans.map(|span| span.out), scale))
}
