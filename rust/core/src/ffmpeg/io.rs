//! Feeds FFmpeg from a file that we opened, so that it never opens anything itself.

use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use super::clock::Clock;
use super::layout::{IO_BUFFER, IO_BUFFER_END, IO_BUFFER_READ, get, set};
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
    /// From a box: FFmpeg keeps the address too.
    source: *mut Source,
}

struct Source {
    file: File,
    bytes: u64,
    /// Where the next read begins: the file's own position is shared with processes that fork.
    position: u64,
    /// Whether reads give no content.
    is_blank: bool,
    clock: Arc<Clock>,
}

impl FileIo {
    /// Opens the file for FFmpeg to read.
    pub fn open(library: &'static Library, path: &Path) -> Result<Self> {
        let (file, bytes) = open_file(path)?;
        let clock = Arc::new(Clock::new());
        let source = Box::into_raw(Box::new(Source {
            file,
            bytes,
            position: 0,
            is_blank: false,
            clock: Arc::clone(&clock),
        }));
        let opaque = source.cast();
        // SAFETY: the buffer is from av_malloc, as avio_alloc_context wants it, and belongs to the
        // context from here on; `opaque` lives until this owner drops it, after the context
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
        let io = Self {
            library,
            context,
            clock,
            source,
        };
        if context.is_null() {
            return Err(Error::media(path, "no memory for the file's buffer"));
        }
        Ok(io)
    }

    pub fn context(&self) -> *mut c_void {
        self.context
    }

    /// From now on, whether reads are told that they were done, and give no content: the packets of a
    /// container that lists them in its header are then counted without being read from the disk.
    pub fn set_blank(&mut self, is_blank: bool) {
        // SAFETY: FFmpeg is not reading now; an empty buffer is one whose ends are at its start
        unsafe {
            (*self.source).is_blank = is_blank;
            let buffer: *mut c_void = get(self.context, IO_BUFFER);
            set(self.context, IO_BUFFER_READ, buffer);
            set(self.context, IO_BUFFER_END, buffer);
        }
    }

    pub fn is_blank(&self) -> bool {
        // SAFETY: FFmpeg is not reading now
        unsafe { (*self.source).is_blank }
    }

    /// FFmpeg's name of the container, where the first bytes leave no doubt.
    pub fn format_name(&self) -> Option<&'static CStr> {
        let mut head = [0; 12];
        // SAFETY: FFmpeg is not reading now
        let read = unsafe { (*self.source).file.read_exact_at(&mut head, 0) };
        read.ok()?;
        match (&head[..4], &head[4..8], &head[8..]) {
            (b"RIFF", _, b"AVI ") => Some(c"avi"),
            // JPEG 2000 and JPEG XL begin so too
            (_, b"ftyp", [b'j', ..]) => None,
            (_, b"ftyp", _) => Some(c"mov"),
            _ => None,
        }
    }

    /// Where the boxes of an MP4 file begin and end, by their kind; `None` if the file is damaged.
    pub fn boxes(&self) -> Option<Vec<([u8; 4], Range<u64>)>> {
        // SAFETY: FFmpeg is not reading now
        let source = unsafe { &*self.source };
        let mut boxes = Vec::new();
        let mut position = 0_u64;
        let mut head = [0; 16];
        // few files have more than ten boxes
        while position < source.bytes && boxes.len() < 1000 {
            let count = source.file.read_at(&mut head, position).unwrap_or(0);
            let word = |at: usize| {
                head[at..at + 4]
                    .iter()
                    .fold(0, |n, b| n << 8 | u64::from(*b))
            };
            let bytes = match word(0) {
                // up to the end of the file
                0 => source.bytes - position,
                1 => word(8) << 32 | word(12),
                bytes => bytes,
            };
            if count < 8 || bytes < 8 {
                return None;
            }
            let end = position.saturating_add(bytes);
            boxes.push(([head[4], head[5], head[6], head[7]], position..end));
            position = end;
        }
        (position >= source.bytes).then_some(boxes)
    }

    /// The bytes at some place of the file, if they are all there.
    pub fn bytes(&self, place: Range<u64>) -> Option<Vec<u8>> {
        // SAFETY: FFmpeg is not reading now
        let source = unsafe { &*self.source };
        let length = place.end.checked_sub(place.start)?;
        let mut bytes = vec![
            0;
            usize::try_from(length)
                .ok()
                .filter(|_| place.end <= source.bytes)?
        ];
        source.file.read_exact_at(&mut bytes, place.start).ok()?;
        Some(bytes)
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        // SAFETY: FFmpeg is not reading now
        unsafe { (*self.source).bytes }
    }
}

impl Drop for FileIo {
    fn drop(&mut self) {
        // SAFETY: FFmpeg may have replaced the buffer, so the one in the context is freed; the
        // format context that used it is gone (`Input` drops it first)
        unsafe {
            if !self.context.is_null() {
                let mut buffer: *mut c_void = get(self.context, IO_BUFFER);
                (self.library.call.av_freep)((&raw mut buffer).cast());
                (self.library.call.avio_context_free)(&raw mut self.context);
            }
            drop(Box::from_raw(self.source));
        }
    }
}

/// FFmpeg's `read_packet`: fills `buffer`, answers with the count or an error code.
unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: `opaque` is the source that `FileIo` owns, used by one thread at a time, and FFmpeg
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
    if source.is_blank {
        let left = source.bytes.saturating_sub(source.position);
        let count = left.min(buffer.len() as u64);
        source.position += count;
        return if count == 0 {
            AVERROR_EOF
        } else {
            count as c_int
        };
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
