//! What a video stream is, kept for the next time its file is opened.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::input::Input;
use super::layout::{
    PARAMETERS_CODEC_ID, PARAMETERS_CODEC_TYPE, SIDE_DATA_BYTES, SIDE_DATA_DATA, SIDE_DATA_SIZE,
    SIDE_DATA_TYPE, get,
};
use super::library::{Library, Rational};
use crate::{Error, Result};

const AVMEDIA_TYPE_AUDIO: c_int = 1;
const AV_DISPOSITION_ATTACHED_PIC: c_int = 1024;
const AV_PKT_DATA_DISPLAYMATRIX: c_int = 5;

/// What opening a file and trying its decoders told about its video.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(super) stream: c_int,
    pub(super) time_base: Rational,
    /// Clockwise turn that shows the frames upright: 0, 90, 180 or 270 degrees.
    pub rotation: u16,
    /// Whether the file has sound.
    pub has_audio: bool,
    parameters: Option<Parameters>,
}

/// A copy of `AVCodecParameters`.
#[derive(Debug)]
struct Parameters {
    library: &'static Library,
    parameters: *mut c_void,
}

// SAFETY: nobody writes to the copy
unsafe impl Send for Parameters {}
// SAFETY: as above
unsafe impl Sync for Parameters {}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: the copy is ours, freed once
        unsafe { (self.library.call.avcodec_parameters_free)(&raw mut self.parameters) };
    }
}

impl Facts {
    /// Those of the best video stream.
    pub(super) fn best(input: &Input) -> Result<Self> {
        let (best, library) = (input.best_stream(), input.library);
        let disposition = library.layout.stream.disposition;
        // SAFETY: the stream exists where `best` is not negative
        let is_cover = best >= 0
            && unsafe { get::<c_int>(input.stream_at(best), disposition) }
                & AV_DISPOSITION_ATTACHED_PIC
                != 0;
        if best < 0 || is_cover {
            return Err(Error::media(input.path(), "holds no video"));
        }
        // SAFETY: no arguments; the copy is freed by its owner
        let parameters = unsafe { (library.call.avcodec_parameters_alloc)() };
        let parameters = Parameters {
            library,
            parameters,
        };
        let copy = library.call.avcodec_parameters_copy;
        // SAFETY: both are there
        let is_copied = !parameters.parameters.is_null()
            && unsafe { copy(parameters.parameters, input.parameters_of(best)) } >= 0;
        if !is_copied {
            return Err(Error::media(input.path(), "no memory for its parameters"));
        }
        Ok(Self {
            stream: best,
            time_base: time_base(input, best),
            rotation: rotation(input, best),
            has_audio: has_audio(input),
            parameters: Some(parameters),
        })
    }

    /// Whether the stream of a file that was opened again looks the same, as far as its header tells.
    pub(super) fn fit(&self, input: &Input) -> bool {
        // SAFETY: the stream exists; a field of its parameters
        self.stream < input.num_streams() as c_int
            && unsafe { get::<c_int>(input.parameters_of(self.stream), PARAMETERS_CODEC_ID) }
                == self.codec_id()
            && time_base(input, self.stream) == self.time_base
    }

    /// `AVCodecParameters`; null where nothing is known yet.
    pub(super) fn parameters(&self) -> *const c_void {
        self.parameters
            .as_ref()
            .map_or(ptr::null(), |p| p.parameters.cast_const())
    }

    fn parameter(&self, offset: impl FnOnce(&Library) -> usize) -> c_int {
        let Some(Parameters {
            library,
            parameters,
        }) = &self.parameters
        else {
            return 0;
        };
        // SAFETY: the offsets used below are those of c_int fields of AVCodecParameters
        unsafe { get(*parameters, offset(library)) }
    }

    /// FFmpeg's number of the codec.
    pub(super) fn codec_id(&self) -> c_int {
        self.parameter(|_| PARAMETERS_CODEC_ID)
    }

    /// Name of the codec.
    pub fn codec(&self) -> &'static str {
        let library = self.parameters.as_ref().map(|p| p.library);
        library.map_or("", |library| library.codec_name(self.codec_id()))
    }

    /// Width and height in the header.
    pub fn coded_size(&self) -> (usize, usize) {
        let side = |side: c_int| usize::try_from(side).unwrap_or(0);
        (
            side(self.parameter(|library| library.layout.parameters.width)),
            side(self.parameter(|library| library.layout.parameters.height)),
        )
    }

    /// Whether each picture is a whole frame, not a field.
    pub fn is_progressive(&self) -> bool {
        self.parameter(|library| library.layout.parameters.field_order) == 1
    }

    /// How many frames the decoder holds back to bring them into display order.
    pub fn reorder_delay(&self) -> c_int {
        self.parameter(|library| library.layout.parameters.video_delay)
    }

    /// Seconds in a tick of the stream.
    pub fn tick(&self) -> f64 {
        let Rational { num, den } = self.time_base;
        if den == 0 {
            1.0
        } else {
            f64::from(num) / f64::from(den)
        }
    }
}

fn time_base(input: &Input, stream: c_int) -> Rational {
    // SAFETY: a field of a stream that exists
    unsafe {
        get(
            input.stream_at(stream),
            input.library.layout.stream.time_base,
        )
    }
}

fn has_audio(input: &Input) -> bool {
    // SAFETY: a field of the stream's parameters
    let kind = |i| unsafe { get::<c_int>(input.parameters_of(i), PARAMETERS_CODEC_TYPE) };
    (0..input.num_streams() as c_int).any(|i| kind(i) == AVMEDIA_TYPE_AUDIO)
}

fn rotation(input: &Input, stream: c_int) -> u16 {
    let Some([a, b]) = display_matrix(input, stream) else {
        return 0;
    };
    let degrees = f64::from(b).atan2(f64::from(a)).to_degrees();
    ((degrees / 90.0).round() as i32).rem_euclid(4) as u16 * 90
}

/// The first row of the display matrix.
fn display_matrix(input: &Input, stream: c_int) -> Option<[i32; 2]> {
    let library = input.library;
    let kind = AV_PKT_DATA_DISPLAYMATRIX;
    let mut size = 0_usize;
    let mut data: *const u8 = ptr::null();
    // SAFETY: side data are an array of (data, size, type) in the parameters from 61 on; before, the
    // stream is asked
    unsafe {
        if let Some((array, count)) = library.layout.parameters.side_data {
            let parameters = input.parameters_of(stream);
            let entries: *const c_void = get(parameters, array);
            for i in 0..get::<c_int>(parameters, count) as usize {
                let entry = entries.byte_add(i * SIDE_DATA_BYTES);
                if get::<c_int>(entry, SIDE_DATA_TYPE) == kind {
                    data = get(entry, SIDE_DATA_DATA);
                    size = get(entry, SIDE_DATA_SIZE);
                }
            }
        } else if let Some(side_data) = library.stream_side_data {
            data = side_data(input.stream_at(stream), kind, &raw mut size);
        }
        (!data.is_null() && size >= 36).then(|| [get(data.cast(), 0), get(data.cast(), 4)])
    }
}
