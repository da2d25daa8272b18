//! Frame table of a file: when each frame is shown, and where decoding may start to reach it.
//!
//! The packets are read once, without decoding. Where they can't tell how many frames a decoder makes
//! of them (fields, hidden frames, missing times, damage), the file is decoded instead.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::ffmpeg::{Facts, Input, Packet, Settings};
use crate::limits::MAX_FRAMES;
use crate::source::stream::Stream;
use crate::{Error, Result};

/// A packet where decoding may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub pts: i64,
    pub dts: Option<i64>,
}

/// The frames of a file in display order.
#[derive(Debug, Default)]
pub struct Index {
    /// When each frame is shown, in ticks.
    pub(crate) times: Vec<i64>,
    /// Ticks for which the last frame is shown; 0 if unknown.
    pub(crate) last_duration: i64,
    /// Where decoding may start, in the order of the file; empty if only at the file's start.
    pub(crate) entries: Vec<Entry>,
    /// For each frame the entry that reaches it.
    entry_of: Vec<u32>,
    /// What can be left out on the way to a wanted frame.
    pub(crate) skip: Skip,
}

/// What a decoder need not see of the frames that nobody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Skip {
    /// It must see all.
    #[default]
    Nothing,
    /// It leaves out frames that no other frame needs. Not for dav1d and libvpx, which leave out
    /// frames that are wanted.
    NonReference,
    /// Every frame is decoded on its own: the packets of others are dropped.
    Packets,
}

/// What is known of a file's video.
#[derive(Debug, Default)]
pub(crate) struct Track {
    pub facts: Arc<Facts>,
    pub index: Index,
    /// The first packets.
    head: Vec<Row>,
    /// Whether a file opened by its header gives the same packets.
    is_header_enough: OnceLock<bool>,
}

/// Packets by which a file that was opened by its header is known again.
const HEAD_ROWS: usize = 64;

/// What one packet tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    pts: i64,
    dts: Option<i64>,
    duration: i64,
    is_key: bool,
    is_discarded: bool,
}

impl Track {
    /// Reads the open file to its end.
    pub fn of(input: &mut Input) -> Result<Self> {
        let rows = scan(input)?.unwrap_or_default();
        let facts = Arc::clone(&input.facts);
        let (index, head) = match Index::from_rows(&rows) {
            Some(mut index) => {
                index.skip = index.skip_of(facts.codec());
                (index, rows.into_iter().take(HEAD_ROWS).collect())
            }
            None => (Index::by_decoding(input.path())?, Vec::new()),
        };
        Ok(Self {
            facts,
            index,
            head,
            is_header_enough: OnceLock::new(),
        })
    }

    /// The same of a file that has other frames than its packets promise.
    pub fn by_decoding(&self, path: &Path) -> Result<Self> {
        Ok(Self {
            facts: Arc::clone(&self.facts),
            index: Index::by_decoding(path)?,
            ..Self::default()
        })
    }

    /// Opens the file again, by its header where that is enough; or goes back to the start of the
    /// `opened` one that was read.
    pub fn open(&self, path: &Path, opened: Option<Input>) -> Result<Input> {
        let start = self.head.first().map(|row| row.dts.unwrap_or(row.pts));
        if let Some((mut input, start)) = opened.zip(start)
            && input.seek(start).is_ok()
        {
            return Ok(input);
        }
        let is_enough = match self.is_header_enough.get() {
            Some(known) => *known,
            None => *self.is_header_enough.get_or_init(|| self.try_header(path)),
        };
        if is_enough && let Some(input) = Input::open_known(path, &self.facts)? {
            return Ok(input);
        }
        Input::open(path)
    }

    fn try_header(&self, path: &Path) -> bool {
        let Ok(Some(mut input)) = Input::open_known(path, &self.facts) else {
            return false;
        };
        let Ok(mut packet) = Packet::new(path) else {
            return false;
        };
        let mut is_next = |row: &Row| {
            let is_read = matches!(input.read(&mut packet), Ok(true));
            is_read && Row::of(&packet).as_ref() == Some(row)
        };
        !self.head.is_empty() && self.head.iter().all(&mut is_next)
    }
}

impl Row {
    /// `None` without a time.
    fn of(packet: &Packet) -> Option<Self> {
        Some(Self {
            pts: packet.pts()?,
            dts: packet.dts(),
            duration: packet.duration(),
            is_key: packet.is_key(),
            is_discarded: packet.is_discarded(),
        })
    }
}

impl Index {
    /// The table by decoding the whole file; frames are then reached from the file's start only.
    fn by_decoding(path: &Path) -> Result<Self> {
        let mut stream = Stream::new(Input::open(path)?, Settings::PLAIN)?;
        let mut index = Self::default();
        while stream.next_frame()? {
            let next = index.times.last().map_or(0, |last| last + 1);
            index.times.push(stream.frame.pts().unwrap_or(next));
            if index.times.len() > MAX_FRAMES {
                return Err(Error::media(
                    path,
                    format!("has more than {MAX_FRAMES} frames"),
                ));
            }
        }
        index.last_duration = stream.last_shown.1;
        if index.times.is_empty() {
            return Err(Error::media(path, "no frame of the video can be decoded"));
        }
        Ok(index)
    }

    /// `None` where the rows leave doubt about the frames.
    fn from_rows(rows: &[Row]) -> Option<Self> {
        let mut index = Self::default();
        let mut frames: Vec<(i64, u32)> = Vec::with_capacity(rows.len());
        for row in rows {
            if row.is_key {
                // display order follows time only if the key frames do
                if index.entries.last().is_some_and(|last| last.pts >= row.pts) {
                    return None;
                }
                index.entries.push(Entry {
                    pts: row.pts,
                    dts: row.dts,
                });
            }
            // frames that follow a key frame but are shown before it need the one before (open GOP)
            let reached = index
                .entries
                .iter()
                .rposition(|entry| entry.pts <= row.pts)?;
            if !row.is_discarded {
                frames.push((row.pts, u32::try_from(reached).ok()?));
            }
        }
        frames.sort_unstable();
        if frames.is_empty() || frames.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        index.last_duration = rows
            .iter()
            .max_by_key(|row| row.pts)
            .map_or(0, |row| row.duration);
        (index.times, index.entry_of) = frames.into_iter().unzip();
        Some(index)
    }

    fn skip_of(&self, codec: &str) -> Skip {
        match codec {
            "mjpeg" | "prores" | "png" if self.entries.len() == self.times.len() => Skip::Packets,
            "h264" | "hevc" | "mpeg4" => Skip::NonReference,
            _ => Skip::Nothing,
        }
    }

    /// Where decoding must start for frame `number`; `None` for the file's start.
    pub(crate) fn entry_of(&self, number: usize) -> Option<Entry> {
        let entry = *self.entry_of.get(number)?;
        self.entries.get(entry as usize).copied()
    }

    /// Number of the frame shown at `time`, if it is `first` or a later one.
    pub(crate) fn number_at(&self, time: i64, first: usize) -> Option<usize> {
        let later = self.times.get(first..)?;
        Some(first + later.binary_search(&time).ok()?)
    }

    /// Whether decoding may start elsewhere than at the file's start.
    pub(crate) fn is_seekable(&self) -> bool {
        !self.entries.is_empty()
    }
}

/// Reads all packets. `None` where a packet may not be exactly one frame, or its time is missing.
fn scan(input: &mut Input) -> Result<Option<Vec<Row>>> {
    let codec = input.facts.codec();
    let is_one_to_one = match codec {
        "h264" => input.facts.is_progressive(),
        "mpeg4" => input.facts.reorder_delay() == 0,
        "hevc" | "vp8" | "vp9" | "av1" | "mjpeg" | "prores" | "ffv1" | "png" => true,
        _ => false,
    };
    if !is_one_to_one {
        return Ok(None);
    }
    let mut packet = Packet::new(input.path())?;
    let mut rows = Vec::new();
    loop {
        match input.read(&mut packet) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(rows)),
            Err(_) => return Ok(None),
        }
        let Some(row) = Row::of(&packet) else {
            return Ok(None);
        };
        if packet.is_corrupt() || !is_one_frame(codec, packet.bytes()) {
            return Ok(None);
        }
        if rows.len() >= MAX_FRAMES {
            let reason = format!("has more than {MAX_FRAMES} frames");
            return Err(Error::media(input.path(), reason));
        }
        rows.push(row);
    }
}

/// Whether a packet is one frame to be shown, as far as its first and last bytes tell.
fn is_one_frame(codec: &str, bytes: &[u8]) -> bool {
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    match codec {
        // MPEG-4: a packet that says "not coded" has a few bytes
        "mpeg4" => bytes.len() > 19,
        // RFC 6386, section 9.1: bit 4 is show_frame
        "vp8" => first & 0x10 != 0,
        // VP9: a superframe ends in its marker and shows its last frame; else the bits are
        // marker (2), profile (2, and 1 more in profile 3), show_existing, type, show
        "vp9" => {
            let is_profile_3 = first & 0x30 == 0x30;
            let flags = if is_profile_3 { first << 5 } else { first << 4 };
            last & 0xe0 == 0xc0 || flags & 0x80 != 0 || flags & 0x20 != 0
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pts: i64, is_key: bool) -> Row {
        Row {
            pts,
            dts: None,
            duration: 1,
            is_key,
            is_discarded: false,
        }
    }

    #[test]
    fn frames_before_an_open_key_frame_are_reached_from_the_one_before() {
        // decode order: I0 P2 b1 I5 b3 b4 P6
        let rows = [
            (0, true),
            (2, false),
            (1, false),
            (5, true),
            (3, false),
            (4, false),
            (6, false),
        ];
        let index = Index::from_rows(&rows.map(|(pts, is_key)| row(pts, is_key)));
        let index = index.unwrap_or_default();
        assert_eq!(index.times, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(index.entry_of, [0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn doubtful_tables_are_refused() {
        assert!(
            Index::from_rows(&[row(0, false), row(1, true)]).is_none(),
            "no key frame first"
        );
        assert!(
            Index::from_rows(&[row(3, true), row(1, false)]).is_none(),
            "leading frame at start"
        );
        assert!(
            Index::from_rows(&[row(0, true), row(0, false)]).is_none(),
            "two at one time"
        );
        assert!(
            Index::from_rows(&[row(9, true), row(5, true)]).is_none(),
            "time goes back"
        );
        assert!(Index::from_rows(&[]).is_none(), "no frame");
    }

    #[test]
    fn discarded_frames_are_not_counted() {
        let mut rows = [row(0, true), row(1, false), row(2, false)];
        rows[0].is_discarded = true;
        let index = Index::from_rows(&rows).unwrap_or_default();
        assert_eq!(index.times, [1, 2]);
        assert_eq!(index.entries.len(), 1);
    }
}
