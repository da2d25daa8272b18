//! The packets that a file lists, without reading them one by one.

use std::ffi::c_int;
use std::ops::Range;

use super::input::Input;
use super::layout::{ENTRY_FLAGS_AND_SIZE, ENTRY_POSITION, ENTRY_TIME, get};
use crate::index::Row;
use crate::mp4::{self, Timing};
use crate::{avi, mpeg4};

const INDEX_KEYFRAME: u32 = 1;
const INDEX_DISCARD: u32 = 2;
/// FFmpeg takes no times of a file in which one is further off.
const MAX_OFFSET: i64 = 1 << 28;

/// Bytes of an MPEG-4 packet among which its frame begins.
const LOOKED_AT: u64 = 256;

/// An `AVIndexEntry`.
struct Listed {
    position: u64,
    bytes: u64,
    dts: i64,
    flags: u32,
}

impl Input {
    /// The parts of an MP4 file that has all packets in its header; `None` for other files.
    pub(super) fn boxes(&self) -> Option<Vec<([u8; 4], Range<u64>)>> {
        let boxes = self.is_mp4().then(|| self.io.boxes())??;
        let is_fragment = |(kind, _): &([u8; 4], Range<u64>)| kind == b"moof";
        (!boxes.iter().any(is_fragment)).then_some(boxes)
    }

    /// All packets of an MP4 file's video, of `least` bytes or more each, where the header tells all of
    /// them; `first` is what FFmpeg read of the first.
    pub fn listed(&self, first: &Row, least: u64) -> Option<Vec<Row>> {
        let boxes = self.boxes().filter(|_| self.is_plain)?;
        let mut headers = boxes.into_iter().filter(|(kind, _)| kind == b"moov");
        let (_, place) = headers.next().filter(|_| headers.next().is_none())?;
        let header = self.io.bytes(place.start + 8..place.end)?;
        let entries = self.entries()?;
        let timings = mp4::timings(&header, self.track_id(), entries.len())?;
        // FFmpeg moves all frames by the same time, so that none is shown before it is decoded
        let shift = first.pts.checked_sub(first.dts?)?;
        let shift = shift.checked_sub(timings.first()?.offset)?;
        let is_there = |entry: &Listed| {
            let end = entry.position.checked_add(entry.bytes);
            entry.bytes >= least && end.is_some_and(|end| end <= self.io.length())
        };
        // an edit list may leave packets out or repeat them
        let is_in_order = entries.is_sorted_by(|a, b| a.position < b.position && a.dts < b.dts);
        if !is_in_order || !entries.iter().all(is_there) {
            return None;
        }
        let pairs = entries.iter().zip(timings);
        let rows: Option<Vec<Row>> = pairs
            .map(|(entry, timing)| row(entry, timing, shift))
            .collect();
        rows.filter(|rows| rows.first().is_some_and(|row| is_same(row, first)))
    }

    /// All packets of an MPEG-4 video in an AVI file, where its index has just the file's chunks; `row`
    /// and `bytes` are what FFmpeg read of the first.
    pub fn listed_in_avi(&self, first: &Row, bytes: &[u8], least: u64) -> Option<Vec<Row>> {
        let entries = self.entries().filter(|_| self.is_plain && self.is_avi())?;
        let stream = u8::try_from(self.facts.stream).ok().filter(|i| *i < 100)?;
        let read = |place| self.io.bytes(place);
        let start = entries.first()?.position;
        let mut walk = avi::Walk::new(read, self.io.length(), stream, start);
        let mut rows = Vec::with_capacity(entries.len());
        for (entry, dts) in entries.iter().zip(first.dts?..) {
            let most = if rows.is_empty() { u64::MAX } else { LOOKED_AT };
            let chunk = avi::Chunk {
                position: entry.position,
                bytes: entry.bytes,
            };
            let content = walk.next(chunk, most)?;
            let is_key = entry.flags & INDEX_KEYFRAME != 0;
            let is_known = !rows.is_empty() || content == bytes;
            let is_sound = entry.bytes >= least && entry.dts == dts && is_known;
            if !is_sound || !mpeg4::is_in_order(content, is_key) {
                return None;
            }
            rows.push(Row {
                pts: dts,
                dts: Some(dts),
                is_key,
                ..first.clone()
            });
        }
        (walk.is_over() && rows.first() == Some(first)).then_some(rows)
    }

    /// Whether an AVI file's index, by which it seeks, has packets of these decoding times at these
    /// places. It counts chunks that damage hides from who reads on.
    pub fn agrees(&self, packets: &[(i64, i64)]) -> bool {
        let Some(entries) = self.entries() else {
            return false;
        };
        let is_there = |(dts, place): &(i64, i64)| {
            let found = entries.binary_search_by_key(dts, |entry| entry.dts);
            let found = found
                .ok()
                .and_then(|i| i64::try_from(entries[i].position).ok());
            // FFmpeg tells where a chunk or its content begins
            found.is_some_and(|start| *place == start || *place == start + avi::HEAD as i64)
        };
        entries.is_empty() || packets.iter().all(is_there)
    }

    fn entries(&self) -> Option<Vec<Listed>> {
        let call = &self.library.call;
        let stream = self.stream_at(self.facts.stream);
        // SAFETY: the stream exists
        let count = unsafe { (call.avformat_index_get_entries_count)(stream) };
        let entry = |i: c_int| {
            // SAFETY: FFmpeg answers with null or with an entry that lives until the next packet
            unsafe {
                let entry = (call.avformat_index_get_entry)(stream, i);
                if entry.is_null() {
                    return None;
                }
                let flags_and_size: u32 = get(entry, ENTRY_FLAGS_AND_SIZE);
                Some(Listed {
                    position: u64::try_from(get::<i64>(entry, ENTRY_POSITION)).ok()?,
                    bytes: u64::from(flags_and_size >> 2),
                    dts: get(entry, ENTRY_TIME),
                    flags: flags_and_size & 3,
                })
            }
        };
        (0..count).map(entry).collect()
    }

    fn track_id(&self) -> u32 {
        let id = self.library.layout.stream.id;
        // SAFETY: a field of a stream that exists
        unsafe { get(self.stream_at(self.facts.stream), id) }
    }
}

/// FFmpeg 5.1 does not tell the durations of frames that are shown later than they are decoded.
fn is_same(row: &Row, read: &Row) -> bool {
    let duration = if read.duration == 0 { 0 } else { row.duration };
    *read
        == Row {
            duration,
            ..row.clone()
        }
}

fn row(entry: &Listed, timing: Timing, shift: i64) -> Option<Row> {
    let is_sane = timing.duration > 0 && timing.offset.abs() <= MAX_OFFSET;
    is_sane.then_some(Row {
        pts: entry.dts.checked_add(timing.offset)?.checked_add(shift)?,
        dts: Some(entry.dts),
        duration: timing.duration,
        is_key: entry.flags & INDEX_KEYFRAME != 0,
        is_discarded: entry.flags & INDEX_DISCARD != 0,
    })
}
