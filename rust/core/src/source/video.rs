//! Videos by FFmpeg: frame i is the i-th decoded frame in display order.

use crate::Result;
use crate::source::Pick;
use crate::tables::track_of;

pub use crate::source::read::read;

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

/// Counts the frames of a video and tells its format.
pub fn probe(pick: Pick) -> Result<Info> {
    let (_, track) = track_of(pick)?;
    let (facts, index) = (&track.facts, &track.index);
    let (width, height) = facts.coded_size;
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

/// Numbers of the frames where decoding may start; none if it may only at the file's start.
pub fn starts(pick: Pick) -> Result<Vec<usize>> {
    Ok(track_of(pick)?.1.index.starts())
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
