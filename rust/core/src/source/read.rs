//! From frame numbers to a clip: by one decoder, or by several that share the file among them.

use std::alloc::{Layout, alloc_zeroed};
use std::path::Path;
use std::ptr::slice_from_raw_parts_mut;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::clip::{Clip, Wanted};
use crate::convert::View;
use crate::ffmpeg::{Facts, Input, Settings};
use crate::index::{Index, Skip, Track};
use crate::limits::clip_bytes;
use crate::source::builder::{Builder, Wish};
use crate::source::cursor::Cursor;
use crate::source::kept;
use crate::source::stream::Stream;
use crate::tables::{Identity, track_of};
use crate::{Error, Result};

/// Places where decoding may start that a clip has for each thread, so that cutting it there pays.
const CUTS_PER_THREAD: usize = 2;

/// Decodes the frames asked for, on up to `threads` threads: a clip that spans many places where
/// decoding may start is cut there, another one is left to the threads of its decoder.
pub fn read(path: &Path, wanted: &Wanted, view: &View, threads: usize) -> Result<Clip> {
    let mut opened = None;
    let (identity, track) = track_of(path, || {
        let input = opened.insert(Input::open(path)?);
        Track::of(input)
    })?;
    let (size, scale) = shown_size(path, view, &track.facts)?;
    let job = Job {
        path,
        view,
        identity,
        track,
        size,
        scale,
    };
    let mut wishes = sorted(&wanted.resolve(path, job.track.index.times.len())?);
    let shape = [wishes.len(), job.size[0], job.size[1], view.channels()];
    let mut pixels = zeros(path, clip_bytes(shape)?)?;
    let cuts = job.cuts(&wishes, threads);
    let is_done = if cuts.is_empty() {
        job.fill(&wishes, &mut pixels, threads, opened)?
    } else {
        job.fill_parts(&wishes, &mut pixels, &cuts, threads)?
    };
    if !is_done {
        // the packets promised other frames than the decoder makes, or some are damaged and look
        // different after a seek
        let index = Index::by_decoding(path)?;
        wishes = sorted(&wanted.resolve(path, index.times.len())?);
        pixels.truncate(wishes.len() * shape[1] * shape[2] * shape[3]);
        let stream = Stream::new(Input::open(path)?, job.settings(threads))?;
        let mut cursor = Cursor::fresh(stream, &index);
        if wishes.len() > shape[0]
            || !job.decode(&mut cursor, &wishes, &mut pixels, Skip::Nothing)?
        {
            let reason = "gives other frames each time it is decoded";
            return Err(Error::media(path, reason));
        }
    }
    let shape = [wishes.len(), shape[1], shape[2], shape[3]];
    Ok(Clip { pixels, shape })
}

/// What is the same for all parts of a read.
struct Job<'a> {
    path: &'a Path,
    view: &'a View,
    identity: Identity,
    track: Arc<Track>,
    /// Height and width of the clip's frames.
    size: [usize; 2],
    /// How many times smaller the decoder makes them.
    scale: usize,
}

impl Job<'_> {
    fn settings(&self, threads: usize) -> Settings {
        Settings {
            threads,
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
        let step = starts.len().div_ceil(4 * CUTS_PER_THREAD * threads);
        starts.into_iter().step_by(step).collect()
    }

    /// Fills the parts that begin at `cuts`, each by one decoder; `false` as in [`Cursor::reach`].
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
                if !self.fill(wishes, pixels, 1, None)? {
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

    /// Fills a clip, or a part of it, by one decoder; `false` as in [`Cursor::reach`].
    fn fill(
        &self,
        wishes: &[Wish],
        pixels: &mut [u8],
        threads: usize,
        opened: Option<Input>,
    ) -> Result<bool> {
        let (index, settings) = (&self.track.index, self.settings(threads));
        let first = wishes.first().map_or(0, |(number, _)| *number);
        let kept = kept::take(self.path, &self.identity, settings);
        let can_retry = kept.is_some() || index.skip != Skip::Nothing;
        let mut cursor = match kept {
            Some(video) => Cursor::kept(video, index, first),
            None => Cursor::fresh(
                Stream::new(self.track.open(self.path, opened)?, settings)?,
                index,
            ),
        };
        let mut is_done = self.decode(&mut cursor, wishes, pixels, index.skip)?;
        if !is_done && can_retry {
            cursor = Cursor::fresh(Stream::new(Input::open(self.path)?, settings)?, index);
            is_done = self.decode(&mut cursor, wishes, pixels, Skip::Nothing)?;
        }
        if is_done && let Some(video) = cursor.finish() {
            kept::keep(self.path, &self.identity, video);
        }
        Ok(is_done)
    }

    /// Decodes until all wishes are fulfilled; `false` as in [`Cursor::reach`].
    fn decode(
        &self,
        cursor: &mut Cursor,
        wishes: &[Wish],
        pixels: &mut [u8],
        skip: Skip,
    ) -> Result<bool> {
        let mut clip = Builder::new(self.path, self.view, wishes, self.size, pixels);
        let times = wishes.iter().map(|(number, _)| cursor.time(*number));
        cursor.stream.wanted = times.collect();
        cursor.stream.skip = skip;
        while let Some(number) = clip.next_wanted() {
            if !cursor.reach(number)? {
                return Ok(false);
            }
            clip.add(&cursor.stream)?;
        }
        Ok(true)
    }
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
    let (width, height) = facts.coded_size();
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
