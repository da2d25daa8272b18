//! An open file: one of its video streams, packet by packet.

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use super::clock::{Clock, interrupt};
use super::facts::Facts;
use super::handle::{Options, Packet, library_for, most_pixels};
use super::io::FileIo;
use super::layout::{FORMAT_PB, get, set};
use super::library::Library;
use super::refusal;
use crate::limits::check_frame;
use crate::source::Pick;
use crate::{Error, Result};

const AVDISCARD_ALL: c_int = 48;
const AVFMT_FLAG_NOFILLIN: c_int = 0x10;
const AVFMT_FLAG_NOPARSE: c_int = 0x20;
const AVSEEK_FLAG_BACKWARD: c_int = 1;
const AVERROR_EOF: c_int = -541_478_725;
const AVERROR_INVALIDDATA: c_int = -1_094_995_529;

/// An `AVFormatContext` that gives the packets of one video stream.
pub(crate) struct Input {
    pub(super) library: &'static Library,
    pub(super) context: *mut c_void,
    path: PathBuf,
    number: Option<usize>,
    /// What the stream is.
    pub facts: Arc<Facts>,
    /// Whether packets come as the container has them, each a whole frame: no parser sees them.
    pub is_plain: bool,
    /// Dropped after the context, which reads through it.
    pub(super) io: FileIo,
}

// SAFETY: FFmpeg's contexts belong to no thread, and `&mut` lets one thread use them at a time
unsafe impl Send for Input {}

impl Input {
    /// Opens a video: by the file's header where that tells all, else as [`Input::open_by_trial`].
    pub fn open(pick: Pick) -> Result<Self> {
        let mut input = Self::with_header(pick, Arc::default())?;
        let is_plain = input.is_mp4() || input.format() == "matroska,webm";
        if let Some(facts) = Facts::by_header(&input, pick.stream) {
            input.facts = Arc::new(facts);
            input.set_plain();
            return input.check_frame();
        }
        if input.is_avi() {
            let known = input.with_first_packet()?;
            return known.map_or_else(|| Self::open_by_trial(pick), Ok);
        }
        input.try_decoders()?;
        let input = input.check_frame()?;
        // the parsers that were used on trial would go on
        let plain = is_plain.then(|| Self::open_known(pick, &input.facts, true));
        let Some(mut plain) = plain.transpose()?.flatten() else {
            return Ok(input);
        };
        if let Some(facts) = input.facts.without_trial(&plain) {
            plain.facts = Arc::new(facts);
        }
        Ok(plain)
    }

    /// The same AVI file where the header and the first packet tell all.
    fn with_first_packet(mut self) -> Result<Option<Self>> {
        let Some(facts) = Facts::in_avi(&self, self.number) else {
            return Ok(None);
        };
        self.facts = Arc::new(facts);
        self.set_plain();
        let mut input = self.check_frame()?;
        let mut packet = Packet::new(&input.path)?;
        if !input.read(&mut packet).unwrap_or(false) {
            return input.check_time().map(|()| None);
        }
        let Some(facts) = Facts::with_packet(&input, packet.bytes()) else {
            return Ok(None);
        };
        input.facts = Arc::new(facts);
        let start = packet.dts().unwrap_or(0);
        Ok(input.seek(start).is_ok().then_some(input))
    }

    /// Opens a video and decodes a frame or some to know it better; its packets are parsed.
    pub fn open_by_trial(pick: Pick) -> Result<Self> {
        let mut input = Self::with_header(pick, Arc::default())?;
        input.try_decoders()?;
        input.check_frame()
    }

    /// Opens a file whose facts are known, by its header alone. `None` if it now looks otherwise.
    pub fn open_known(pick: Pick, facts: &Arc<Facts>, is_plain: bool) -> Result<Option<Self>> {
        let mut input = Self::with_header(pick, Arc::clone(facts))?;
        if !facts.fit(&input) {
            return Ok(None);
        }
        input.discard_others();
        if is_plain {
            input.set_plain();
        }
        Ok(Some(input))
    }

    fn try_decoders(&mut self) -> Result<()> {
        self.look_into_streams()?;
        self.facts = Arc::new(Facts::found(self, self.number)?);
        Ok(())
    }

    fn check_frame(self) -> Result<Self> {
        self.discard_others();
        let (width, height) = self.facts.coded_size;
        check_frame(&self.path, width, height)?;
        Ok(self)
    }

    fn with_header(pick: Pick, facts: Arc<Facts>) -> Result<Self> {
        let path = pick.path;
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
            number: pick.stream,
            facts,
            is_plain: false,
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
            // to ask each demuxer would take as long as all else
            let find = library.call.av_find_input_format;
            let name = input.io.format_name();
            let format = name.map_or(ptr::null(), |name| find(name.as_ptr()));
            open(
                &raw mut input.context,
                ptr::null(),
                format,
                &raw mut options.list,
            )
        };
        input.check_header(code)?;
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
        self.check_header(code)
    }

    /// Tells the demuxer to skip the packets of all other streams.
    fn discard_others(&self) {
        let discard = self.library.layout.stream.discard;
        for other in (0..self.num_streams() as c_int).filter(|i| *i != self.facts.stream) {
            // SAFETY: the stream exists
            unsafe { set(self.stream_at(other), discard, AVDISCARD_ALL) };
        }
    }

    fn set_plain(&mut self) {
        let offset = self.library.layout.format.flags;
        // SAFETY: a field of the open context
        unsafe {
            let flags: c_int = get(self.context, offset);
            // an AVI file has one time for each packet, and FFmpeg knows which
            let times = if self.is_avi() {
                0
            } else {
                AVFMT_FLAG_NOFILLIN
            };
            set(self.context, offset, flags | times | AVFMT_FLAG_NOPARSE);
        }
        self.is_plain = true;
    }

    fn check_header(&self, code: c_int) -> Result<()> {
        if code == AVERROR_INVALIDDATA {
            self.check_time()?;
            return Err(Error::media(&self.path, refusal::reason(&self.path)?));
        }
        self.check(code)
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

    /// The file, and which video of it.
    pub fn pick(&self) -> Pick<'_> {
        Pick {
            path: &self.path,
            stream: self.number,
        }
    }

    /// Since when no frame of it came.
    pub fn clock(&self) -> &Clock {
        &self.io.clock
    }

    /// The error for a file that gave no frame for too long.
    pub fn check_time(&self) -> Result<()> {
        self.io.clock.check(&self.path)
    }

    /// From now on, packets come without their bytes where that saves reading them from the disk.
    pub fn skip_content(&mut self) {
        if self.is_plain && self.boxes().is_some() {
            self.io.set_blank(true);
        }
    }

    /// Whether packets come without their bytes.
    pub fn is_blank(&self) -> bool {
        self.io.is_blank()
    }

    /// Goes back to the first packet, at `time` (ticks).
    pub fn rewind(&mut self, time: i64) -> Result<()> {
        self.io.set_blank(false);
        self.seek(time)
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
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: closes and frees the context, which may be null; our io outlives it
        unsafe { (self.library.call.avformat_close_input)(&raw mut self.context) };
    }
}
