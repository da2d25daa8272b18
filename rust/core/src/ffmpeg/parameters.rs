//! A copy of what a decoder must know.

use std::ffi::{c_int, c_void};

use super::input::Input;
use super::layout::{PARAMETERS_EXTRADATA, PARAMETERS_EXTRADATA_SIZE, set};
use super::library::Library;

/// What FFmpeg wants behind bytes that it reads bit by bit.
const PADDING_BYTES: usize = 64;

/// A copy of `AVCodecParameters`.
#[derive(Debug)]
pub(crate) struct Parameters {
    library: &'static Library,
    pub(super) parameters: *mut c_void,
}

// SAFETY: nobody writes to the copy
unsafe impl Send for Parameters {}
// SAFETY: as above
unsafe impl Sync for Parameters {}

impl Parameters {
    /// Those of a stream; `None` if there is no memory for them.
    pub(super) fn copy(input: &Input, stream: c_int) -> Option<Self> {
        let library = input.library;
        // SAFETY: no arguments; the copy is freed by its owner
        let parameters = unsafe { (library.call.avcodec_parameters_alloc)() };
        let copy = Self {
            library,
            parameters,
        };
        let fill = library.call.avcodec_parameters_copy;
        // SAFETY: both are there
        let is_filled =
            !parameters.is_null() && unsafe { fill(parameters, input.parameters_of(stream)) } >= 0;
        is_filled.then_some(copy)
    }

    /// Gives the decoder these bytes to know beforehand; `false` if there is no memory for them.
    pub(super) fn set_extradata(&mut self, bytes: &[u8]) -> bool {
        let call = &self.library.call;
        // SAFETY: what was there is freed; FFmpeg's memory is filled, and zero behind the bytes, before
        // the parameters, which free it, are told
        unsafe {
            let place = self.parameters.byte_add(PARAMETERS_EXTRADATA);
            (call.av_freep)(place);
            set(self.parameters, PARAMETERS_EXTRADATA_SIZE, 0 as c_int);
            let copy: *mut u8 = (call.av_malloc)(bytes.len() + PADDING_BYTES).cast();
            if copy.is_null() {
                return false;
            }
            copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            copy.add(bytes.len()).write_bytes(0, PADDING_BYTES);
            set(self.parameters, PARAMETERS_EXTRADATA, copy);
            set(
                self.parameters,
                PARAMETERS_EXTRADATA_SIZE,
                bytes.len() as c_int,
            );
        }
        true
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: the copy is ours, freed once
        unsafe { (self.library.call.avcodec_parameters_free)(&raw mut self.parameters) };
    }
}
