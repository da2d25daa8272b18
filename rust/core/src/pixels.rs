//! Memory for clips, which goes from one clip to the next: pages that the system hands out anew cost
//! as much as converting the frames that are written to them.

use std::alloc::{Layout, alloc_zeroed};
use std::ops::{Deref, DerefMut};
use std::ptr::slice_from_raw_parts_mut;
use std::sync::Mutex;

use crate::tables::try_lock;

/// Most bytes that wait for a clip.
const MAX_SPARE: usize = 64 << 20;
/// Smaller ones are no trouble to the allocator.
const MIN_SPARE: usize = 64 << 10;

/// The ones that wait for longest first.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The pixels of a clip; what they are at first is of no meaning.
#[derive(Debug, Default)]
pub struct Pixels {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are in use.
    bytes: usize,
}

impl Pixels {
    /// `None` without memory.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let buffer = match take(bytes) {
            Some(buffer) => buffer,
            None => zeros(bytes)?,
        };
        Some(Self { buffer, bytes })
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(buffer: Vec<u8>) -> Self {
        let bytes = buffer.len();
        Self { buffer, bytes }
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }
}

impl DerefMut for Pixels {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.bytes]
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if !(MIN_SPARE..=MAX_SPARE).contains(&buffer.len()) {
            return;
        }
        let mut out = Vec::new();
        if let Some(mut spare) = try_lock(&SPARE) {
            spare.push(buffer);
            while spare.iter().map(Vec::len).sum::<usize>() > MAX_SPARE {
                out.push(spare.remove(0));
            }
        }
        // freed here, not under the lock
        drop(out);
    }
}

/// A buffer that waits, of this size or at most twice as large.
fn take(bytes: usize) -> Option<Vec<u8>> {
    let mut spare = try_lock(&SPARE)?;
    let fits = |buffer: &Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&buffer.len());
    // the last one used is most likely in the cache
    let found = spare.iter().rposition(fits)?;
    Some(spare.remove(found))
}

/// Zeros that the system hands out page by page as they are written to.
fn zeros(bytes: usize) -> Option<Vec<u8>> {
    if bytes == 0 {
        return Some(Vec::new());
    }
    let layout = Layout::array::<u8>(bytes).ok()?;
    // SAFETY: the layout has bytes; the box gets the memory as it was asked for
    unsafe {
        let start = alloc_zeroed(layout);
        let is_there = !start.is_null();
        is_there.then(|| Box::from_raw(slice_from_raw_parts_mut(start, bytes)).into_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_gets_the_memory_of_the_one_before() {
        // sizes that no other test has: the memory is shared by all
        const BYTES: usize = MIN_SPARE + 77_777;
        let first = Pixels::new(BYTES).unwrap_or_default();
        assert!(first.iter().all(|byte| *byte == 0));
        let start = first.as_ptr();
        drop(first);
        let second = Pixels::new(BYTES - 9).unwrap_or_default();
        assert_eq!((second.as_ptr(), second.len()), (start, BYTES - 9));
        drop(second);
        let small = Pixels::new(BYTES / 2 - 9).unwrap_or_default();
        assert_ne!(small.as_ptr(), start);
        drop(Pixels::new(MAX_SPARE));
        let spare = try_lock(&SPARE).map(|spare| spare.iter().map(Vec::len).sum::<usize>());
        assert_eq!(spare, Some(MAX_SPARE));
    }
}
