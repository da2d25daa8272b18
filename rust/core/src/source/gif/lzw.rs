//! LZW codes to entries.
//!
//! What a code stands for has been written before, so it is copied from there.

use std::ops::Range;

const MAX_CODES: usize = 1 << 12;
/// Bytes that are copied at once, whether they are all needed or not.
const CHUNK: usize = 16;
const TOO_SHORT: &str = "the picture ends too early";

/// Where a string was written, and its length.
#[derive(Clone, Copy, Default)]
struct Place {
    start: u32,
    len: u32,
}

/// `pixels` entries from a frame's code size and blocks, whose structure was checked.
pub fn unpack(data: &[u8], pixels: usize) -> Result<Vec<u8>, &'static str> {
    let Some((bits @ 1..=8, blocks)) = data.split_first() else {
        return Err("the code size is outside 1 to 8");
    };
    let codes = joined(blocks);
    // a lie about the size costs no memory: no code stands for more pixels than there are codes
    let most = codes.len().saturating_mul(8) / (usize::from(*bits) + 1);
    if pixels > most.saturating_mul(MAX_CODES) {
        return Err(TOO_SHORT);
    }
    let mut entries = vec![0; pixels + CHUNK];
    let mut strings = Strings {
        places: vec![Place::default(); MAX_CODES],
        clear: 1 << bits,
    };
    strings.unpack(&mut Bits::new(&codes), &mut entries, pixels)?;
    entries.truncate(pixels);
    Ok(entries)
}

fn joined(mut blocks: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(blocks.len());
    while let Some((size, rest)) = blocks.split_first() {
        let Some((block, rest)) = rest.split_at_checked(usize::from(*size)) else {
            break;
        };
        joined.extend_from_slice(block);
        blocks = rest;
    }
    joined
}

struct Strings {
    places: Vec<Place>,
    /// The code that forgets all strings; the next higher one ends the picture.
    clear: usize,
}

impl Strings {
    /// Fills the first `pixels` of `entries`, which has a [`CHUNK`] to spare.
    fn unpack(
        &mut self,
        bits: &mut Bits<'_>,
        entries: &mut [u8],
        pixels: usize,
    ) -> Result<(), &'static str> {
        let (first_free, first_width) = (self.clear + 2, self.clear.ilog2() + 1);
        let (mut free, mut width) = (first_free, first_width);
        // the string before this one; an empty one after a clear code
        let mut last = Place::default();
        let mut at = 0;
        while at < pixels {
            let code = bits.next(width).ok_or(TOO_SHORT)?;
            if code == self.clear {
                (free, width, last) = (first_free, first_width, Place::default());
                continue;
            }
            let is_kept = last.len > 0 && free < MAX_CODES;
            if is_kept {
                // the last string and the first entry of this one, which is written right behind
                self.places[free] = Place {
                    start: last.start,
                    len: last.len + 1,
                };
            }
            free += usize::from(is_kept);
            let len = self.put(code, free, entries, at..pixels)?;
            width += u32::from(free == 1 << width && free < MAX_CODES);
            last = Place {
                start: at as u32,
                len: len as u32,
            };
            at += len;
        }
        Ok(())
    }

    /// Writes what a code below `free` stands for to the start of `room`; returns its length.
    #[inline]
    fn put(
        &self,
        code: usize,
        free: usize,
        entries: &mut [u8],
        room: Range<usize>,
    ) -> Result<usize, &'static str> {
        let at = room.start;
        if code < self.clear {
            entries[at] = code as u8;
            return Ok(1);
        }
        if code == self.clear + 1 {
            return Err(TOO_SHORT);
        }
        if code >= free {
            return Err("a code comes before what it stands for");
        }
        let place = self.places[code & (MAX_CODES - 1)];
        let (start, whole) = (place.start as usize, place.len as usize);
        let len = whole.min(room.len());
        copy(entries, start, at, len);
        if start + len > at {
            // the newest string ends with its own first entry, which was not there to be copied
            entries[at + len - 1] = entries[at];
        }
        Ok(len)
    }
}

/// Copies at least `len` entries from before `at`, in chunks.
fn copy(entries: &mut [u8], start: usize, at: usize, len: usize) {
    entries.copy_within(start..start + CHUNK, at);
    if len > CHUNK {
        entries.copy_within(start + CHUNK..start + len, at + CHUNK);
    }
}

/// Codes from bytes, lowest bits first.
struct Bits<'a> {
    bytes: &'a [u8],
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            held: 0,
            count: 0,
        }
    }

    /// The next code of `width` bits, at most 12; `None` where there is none.
    fn next(&mut self, width: u32) -> Option<usize> {
        if self.count < width {
            self.fill();
            if self.count < width {
                return None;
            }
        }
        let code = self.held & ((1 << width) - 1);
        self.held >>= width;
        self.count -= width;
        Some(code as usize)
    }

    fn fill(&mut self) {
        if let Some((four, rest)) = self.bytes.split_first_chunk() {
            self.held |= u64::from(u32::from_le_bytes(*four)) << self.count;
            self.count += 32;
            self.bytes = rest;
        } else {
            for byte in self.bytes {
                self.held |= u64::from(*byte) << self.count;
                self.count += 8;
            }
            self.bytes = &[];
        }
    }
}
