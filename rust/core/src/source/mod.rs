//! One decoder for each kind of file.

use std::fs::{self, File};
use std::path::Path;

use crate::{Error, Result};

pub(crate) mod builder;
mod cursor;
pub mod gif;
pub(crate) mod kept;
mod read;
pub(crate) mod stream;
pub mod video;

/// A video in a file.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// The file.
    pub path: &'a Path,
    /// Which of its videos, counted from 0 without cover pictures; `None` for the best one.
    pub stream: Option<usize>,
}

/// Opens a file and tells its size. To open a pipe would wait for its other end.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    let meta = fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !meta.is_file() {
        return Err(Error::media(path, "is not a file"));
    }
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    Ok((file, meta.len()))
}
