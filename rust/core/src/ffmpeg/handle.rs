//! Owners of packets, frames and option lists: each frees what it holds.

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::ptr;

use super::layout::{
    FRAME_DATA, FRAME_FORMAT, FRAME_HEIGHT, FRAME_LINESIZE, FRAME_PTS, FRAME_WIDTH, PACKET_DATA,
    PACKET_DTS, PACKET_DURATION, PACKET_FLAGS, PACKET_POSITION, PACKET_PTS, PACKET_SIZE,
    PACKET_STREAM_INDEX, get, set,
};
use super::library::{Library, library};
use crate::{Error, Result, limits};

/// The opened FFmpeg, or why `path` can't be read without it.
pub(super) fn library_for(path: &Path) -> Result<&'static Library> {
    library().map_err(|reason| Error::media(path, reason))
}

fn time(value: i64) -> Option<i64> {
    // AV_NOPTS_VALUE
    (value != i64::MIN).then_some(value)
}

/// An `AVPacket`: compressed bytes of (mostly) one frame.
pub(crate) struct Packet {
    library: &'static Library,
    packet: *mut c_void,
}

impl Packet {
    /// An empty packet.
    pub fn new(path: &Path) -> Result<Self> {
        let library = library_for(path)?;
        // SAFETY: no arguments
        let packet = unsafe { (library.call.av_packet_alloc)() };
        if packet.is_null() {
            return Err(Error::media(path, "no memory for a packet"));
        }
        Ok(Self { library, packet })
    }

    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.packet
    }

    /// Lets go of the bytes; reading a packet needs an empty one.
    pub(super) fn clear(&mut self) {
        // SAFETY: the packet is ours
        unsafe { (self.library.call.av_packet_unref)(self.packet) };
    }

    fn field<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: the offsets used below are those of AVPacket, with their types
        unsafe { get(self.packet, offset) }
    }

    /// When its frame is shown, in ticks of the stream.
    pub fn pts(&self) -> Option<i64> {
        time(self.field(PACKET_PTS))
    }

    /// When it is decoded, in ticks of the stream.
    pub fn dts(&self) -> Option<i64> {
        time(self.field(PACKET_DTS))
    }

    /// How long its frame is shown, in ticks; 0 if unknown.
    pub fn duration(&self) -> i64 {
        self.field(PACKET_DURATION)
    }

    /// Where it lies in the file; -1 if unknown.
    pub fn position(&self) -> i64 {
        self.field(PACKET_POSITION)
    }

    /// Whether decoding may start here.
    pub fn is_key(&self) -> bool {
        self.field::<c_int>(PACKET_FLAGS) & 1 != 0
    }

    /// Whether the demuxer saw that bytes are damaged or missing.
    pub fn is_corrupt(&self) -> bool {
        self.field::<c_int>(PACKET_FLAGS) & 2 != 0
    }

    /// Whether its frame is decoded but not shown (cut off by an edit list).
    pub fn is_discarded(&self) -> bool {
        self.field::<c_int>(PACKET_FLAGS) & 4 != 0
    }

    pub(super) fn stream(&self) -> c_int {
        self.field(PACKET_STREAM_INDEX)
    }

    /// The compressed bytes.
    pub fn bytes(&self) -> &[u8] {
        let data: *const u8 = self.field(PACKET_DATA);
        let size = usize::try_from(self.field::<c_int>(PACKET_SIZE)).unwrap_or(0);
        if data.is_null() {
            return &[];
        }
        // SAFETY: the packet holds `size` bytes at `data` until it is cleared, which needs `&mut`
        unsafe { std::slice::from_raw_parts(data, size) }
    }

    /// Leaves out all but the first `bytes`.
    pub fn truncate(&mut self, bytes: usize) {
        let size = self.bytes().len().min(bytes) as c_int;
        // SAFETY: the packet holds at least as many
        unsafe { set(self.packet, PACKET_SIZE, size) };
    }
}

// SAFETY: reference counts are atomic, and `&mut` lets one thread use it at a time
unsafe impl Send for Packet {}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: the packet is ours, freed once
        unsafe { (self.library.call.av_packet_free)(&raw mut self.packet) };
    }
}

/// An `AVFrame`: one decoded frame in the decoder's pixel format.
pub(crate) struct Frame {
    pub(super) library: &'static Library,
    frame: *mut c_void,
}

impl Frame {
    /// An empty frame.
    pub fn new(path: &Path) -> Result<Self> {
        let library = library_for(path)?;
        // SAFETY: no arguments
        let frame = unsafe { (library.call.av_frame_alloc)() };
        if frame.is_null() {
            return Err(Error::media(path, "no memory for a frame"));
        }
        Ok(Self { library, frame })
    }

    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.frame
    }

    fn field<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: the offsets used below are those of AVFrame, with their types
        unsafe { get(self.frame, offset) }
    }

    /// When it is shown, in ticks of the stream.
    pub fn pts(&self) -> Option<i64> {
        let guess = self.library.layout.frame.best_effort_timestamp;
        time(self.field(FRAME_PTS)).or_else(|| time(self.field(guess)))
    }

    /// Whether the decoder made up what damage took away.
    pub fn is_damaged(&self) -> bool {
        let layout = &self.library.layout.frame;
        let is_corrupt = self.field::<c_int>(layout.flags) & 1 != 0;
        is_corrupt || self.field::<c_int>(layout.decode_error_flags) != 0
    }

    /// Width and height; 0 for what is no size.
    pub fn size(&self) -> (usize, usize) {
        let side = |offset| usize::try_from(self.field::<c_int>(offset)).unwrap_or(0);
        (side(FRAME_WIDTH), side(FRAME_HEIGHT))
    }

    pub(super) fn format(&self) -> c_int {
        self.field(FRAME_FORMAT)
    }

    /// Name of the pixel format.
    pub fn format_name(&self) -> &'static str {
        self.library.pixel_format_name(self.format())
    }

    pub(super) fn planes(&self) -> ([*const u8; 8], [c_int; 8]) {
        (self.field(FRAME_DATA), self.field(FRAME_LINESIZE))
    }

    /// Whether black is 0 and white the largest value, by the stream's tag.
    pub(super) fn is_full_range(&self) -> bool {
        self.field::<c_int>(self.library.layout.frame.color_range) == 2
    }

    /// `AVChromaLocation` of the stream's tag.
    pub(super) fn chroma_location(&self) -> c_int {
        self.field(self.library.layout.frame.chroma_location)
    }

    /// `AVColorSpace` of the stream's tag.
    pub(super) fn colorspace(&self) -> c_int {
        self.field(self.library.layout.frame.colorspace)
    }
}

// SAFETY: reference counts are atomic, and `&mut` lets one thread use it at a time
unsafe impl Send for Frame {}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: the frame is ours, freed once
        unsafe { (self.library.call.av_frame_free)(&raw mut self.frame) };
    }
}

/// Sides of a frame in memory may be so much longer, for a decoder's blocks.
const PADDING: usize = 128;

/// The limit as FFmpeg's option `max_pixels` takes it, which counts the padding too.
pub(super) fn most_pixels() -> CString {
    let limits = limits::get();
    let padding = PADDING * (2 * limits.max_side + PADDING);
    let most = (limits.max_pixels + padding).min(c_int::MAX as usize);
    CString::new(most.to_string()).unwrap_or_default()
}

/// An `AVDictionary` of options.
pub(super) struct Options {
    library: &'static Library,
    pub list: *mut c_void,
}

impl Options {
    pub fn new(library: &'static Library, pairs: &[(&CStr, &CStr)]) -> Self {
        let mut list = ptr::null_mut();
        for (key, value) in pairs {
            // SAFETY: FFmpeg copies both strings; without memory the option is missing, no more
            unsafe { (library.call.av_dict_set)(&raw mut list, key.as_ptr(), value.as_ptr(), 0) };
        }
        Self { library, list }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: frees the list, which may be null
        unsafe { (self.library.call.av_dict_free)(&raw mut self.list) };
    }
}
