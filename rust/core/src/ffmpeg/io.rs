//! Feeds FFmpeg from a file that we opened, so that it never opens anything itself.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use super::clock::Clock;
use super::layout::{IO_BUFFER, get};
use super::library::Library;
use crate::source::open_file;
use crate::{Error, Result};

const BUFFER_BYTES: usize = 1 << 16;
const AVERROR_EOF: c_int = -541_478_725;
const AVERROR_EIO: c_int = -5;
const AVERROR_EXIT: c_int = -1_414_092_869;
const AVSEEK_SIZE: c_int = 65536;
const AVSEEK_FORCE: c_int = 131_072;

/// An `AVIOContext` over a file.
pub(crate) struct FileIo {
    library: &'static Library,
    context: *mut c_void,
    /// How long no frame came: no more is read when it is too long.
    pub clock: Arc<Clock>,
    /// Boxed twice over: FFmpeg keeps the address of the inner one.
    _file: Box<Source>,
}

struct Source {
    file: File,
    bytes: u64,
    /// Where the next read begins: the file's own position is shared with processes that fork.
    position: u64,
    clock: Arc<Clock>,
}

impl FileIo {
    /// Opens the file for FFmpeg to read.
    pub fn open(library: &'static Library, path: &Path) -> Result<Self> {
        let (file, bytes) = open_file(path)?;
        let clock = Arc::new(Clock::new());
        let mut source = Box::new(Source {
            file,
            bytes,
            position: 0,
            clock: Arc::clone(&clock),
        });
        let opaque = ptr::from_mut(&mut *source).cast();
        // SAFETY: the buffer is from av_malloc, as avio_alloc_context wants it, and belongs to the
        // context from here on; `opaque` lives in a box that outlives the context
        let context = unsafe {
            let mut buffer = (library.call.av_malloc)(BUFFER_BYTES);
            let size = BUFFER_BYTES as c_int;
            let (bytes, read, seek) = (buffer.cast(), Some(read as _), Some(seek as _));
            let alloc = library.call.avio_alloc_context;
            let context = if buffer.is_null() {
                ptr::null_mut()
            } else {
                alloc(bytes, size, 0, opaque, read, None, seek)
            };
            if context.is_null() {
                (library.call.av_freep)((&raw mut buffer).cast());
            }
            context
        };
        if context.is_null() {
            return Err(Error::media(path, "no memory for the file's buffer"));
        }
        Ok(Self {
            library,
            context,
            clock,
            _file: source,
        })
    }

    pub fn context(&self) -> *mut c_void {
        self.context
    }
}

impl Drop for FileIo {
    fn drop(&mut self) {
        // SAFETY: FFmpeg may have replaced the buffer, so the one in the context is freed; the
        // format context that used it is gone (`Input` drops it first)
        unsafe {
            let mut buffer: *mut c_void = get(self.context, IO_BUFFER);
            (self.library.call.av_freep)((&raw mut buffer).cast());
            (self.library.call.avio_context_free)(&raw mut self.context);
        }
    }
}

/// FFmpeg's `read_packet`: fills `buffer`, answers with the count or an error code.
unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: `opaque` is the box that `FileIo` keeps, used by one thread at a time, and FFmpeg
    // gives a buffer of `size` bytes
    let (source, buffer) = unsafe {
        let length = usize::try_from(size).unwrap_or(0);
        (
            &mut *opaque.cast::<Source>(),
            std::slice::from_raw_parts_mut(buffer, length),
        )
    };
    if source.clock.is_late() {
        return AVERROR_EXIT;
    }
    loop {
        match source.file.read_at(buffer, source.position) {
            Ok(0) => return AVERROR_EOF,
            Ok(count) => {
                source.position += count as u64;
                return c_int::try_from(count).unwrap_or(AVERROR_EIO);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return AVERROR_EIO,
        }
    }
}

/// FFmpeg's `seek`: answers with the new position, or with the size for `AVSEEK_SIZE`.
unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as in `read`
    let source = unsafe { &mut *opaque.cast::<Source>() };
    let target = match whence & !AVSEEK_FORCE {
        AVSEEK_SIZE => return i64::try_from(source.bytes).unwrap_or(i64::MAX),
        0 => u64::try_from(offset).ok(),
        1 => source.position.checked_add_signed(offset),
        2 => source.bytes.checked_add_signed(offset),
        _ => None,
    };
    let Some(position) = target.and_then(|target| i64::try_from(target).ok()) else {
        return AVERROR_EIO.into();
    };
    source.position = position as u64;
    position
}
