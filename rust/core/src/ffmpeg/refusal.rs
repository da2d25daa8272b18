//! Why FFmpeg finds no video in a file, in words that say what to do.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Result;
use crate::source::open_file;

/// Boxes that an MP4 file may begin with.
const FIRST: [&[u8; 4]; 6] = [b"ftyp", b"mdat", b"wide", b"free", b"skip", b"styp"];

/// What is wrong with a file whose header can't be read.
pub(super) fn reason(path: &Path) -> Result<&'static str> {
    let (file, bytes) = open_file(path)?;
    Ok(if bytes == 0 {
        "the file is empty"
    } else if lacks_index(&file, bytes) {
        "has no index (moov): the recording or the copy was not finished"
    } else {
        "is not a video that FFmpeg knows, or its header is damaged"
    })
}

/// Whether a file is an MP4 file from end to end, and no box of it lists frames.
fn lacks_index(file: &File, bytes: u64) -> bool {
    let mut position = 0;
    while position < bytes {
        let mut head = [[0; 4]; 4];
        let is_read = file.read_at(head.as_flattened_mut(), position).is_ok();
        let [size, kind, high, low] = head;
        let is_first = FIRST.contains(&&kind);
        if !is_read || &kind == b"moov" || &kind == b"moof" || position == 0 && !is_first {
            return false;
        }
        let word = |bytes| u64::from(u32::from_be_bytes(bytes));
        let size = match word(size) {
            // up to the end of the file
            0 => bytes,
            1 => word(high) << 32 | word(low),
            size => size,
        };
        if size < 8 {
            return false;
        }
        position = position.saturating_add(size);
    }
    true
}
