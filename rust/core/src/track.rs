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
use crate::source::Pick;
use crate::{h264, mpeg4};

/// What is known of a file's video.
#[derive(Debug, Default)]
pub(crate) struct Track {
    pub facts: Arc<Facts>,
    pub index: Index,
    /// Whether the table was made of packets as the container has them, see [`Input::is_plain`].
    pub is_plain: bool,
    /// Whether it came from the disk, and the decoder must be tried to know more.
    pub needs_trial: bool,
    /// Whether to read it from the disk is quicker than to make it again.
    pub is_costly: bool,
    /// The first packets.
    pub head: Vec<Row>,
    /// Whether a file opened by its header gives the same packets.
    pub is_header_enough: OnceLock<bool>,
}

/// Packets by which a file that was opened by its header is known again.
const HEAD_ROWS: usize = 16;
/// Packets that take longer to be read one by one, without their bytes, than a table from the disk.
const MANY_PACKETS: usize = 1000;

impl Track {
    /// Reads a file's packets to the end, or decodes it; with the file if that is open still.
    pub fn of(pick: Pick) -> Result<(Self, Option<Input>)> {
        let mut input = Input::open(pick)?;
        let mut track = Self::by_packets(&mut input)?;
        if track.is_none() && input.is_plain {
            // a parser may know what the container does not tell
            input = Input::open_by_trial(pick)?;
            track = Self::by_packets(&mut input)?;
        }
        if let Some(track) = track {
            return Ok((track, Some(input)));
        }
        let facts = Arc::clone(&input.facts);
        drop(input);
        Ok((Self::by_decoding(facts, pick)?, None))
    }

    fn by_packets(input: &mut Input) -> Result<Option<Self>> {
        let Some(Scan { rows, is_costly }) = scan(input)? else {
            return Ok(None);
        };
        let Some(mut index) = Index::from_rows(&rows) else {
            return Ok(None);
        };
        index.skip = index.skip_of(input.facts.codec());
        Ok(Some(Self {
            facts: Arc::clone(&input.facts),
            index,
            is_plain: input.is_plain,
            needs_trial: false,
            is_costly,
            head: rows.into_iter().take(HEAD_ROWS).collect(),
            is_header_enough: OnceLock::new(),
        }))
    }

    /// The same of a file that has other frames than its packets promise.
    pub fn by_decoding(facts: Arc<Facts>, pick: Pick) -> Result<Self> {
        Ok(Self {
            facts,
            index: Index::by_decoding(pick)?,
            is_costly: true,
            ..Self::default()
        })
    }

    /// Refuses what is above limits that were lowered since the file was read.
    pub fn check(&self, path: &Path) -> Result<()> {
        let (width, height) = self.facts.coded_size;
        check_frame(path, width, height)?;
        check_frames(path, self.index.times.len())
    }

    /// Opens the file again, by its header where that is enough; or goes back to the start of the
    /// `opened` one that was read.
    pub fn open(&self, pick: Pick, opened: Option<Input>) -> Result<Input> {
        let start = self.head.first().map(|row| row.dts.unwrap_or(row.pts));
        if let Some((mut input, start)) = opened.zip(start)
            && input.rewind(start).is_ok()
        {
            input.clock().restart();
            return Ok(input);
        }
        if self.needs_trial && self.is_plain {
            return Input::open(pick);
        }
        let is_enough = || self.is_plain || self.try_header(pick);
        if *self.is_header_enough.get_or_init(is_enough)
            && let Some(input) = Input::open_known(pick, &self.facts, self.is_plain)?
        {
            return Ok(input);
        }
        Input::open_by_trial(pick)
    }

    fn try_header(&self, pick: Pick) -> bool {
        let Ok(Some(mut input)) = Input::open_known(pick, &self.facts, false) else {
            return false;
        };
        let Ok(mut packet) = Packet::new(pick.path) else {
            return false;
        };
        let mut is_next = |row: &Row| {
            let is_read = matches!(input.read(&mut packet), Ok(true));
            is_read && Row::of(&packet).as_ref() == Some(row)
        };
        !self.head.is_empty() && self.head.iter().all(&mut is_next)
    }
}

/// All packets of a video.
struct Scan {
    rows: Vec<Row>,
    /// Whether many packets or all bytes of the file were read for it.
    is_costly: bool,
}

/// Reads all packets. `None` where a packet may not be exactly one frame, or its time is missing.
fn scan(input: &mut Input) -> Result<Option<Scan>> {
    let codec = input.facts.codec();
    let is_one_to_one = match codec {
        "h264" => input.facts.is_progressive,
        "mpeg4" => !input.facts.is_reordered,
        "hevc" | "vp8" | "vp9" | "av1" | "mjpeg" | "prores" | "ffv1" | "png" => true,
        _ => false,
    };
    if !is_one_to_one {
        return Ok(None);
    }
    // MPEG-4 says in a few bytes that nothing is coded
    let fewest = if codec == "mpeg4" { 20 } else { 1 };
    let mut packet = Packet::new(input.path())?;
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    loop {
        match input.read(&mut packet) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return input.check_time().map(|()| None),
        }
        let Some(row) = Row::of(&packet) else {
            return Ok(None);
        };
        let bytes = packet.bytes();
        let is_whole =
            bytes.len() >= fewest && (input.is_blank() || is_one_frame(codec, bytes, row.is_key));
        if packet.is_corrupt() || !is_whole {
            return Ok(None);
        }
        if rows.is_empty() {
            let is_h264 = codec == "h264";
            if is_h264 && input.facts.is_by_header() && h264::changes_parameters(bytes) {
                return Ok(None);
            }
            if let Some(listed) = listed(input, &row, bytes, fewest) {
                check_frames(input.path(), listed.rows.len())?;
                return Ok(Some(listed));
            }
            if !matches!(codec, "vp8" | "vp9") {
                input.skip_content();
            }
        }
        places.push((row.dts.unwrap_or(row.pts), packet.position()));
        rows.push(row);
        check_frames(input.path(), rows.len())?;
        input.clock().restart();
    }
    if input.is_avi() && !input.agrees(&places) {
        return Ok(None);
    }
    // how long the last frame is shown is guessed where the container does not tell
    let last = rows.iter().max_by_key(|row| row.pts);
    let is_told = !input.is_plain || last.is_none_or(|row| row.duration > 0);
    let is_costly = !input.is_blank() || rows.len() >= MANY_PACKETS;
    Ok(is_told.then_some(Scan { rows, is_costly }))
}

/// All packets without reading them one by one, where the file lists them and their bytes tell no more.
fn listed(input: &Input, first: &Row, bytes: &[u8], fewest: usize) -> Option<Scan> {
    let is_avi = input.is_avi();
    let rows = match input.facts.codec() {
        "vp8" | "vp9" => None,
        "mpeg4" if is_avi => input.listed_in_avi(first, bytes, fewest as u64),
        _ => input.listed(first, fewest as u64),
    };
    rows.map(|rows| Scan {
        rows,
        is_costly: is_avi,
    })
}

/// Whether a packet is one frame to be shown, as far as its first and last bytes tell.
fn is_one_frame(codec: &str, bytes: &[u8], is_key: bool) -> bool {
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    match codec {
        "mpeg4" => mpeg4::is_in_order(bytes, is_key),
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
