//! What is known of a file's video: what it is, its frame table, how to open it again.
//!
//! The packets are read once, without decoding. Where they can't tell how many frames a decoder makes
//! of them (fields, hidden frames, missing times, damage), the file is decoded instead.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::Result;
use crate::ffmpeg::{Facts, Input, Packet};
use crate::index::{Index, Row};
use crate::limits::{check_frame, check_frames};

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
const HEAD_ROWS: usize = 16;

impl Track {
    /// Reads the open file to its end.
    pub fn of(input: &mut Input) -> Result<Self> {
        let rows = scan(input)?.unwrap_or_default();
        let facts = Arc::clone(&input.facts);
        let (index, head) = match Index::from_rows(&rows) {
            Some(mut index) => {
                index.skip = index.skip_of(facts.codec());
                (index, rows.iter().take(HEAD_ROWS).cloned().collect())
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

    /// Refuses what is above limits that were lowered since the file was read.
    pub fn check(&self, path: &Path) -> Result<()> {
        let (width, height) = self.facts.coded_size();
        check_frame(path, width, height)?;
        check_frames(path, self.index.times.len())
    }

    /// Opens the file again, by its header where that is enough; or goes back to the start of the
    /// `opened` one that was read.
    pub fn open(&self, path: &Path, opened: Option<Input>) -> Result<Input> {
        let start = self.head.first().map(|row| row.dts.unwrap_or(row.pts));
        if let Some((mut input, start)) = opened.zip(start)
            && input.seek(start).is_ok()
        {
            input.clock().restart();
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
            Err(_) => return input.check_time().map(|()| None),
        }
        let Some(row) = Row::of(&packet) else {
            return Ok(None);
        };
        if packet.is_corrupt() || !is_one_frame(codec, packet.bytes()) {
            return Ok(None);
        }
        rows.push(row);
        check_frames(input.path(), rows.len())?;
        input.clock().restart();
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
