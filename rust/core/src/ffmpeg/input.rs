//! An open file: its best video stream, packet by packet.

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use super::handle::{Options, Packet, library_for};
use super::io::FileIo;
use super::layout::{
    FORMAT_NB_STREAMS, FORMAT_PB, FORMAT_STREAMS, PARAMETERS_CODEC_ID, PARAMETERS_CODEC_TYPE,
    SIDE_DATA_BYTES, SIDE_DATA_DATA, SIDE_DATA_SIZE, SIDE_DATA_TYPE, get, set,
};
use super::library::{Library, Rational};
use crate::limits::check_frame;
use crate::{Error, Result};

const AVMEDIA_TYPE_VIDEO: c_int = 0;
const AVMEDIA_TYPE_AUDIO: c_int = 1;
const AV_DISPOSITION_ATTACHED_PIC: c_int = 1024;
const AVDISCARD_ALL: c_int = 48;
const AVSEEK_FLAG_BACKWARD: c_int = 1;
const AVERROR_EOF: c_int = -541_478_725;
const AV_PKT_DATA_DISPLAYMATRIX: c_int = 5;

/// An `AVFormatContext` and the number of its best video stream.
pub(crate) struct Input {
    pub(super) library: &'static Library,
    context: *mut c_void,
    stream: c_int,
    path: PathBuf,
    /// Dropped after the context, which reads through it.
    io: FileIo,
}

impl Input {
    /// Opens the file and finds its best video stream.
    pub fn open(path: &Path) -> Result<Self> {
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
            stream: -1,
            path: path.to_owned(),
            io,
        };
        input.read_header()?;
        input.choose_stream()?;
        Ok(input)
    }

    fn read_header(&mut self) -> Result<()> {
        // a playlist inside the file must not make FFmpeg open another one
        let mut options = Options::new(self.library, &[(c"protocol_whitelist", c"none")]);
        // SAFETY: the context is fresh; on failure FFmpeg frees it and makes the pointer null
        let code = unsafe {
            set(self.context, FORMAT_PB, self.io.context());
            let open = self.library.call.avformat_open_input;
            open(
                &raw mut self.context,
                ptr::null(),
                ptr::null(),
                &raw mut options.list,
            )
        };
        self.check(code)?;
        let limits = [(c"max_pixels", c"64000000"), (c"threads", c"1")];
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

    fn choose_stream(&mut self) -> Result<()> {
        // SAFETY: the context is open; the decoder is not asked for
        let best = unsafe {
            let find = self.library.call.av_find_best_stream;
            find(self.context, AVMEDIA_TYPE_VIDEO, -1, -1, ptr::null_mut(), 0)
        };
        let disposition = self.library.layout.stream.disposition;
        // SAFETY: the stream exists where `best` is not negative
        let is_cover = best >= 0
            && unsafe { get::<c_int>(self.stream_at(best), disposition) }
                & AV_DISPOSITION_ATTACHED_PIC
                != 0;
        if best < 0 || is_cover {
            return Err(Error::media(&self.path, "holds no video"));
        }
        self.stream = best;
        for other in (0..self.num_streams() as c_int).filter(|i| *i != best) {
            // SAFETY: the stream exists; the field tells the demuxer to skip its packets
            unsafe {
                set(
                    self.stream_at(other),
                    self.library.layout.stream.discard,
                    AVDISCARD_ALL,
                );
            }
        }
        let (width, height) = self.coded_size();
        check_frame(&self.path, width, height)
    }

    fn check(&self, code: c_int) -> Result<()> {
        if code < 0 {
            return Err(Error::media(&self.path, self.library.error_text(code)));
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the next packet of the video; `false` at the end. The error is for a damaged file.
    pub fn read(&mut self, packet: &mut Packet) -> Result<bool> {
        loop {
            packet.clear();
            // SAFETY: context and packet are ours
            let code = unsafe { (self.library.call.av_read_frame)(self.context, packet.as_ptr()) };
            if code == AVERROR_EOF {
                return Ok(false);
            }
            self.check(code)?;
            if packet.stream() == self.stream {
                return Ok(true);
            }
        }
    }

    /// Goes to a packet at or before `time` (ticks), as far as the container allows.
    pub fn seek(&mut self, time: i64) -> Result<()> {
        // SAFETY: context and stream are ours
        let code = unsafe {
            let seek = self.library.call.av_seek_frame;
            seek(self.context, self.stream, time, AVSEEK_FLAG_BACKWARD)
        };
        self.check(code)
    }

    fn num_streams(&self) -> u32 {
        // SAFETY: a field of the open context
        unsafe { get(self.context, FORMAT_NB_STREAMS) }
    }

    fn stream_at(&self, index: c_int) -> *mut c_void {
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

    /// `AVCodecParameters` of the video.
    pub(super) fn parameters(&self) -> *const c_void {
        self.parameters_of(self.stream)
    }

    fn parameter(&self, offset: usize) -> c_int {
        // SAFETY: the offsets used below are those of c_int fields of AVCodecParameters
        unsafe { get(self.parameters(), offset) }
    }

    /// FFmpeg's number of the codec.
    pub(super) fn codec_id(&self) -> c_int {
        self.parameter(PARAMETERS_CODEC_ID)
    }

    /// Name of the codec.
    pub fn codec(&self) -> &'static str {
        self.library.codec_name(self.codec_id())
    }

    /// Width and height in the header.
    pub fn coded_size(&self) -> (usize, usize) {
        let layout = &self.library.layout.parameters;
        let side = |offset| usize::try_from(self.parameter(offset)).unwrap_or(0);
        (side(layout.width), side(layout.height))
    }

    /// Whether each picture is a whole frame, not a field.
    pub fn is_progressive(&self) -> bool {
        self.parameter(self.library.layout.parameters.field_order) == 1
    }

    /// How many frames the decoder holds back to bring them into display order.
    pub fn reorder_delay(&self) -> c_int {
        self.parameter(self.library.layout.parameters.video_delay)
    }

    /// Seconds in a tick of the stream.
    pub fn tick(&self) -> f64 {
        let Rational { num, den } = self.time_base();
        if den == 0 {
            1.0
        } else {
            f64::from(num) / f64::from(den)
        }
    }

    pub(super) fn time_base(&self) -> Rational {
        // SAFETY: a field of the stream
        unsafe {
            get(
                self.stream_at(self.stream),
                self.library.layout.stream.time_base,
            )
        }
    }

    /// Whether the file has sound.
    pub fn has_audio(&self) -> bool {
        (0..self.num_streams() as c_int).any(|i| {
            // SAFETY: a field of the stream's parameters
            unsafe {
                get::<c_int>(self.parameters_of(i), PARAMETERS_CODEC_TYPE) == AVMEDIA_TYPE_AUDIO
            }
        })
    }

    /// Clockwise turn that shows the frames upright: 0, 90, 180 or 270 degrees.
    pub fn rotation(&self) -> u16 {
        let Some(matrix) = self.display_matrix() else {
            return 0;
        };
        let degrees = f64::from(matrix[1])
            .atan2(f64::from(matrix[0]))
            .to_degrees();
        let quarter_turns = (degrees / 90.0).round() as i32;
        quarter_turns.rem_euclid(4) as u16 * 90
    }

    /// The first row (a, b) of the display matrix.
    fn display_matrix(&self) -> Option<[i32; 2]> {
        let kind = AV_PKT_DATA_DISPLAYMATRIX;
        let mut size = 0_usize;
        let mut data: *const u8 = ptr::null();
        // SAFETY: side data are an array of (data, size, type) in the parameters from 61 on; before,
        // the stream is asked
        unsafe {
            if let Some((array, count)) = self.library.layout.parameters.side_data {
                let entries: *const c_void = get(self.parameters(), array);
                for i in 0..self.parameter(count) as usize {
                    let entry = entries.byte_add(i * SIDE_DATA_BYTES);
                    if get::<c_int>(entry, SIDE_DATA_TYPE) == kind {
                        data = get(entry, SIDE_DATA_DATA);
                        size = get(entry, SIDE_DATA_SIZE);
                    }
                }
            } else if let Some(side_data) = self.library.stream_side_data {
                data = side_data(self.stream_at(self.stream), kind, &raw mut size);
            }
            (!data.is_null() && size >= 36).then(|| [get(data.cast(), 0), get(data.cast(), 4)])
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: closes and frees the context, which may be null; our io outlives it
        unsafe { (self.library.call.avformat_close_input)(&raw mut self.context) };
    }
}
