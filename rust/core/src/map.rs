//! A part of a file as memory, without an open file descriptor for it.

use std::fs::File;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

use crate::{Error, Result};

/// Maps `length` bytes of a file from `offset`; the file must hold them.
///
/// The file must not be shortened while it is mapped: reading what is gone ends the process.
pub fn map(path: &Path, offset: u64, length: usize) -> Result<Mmap> {
    let io = |source| Error::io(path, source);
    let file = File::open(path).map_err(io)?;
    let holds = file.metadata().map_err(io)?.len();
    if offset
        .checked_add(length as u64)
        .is_none_or(|end| end > holds)
    {
        let text = format!("{length} bytes from {offset} are asked for, the file has {holds}");
        return Err(Error::media(path, text));
    }
    // SAFETY: the file is only ever replaced as a whole, which leaves what is mapped as it is
    unsafe { MmapOptions::new().offset(offset).len(length).map(&file) }.map_err(io)
}
