//! An open file: its best video stream, packet by packet.

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use super::clock::{Clock, interrupt};
use super::facts::Facts;
use super::handle::{Options, Packet, library_for, most_pixels};
use super::io::FileIo;
use super::layout::{FORMAT_NB_STREAMS, FORMAT_PB, FORMAT_STREAMS, get, set};
use super::library::Library;
use crate::limits::check_frame;
use crate::{Error, Result};

const AVMEDIA_TYPE_VIDEO: c_int = 0;
const AVDISCARD_ALL: c_int = 48;
const AVSEEK_FLAG_BACKWARD: c_int = 1;
const AVERROR_EOF: c_int = -541_478_725;

/// An `AVFormatContext` that gives the packets of one video stream.
pub(crate) struct Input {
    pub(super) library: &'static Library,
    context: *mut c_void,
    path: PathBuf,
    /// What the stream is.
    pub facts: Arc<Facts>,
    /// Dropped after the context, which reads through it.
    io: FileIo,
}

// SAFETY: FFmpeg's contexts belong to no thread, and `&mut` lets one thread use them at a time
unsafe impl Send for Input {}

impl Input {
    /// Opens the file and finds its best video stream, which takes decoding a frame or some.
    pub fn open(path: &Path) -> Result<Self> {
        let mut input = Self::with_header(path, Arc::default())?;
        input.look_into_streams()?;
        input.facts = Arc::new(Facts::best(&input)?);
        input.discard_others();
        let (width, height) = input.facts.coded_size();
        check_frame(path, width, height)?;
        Ok(input)
    }

    /// Opens a file whose facts are known, by its header alone. `None` if it now looks otherwise.
    pub fn open_known(path: &Path, facts: &Arc<Facts>) -> Result<Option<Self>> {
        let input = Self::with_header(path, Arc::clone(facts))?;
        if !facts.fit(&input) {
            return Ok(None);
        }
        input.discard_others();
        Ok(Some(input))
    }

    fn with_header(path: &Path, facts: Arc<Facts>) -> Result<Self> {
        let library = library_for(path)?;
        let io = FileIo::open(library, path)?;
        // SAFETY: no arguments
        let context = unsafe { (library.call.avformat_alloc_context)() };
        if context.is_null() {
            return Err(Error::media(path, "no memory to open the file"));
        }
        let mut input = Self {
            library,
            context,
            path: path.to_owned(),
            facts,
            io,
        };
        // a playlist inside the file must not make FFmpeg open another one
        let mut options = Options::new(library, &[(c"protocol_whitelist", c"none")]);
        // SAFETY: the context is fresh; on failure FFmpeg frees it and makes the pointer null
        let code = unsafe {
            set(input.context, FORMAT_PB, input.io.context());
            let callback: unsafe extern "C" fn(*mut c_void) -> c_int = interrupt;
            let on_wait = [
                callback as *const c_void,
                Arc::as_ptr(&input.io.clock).cast(),
            ];
            set(
                input.context,
                library.layout.format.interrupt_callback,
                on_wait,
            );
            let open = library.call.avformat_open_input;
            open(
                &raw mut input.context,
                ptr::null(),
                ptr::null(),
                &raw mut options.list,
            )
        };
        input.check(code)?;
        Ok(input)
    }

    fn look_into_streams(&mut self) -> Result<()> {
        let most = most_pixels();
        let limits = [(c"max_pixels", most.as_c_str()), (c"threads", c"1")];
        let mut streams: Vec<Options> = (0..self.num_streams())
            .map(|_| Options::new(self.library, &limits))
            .collect();
        let mut lists: Vec<*mut c_void> = streams.iter().map(|s| s.list).collect();
        // SAFETY: there is one list for each stream; FFmpeg replaces them by what it did not use
        let code = unsafe {
            (self.library.call.avformat_find_stream_info)(self.context, lists.as_mut_ptr())
        };
        for (stream, list) in streams.iter_mut().zip(lists) {
            stream.list = list;
        }
        self.check(code)
    }

    /// Tells the demuxer to skip the packets of all other streams.
    fn discard_others(&self) {
        let discard = self.library.layout.stream.discard;
        for other in (0..self.num_streams() as c_int).filter(|i| *i != self.facts.stream) {
            // SAFETY: the stream exists
            unsafe { set(self.stream_at(other), discard, AVDISCARD_ALL) };
        }
    }

    fn check(&self, code: c_int) -> Result<()> {
        if code < 0 {
            self.check_time()?;
            return Err(Error::media(&self.path, self.library.error_text(code)));
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Since when no frame of it came.
    pub fn clock(&self) -> &Clock {
        &self.io.clock
    }

    /// The error for a file that gave no frame for too long.
    pub fn check_time(&self) -> Result<()> {
        self.io.clock.check(&self.path)
    }

    /// Reads the next packet of the video; `false` at the end. The error is for a damaged file.
    pub fn read(&mut self, packet: &mut Packet) -> Result<bool> {
        loop {
            packet.clear();
            // SAFETY: context and packet are ours
            let code = unsafe { (self.library.call.av_read_frame)(self.context, packet.as_ptr()) };
            self.check_time()?;
            if code == AVERROR_EOF {
                return Ok(false);
            }
            self.check(code)?;
            if packet.stream() == self.facts.stream {
                return Ok(true);
            }
        }
    }

    /// Goes to a packet at or before `time` (ticks), as far as the container allows.
    pub fn seek(&mut self, time: i64) -> Result<()> {
        // SAFETY: context and stream are ours
        let code = unsafe {
            let seek = self.library.call.av_seek_frame;
            seek(self.context, self.facts.stream, time, AVSEEK_FLAG_BACKWARD)
        };
        self.check(code)
    }

    pub(super) fn num_streams(&self) -> u32 {
        // SAFETY: a field of the open context
        unsafe { get(self.context, FORMAT_NB_STREAMS) }
    }

    /// The stream that FFmpeg takes for the main video; negative if there is none.
    pub(super) fn best_stream(&self) -> c_int {
        // SAFETY: the context is open; the decoder is not asked for
        unsafe {
            let find = self.library.call.av_find_best_stream;
            find(self.context, AVMEDIA_TYPE_VIDEO, -1, -1, ptr::null_mut(), 0)
        }
    }

    pub(super) fn stream_at(&self, index: c_int) -> *mut c_void {
        // SAFETY: callers pass an index below `num_streams`
        unsafe {
            let streams: *const *mut c_void = get(self.context, FORMAT_STREAMS);
            *streams.offset(index as isize)
        }
    }

    pub(super) fn parameters_of(&self, index: c_int) -> *const c_void {
        // SAFETY: a field of a stream that exists
        unsafe { get(self.stream_at(index), self.library.layout.stream.codecpar) }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: closes and frees the context, which may be null; our io outlives it
        unsafe { (self.library.call.avformat_close_input)(&raw mut self.context) };
    }
}
