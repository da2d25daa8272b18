//! Videos that stay open for the next read: opening a file takes as long as decoding some frames of
//! it, and a read that goes on where the last one ended needs none before its own.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process;
use std::sync::{LazyLock, Mutex};

use crate::ffmpeg::{Input, Settings};
use crate::source::Pick;
use crate::source::builder::Show;
use crate::source::cursor::Place;
use crate::source::stream::Stream;
use crate::tables::{Identity, try_lock};

/// Most pixels of all videos that stay open, a frame of each counted: two of 4K, many small ones.
const MAX_PIXELS: usize = 16 << 20;
/// Most videos that stay open.
const MAX_OPEN: usize = 8;

static KEPT: LazyLock<Mutex<Vec<Kept>>> = LazyLock::new(Mutex::default);

struct Kept {
    /// The process that opened it.
    process: u32,
    path: PathBuf,
    identity: Identity,
    pixels: usize,
    video: Video,
}

/// A video that is open.
pub(crate) enum Video {
    /// Its packets were read, nothing was decoded.
    Read(Input),
    /// Frames of it were decoded.
    Decoded(Box<Open>),
}

/// A video and where its decoder is.
pub(crate) struct Open {
    pub stream: Stream,
    pub at: Option<Place>,
    pub show: Option<Show>,
}

impl Video {
    fn input(&self) -> &Input {
        match self {
            Self::Read(input) => input,
            Self::Decoded(open) => &open.stream.input,
        }
    }

    /// Number of the frame that comes next, where that is known.
    fn next(&self) -> Option<usize> {
        match self {
            Self::Read(_) => None,
            Self::Decoded(open) => open.at.map(|place| place.next),
        }
    }

    fn has_decoder(&self, wanted: Settings) -> bool {
        match self {
            Self::Read(_) => true,
            Self::Decoded(open) => open.stream.settings == wanted,
        }
    }
}

/// A video that was kept of this very file, with such a decoder or with none: the one that stands
/// furthest among the frames `near`, from which a read goes on without a seek.
pub(crate) fn take(
    pick: Pick,
    identity: &Identity,
    settings: Settings,
    near: &RangeInclusive<usize>,
) -> Option<Video> {
    let mut kept = try_lock(&KEPT)?;
    let is_it = |one: &Kept| {
        let is_asked_for = one.path == pick.path && one.video.input().pick().stream == pick.stream;
        is_asked_for && one.video.has_decoder(settings)
    };
    let asked_for = kept.iter().enumerate().filter(|(_, one)| is_it(one));
    // where all must seek, the one used last: other threads may be about to go on with the others
    let (found, _) =
        asked_for.max_by_key(|(_, one)| one.video.next().filter(|next| near.contains(next)))?;
    let one = kept.remove(found).of_this_process()?;
    (one.identity == *identity).then_some(one.video)
}

impl Kept {
    /// `None` after a fork: the decoder's threads did not come along, to close it would wait for them.
    fn of_this_process(self) -> Option<Self> {
        if self.process == process::id() {
            return Some(self);
        }
        std::mem::forget(self);
        None
    }
}

/// Keeps a video that is sound for the next read; those unused for longest make room.
pub(crate) fn keep(pick: Pick, identity: &Identity, video: Video) {
    let (width, height) = video.input().facts.coded_size;
    let one = Kept {
        process: process::id(),
        path: pick.path.to_owned(),
        identity: identity.clone(),
        pixels: width * height,
        video,
    };
    let mut out = Vec::new();
    if let Some(mut kept) = try_lock(&KEPT) {
        kept.push(one);
        let total = |kept: &[Kept]| kept.iter().map(|one| one.pixels).sum::<usize>();
        while kept.len() > MAX_OPEN || kept.len() > 1 && total(&kept) > MAX_PIXELS {
            out.extend(kept.remove(0).of_this_process());
        }
    }
    // closed here, not under the lock
    drop(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Result;
    use crate::shared::shared;
    use crate::tables::track_of;

    #[test]
    fn a_read_goes_on_from_the_nearest_place_before_it() -> Result<()> {
        let Some(path) = shared("nasa_13013.mp4") else {
            return Ok(());
        };
        let pick = Pick {
            path: &path,
            stream: Some(0),
        };
        let (identity, track) = track_of(pick)?;
        let settings = Settings {
            threads: 7,
            ..Settings::PLAIN
        };
        for next in [10, 30, 20] {
            let stream = Stream::new(track.open(pick, None)?, settings)?;
            let at = Some(Place::at(next));
            let video = Box::new(Open {
                stream,
                at,
                show: None,
            });
            keep(pick, &identity, Video::Decoded(video));
        }
        let taken = |wanted: Settings, near| {
            let video = take(pick, &identity, wanted, &near)?;
            video.next()
        };
        assert_eq!(taken(Settings::PLAIN, 0..=40), None, "another decoder");
        assert_eq!(taken(settings, 0..=25), Some(20));
        assert_eq!(taken(settings, 0..=25), Some(10));
        assert_eq!(taken(settings, 0..=30), Some(30));
        assert_eq!(taken(settings, 0..=99), None, "all are in use");
        Ok(())
    }
}
