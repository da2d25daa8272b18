//! What an open file says of its container and its streams.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use super::input::Input;
use super::layout::{FORMAT_INPUT, FORMAT_NB_STREAMS, FORMAT_STREAMS, INPUT_NAME, get};

const AVMEDIA_TYPE_VIDEO: c_int = 0;

impl Input {
    /// FFmpeg's name of the container.
    pub(super) fn format(&self) -> &str {
        // SAFETY: an open context has an input format, which has a name
        let name = unsafe {
            let format: *const c_void = get(self.context, FORMAT_INPUT);
            CStr::from_ptr(get(format, INPUT_NAME))
        };
        name.to_str().unwrap_or("")
    }

    pub(super) fn is_mp4(&self) -> bool {
        self.format() == "mov,mp4,m4a,3gp,3g2,mj2"
    }

    pub fn is_avi(&self) -> bool {
        self.format() == "avi"
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

    /// What the decoder must know.
    pub(super) fn parameters(&self) -> *const c_void {
        match &self.facts.found {
            Some(found) => found.parameters.cast_const(),
            None => self.parameters_of(self.facts.stream),
        }
    }

    pub(super) fn parameters_of(&self, index: c_int) -> *const c_void {
        // SAFETY: a field of a stream that exists
        unsafe { get(self.stream_at(index), self.library.layout.stream.codecpar) }
    }
}
