//! Videos by FFmpeg: frame i is the i-th decoded frame in display order.

use std::path::Path;
use std::sync::Arc;

use crate::clip::{Clip, Wanted};
use crate::convert::View;
use crate::ffmpeg::Input;
use crate::index::{Index, Track};
use crate::source::builder::Builder;
use crate::source::cursor::Cursor;
use crate::source::kept;
use crate::source::stream::Stream;
use crate::tables::{Identity, track_of};
use crate::{Error, Result};

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
    let (_, track, _) = look_up(path)?;
    let (facts, index) = (&track.facts, &track.index);
    let (width, height) = facts.coded_size();
    let rotation = facts.rotation;
    let first = index.times.first().copied().unwrap_or(0);
    let seconds = |ticks: i64| ticks as f64 * facts.tick();
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
        codec: facts.codec().to_owned(),
        has_audio: facts.has_audio,
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

/// What tells the file from others, what is known of it, and the file if it had to be opened for that.
fn look_up(path: &Path) -> Result<(Identity, Arc<Track>, Option<Input>)> {
    let mut opened = None;
    let (identity, track) = track_of(path, || {
        let input = opened.insert(Input::open(path)?);
        Track::of(input)
    })?;
    Ok((identity, track, opened))
}

/// Decodes the frames asked for.
pub fn read(path: &Path, wanted: &Wanted, view: &View) -> Result<Clip> {
    let (identity, track, opened) = look_up(path)?;
    let numbers = wanted.resolve(path, track.index.times.len())?;
    let first = numbers.iter().copied().min().unwrap_or(0);
    let kept = kept::take(path, &identity);
    let can_retry = kept.is_some() || track.index.can_skip;
    let mut cursor = match kept {
        Some(video) => Cursor::kept(video, &track.index, first),
        None => Cursor::fresh(Stream::new(track.open(path, opened)?)?, &track.index),
    };
    let mut clip = Builder::new(path, view, &numbers);
    let mut is_done = decode(&mut cursor, &mut clip, track.index.can_skip)?;
    if !is_done && can_retry {
        cursor = Cursor::fresh(Stream::new(Input::open(path)?)?, &track.index);
        clip = Builder::new(path, view, &numbers);
        is_done = decode(&mut cursor, &mut clip, false)?;
    }
    if is_done {
        if let Some(video) = cursor.finish() {
            kept::keep(path, &identity, video);
        }
        return clip.finish();
    }
    read_by_decoding(path, wanted, view)
}

/// For a file whose packets promise other frames than the decoder makes, or whose frames are damaged
/// and look different after a seek.
fn read_by_decoding(path: &Path, wanted: &Wanted, view: &View) -> Result<Clip> {
    let index = Index::by_decoding(path)?;
    let numbers = wanted.resolve(path, index.times.len())?;
    let mut clip = Builder::new(path, view, &numbers);
    let mut cursor = Cursor::fresh(Stream::new(Input::open(path)?)?, &index);
    if decode(&mut cursor, &mut clip, false)? {
        return clip.finish();
    }
    let reason = "gives other frames each time it is decoded";
    Err(Error::media(path, reason))
}

/// Decodes until the clip is complete; `false` as in [`Cursor::reach`]. `skips`: frames that nobody
/// needs are left out.
fn decode(cursor: &mut Cursor, clip: &mut Builder, skips: bool) -> Result<bool> {
    cursor.stream.wanted = if skips {
        clip.wanted().map(|number| cursor.time(number)).collect()
    } else {
        Vec::new()
    };
    let rotation = cursor.stream.input.facts.rotation;
    while let Some(number) = clip.next_wanted() {
        if !cursor.reach(number)? {
            return Ok(false);
        }
        clip.add(&cursor.stream.frame, rotation)?;
    }
    Ok(true)
}
