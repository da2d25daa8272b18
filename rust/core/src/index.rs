//! Frame table of a file: when each frame is shown, and where decoding may start to reach it.

use crate::ffmpeg::{Input, Packet, Settings};
use crate::limits::check_frames;
use crate::source::Pick;
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
    pub(crate) entry_of: Vec<u32>,
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
    /// Frames of AV1 that no other frame needs are cut off their packets.
    Unreferenced,
}

/// What one packet tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub pts: i64,
    pub dts: Option<i64>,
    pub duration: i64,
    pub is_key: bool,
    pub is_discarded: bool,
}

impl Row {
    /// `None` without a time.
    pub fn of(packet: &Packet) -> Option<Self> {
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
    pub(crate) fn by_decoding(pick: Pick) -> Result<Self> {
        let path = pick.path;
        let mut stream = Stream::new(Input::open_by_trial(pick)?, Settings::PLAIN)?;
        let mut index = Self::default();
        while stream.next_frame()? {
            let next = index.times.last().map_or(0, |last| last + 1);
            index.times.push(stream.frame.pts().unwrap_or(next));
            check_frames(path, index.times.len())?;
        }
        index.last_duration = stream.last_shown.1;
        if index.times.is_empty() {
            return Err(Error::media(path, "no frame of the video can be decoded"));
        }
        Ok(index)
    }

    /// `None` where the rows leave doubt about the frames.
    pub(crate) fn from_rows(rows: &[Row]) -> Option<Self> {
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
        // tables of many files are kept
        index.times.shrink_to_fit();
        index.entry_of.shrink_to_fit();
        index.entries.shrink_to_fit();
        Some(index)
    }

    pub(crate) fn skip_of(&self, codec: &str) -> Skip {
        match codec {
            "mjpeg" | "prores" | "png" if self.entries.len() == self.times.len() => Skip::Packets,
            "h264" | "hevc" | "mpeg4" => Skip::NonReference,
            "av1" => Skip::Unreferenced,
            _ => Skip::Nothing,
        }
    }

    /// Where decoding must start for frame `number`; `None` for the file's start.
    pub(crate) fn entry_of(&self, number: usize) -> Option<Entry> {
        let entry = *self.entry_of.get(number)?;
        self.entries.get(entry as usize).copied()
    }

    /// Number of the first frame that an entry reaches.
    pub(crate) fn first_of(&self, entry: Entry) -> usize {
        self.times.partition_point(|time| *time < entry.pts)
    }

    /// Numbers of the frames where decoding may start; none if it may only at the file's start.
    pub(crate) fn starts(&self) -> Vec<usize> {
        let is_start = |i: &usize| *i == 0 || self.entry_of[*i] != self.entry_of[*i - 1];
        (0..self.entry_of.len()).filter(is_start).collect()
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

/// Makes a table of any bytes, ten to a packet, and checks it; for `rust/fuzz`.
///
/// # Panics
/// Panics where a table is wrong.
#[cfg(fuzzing)]
pub fn check_rows(bytes: &[u8]) {
    let row = |b: &[u8; 10]| Row {
        pts: i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) >> (b[8] % 64),
        dts: None,
        duration: i64::from(b[8]),
        is_key: b[9] & 1 != 0,
        is_discarded: b[9] & 2 != 0,
    };
    let rows: Vec<Row> = bytes.as_chunks().0.iter().map(row).collect();
    let Some(index) = Index::from_rows(&rows) else {
        return;
    };
    assert!(index.times.is_sorted_by(|a, b| a < b));
    let shown = rows.iter().filter(|row| !row.is_discarded).count();
    assert_eq!(index.times.len(), shown);
    for (number, time) in index.times.iter().enumerate() {
        assert!(
            index
                .entry_of(number)
                .is_some_and(|entry| entry.pts <= *time)
        );
        assert_eq!(index.number_at(*time, 0), Some(number));
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
        assert_eq!(index.starts(), [0, 5]);
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
