//! What a video stream is, kept for the next time its file is opened.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::input::Input;
use super::layout::{
    PARAMETERS_CODEC_ID, PARAMETERS_CODEC_TYPE, PARAMETERS_EXTRADATA, PARAMETERS_EXTRADATA_SIZE,
    SIDE_DATA_BYTES, SIDE_DATA_DATA, SIDE_DATA_SIZE, SIDE_DATA_TYPE, get,
};
use super::library::{Rational, library};
use super::parameters::Parameters;
use crate::{Error, Result, h264, mpeg4};

const AVMEDIA_TYPE_VIDEO: c_int = 0;
const AVMEDIA_TYPE_AUDIO: c_int = 1;
const AV_DISPOSITION_ATTACHED_PIC: c_int = 1024;
const AV_PKT_DATA_DISPLAYMATRIX: c_int = 5;

/// What a file tells about one of its videos.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub stream: c_int,
    /// FFmpeg's number of the codec.
    pub codec_id: c_int,
    pub time_base: Rational,
    /// Width and height in the header.
    pub coded_size: (usize, usize),
    /// Clockwise turn that shows the frames upright: 0, 90, 180 or 270 degrees.
    pub rotation: u16,
    /// Whether the file has sound.
    pub has_audio: bool,
    /// Whether each picture is a whole frame, not a field.
    pub is_progressive: bool,
    /// Whether the decoder holds frames back to bring them into display order.
    pub is_reordered: bool,
    /// What trying the decoder told beside; `None` where the header tells all.
    pub found: Option<Parameters>,
}

impl Facts {
    /// Those that the header alone tells, of video number `number` or of the only one. `None` where
    /// frames must be decoded to know.
    pub(super) fn by_header(input: &Input, number: Option<usize>) -> Option<Self> {
        let stream = choose_clear(input, number)?;
        let facts = Self::of(input, stream);
        let is_known = input.is_mp4() && facts.codec() == "h264";
        let size = is_known.then(|| h264::frame_size(extradata(input, stream)))?;
        (size == Some(facts.coded_size)).then_some(Self {
            is_progressive: true,
            ..facts
        })
    }

    /// Those that the header of an AVI file tells of an MPEG-4 video, to be held against its first packet.
    pub(super) fn in_avi(input: &Input, number: Option<usize>) -> Option<Self> {
        let facts = Self::of(input, choose_clear(input, number)?);
        (facts.codec() == "mpeg4").then_some(facts)
    }

    /// The same with what the first packet tells the decoder, if that has the frame size of the header.
    pub(super) fn with_packet(input: &Input, packet: &[u8]) -> Option<Self> {
        let stream = input.facts.stream;
        let header = match extradata(input, stream) {
            [] => mpeg4::header(packet),
            header => header,
        };
        let facts = Self::of(input, stream);
        let is_size = mpeg4::frame_size(header) == Some(facts.coded_size);
        let mut parameters = Parameters::copy(input, stream)?;
        (is_size && parameters.set_extradata(header)).then_some(Self {
            found: Some(parameters),
            ..facts
        })
    }

    /// Those of video number `number`, or of the best one, when decoders were tried.
    pub(super) fn found(input: &Input, number: Option<usize>) -> Result<Self> {
        let stream = choose(input, number)?;
        let parameters = Parameters::copy(input, stream);
        let fail = || Error::media(input.path(), "no memory for its parameters");
        Ok(Self {
            found: Some(parameters.ok_or_else(fail)?),
            ..Self::of(input, stream)
        })
    }

    /// The same without what the trial told of the decoder, where the header of `input`, the same file
    /// opened again, tells that too.
    pub(super) fn without_trial(&self, input: &Input) -> Option<Self> {
        let found = self.found.as_ref()?.parameters;
        let delay = input.library.layout.parameters.video_delay;
        // SAFETY: our copy is whole
        let is_told = unsafe {
            extradata_of(found) == extradata(input, self.stream)
                && get::<c_int>(found, delay) == parameter(input, self.stream, delay)
        };
        let told = Self::of(input, self.stream);
        (is_told && told.coded_size == self.coded_size).then_some(Self {
            is_progressive: self.is_progressive,
            ..told
        })
    }

    fn of(input: &Input, stream: c_int) -> Self {
        let layout = &input.library.layout.parameters;
        let field = |offset| parameter(input, stream, offset);
        let side = |offset| usize::try_from(field(offset)).unwrap_or(0);
        Self {
            stream,
            codec_id: field(PARAMETERS_CODEC_ID),
            time_base: time_base(input, stream),
            coded_size: (side(layout.width), side(layout.height)),
            rotation: rotation(input, stream),
            has_audio: streams_of(input, AVMEDIA_TYPE_AUDIO).next().is_some(),
            is_progressive: field(layout.field_order) == 1,
            is_reordered: field(layout.video_delay) != 0,
            found: None,
        }
    }

    /// Whether the stream of a file that was opened again looks the same, as far as its header tells.
    pub(super) fn fit(&self, input: &Input) -> bool {
        let stream = self.stream;
        if stream >= input.num_streams() as c_int {
            return false;
        }
        let other = Self::of(input, stream);
        let is_same_size = self.found.is_some() || other.coded_size == self.coded_size;
        is_same_size && (other.codec_id, other.time_base) == (self.codec_id, self.time_base)
    }

    /// Name of the codec.
    pub fn codec(&self) -> &'static str {
        library().map_or("", |library| library.codec_name(self.codec_id))
    }

    /// Whether the header told all.
    pub fn is_by_header(&self) -> bool {
        self.found.is_none()
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

/// The stream of video number `number`, or of the best one where the header tells which that is.
fn choose_clear(input: &Input, number: Option<usize>) -> Option<c_int> {
    match number {
        Some(number) => videos(input).nth(number),
        None => clear_best(input),
    }
}

/// The one video of a file, or the one that has the most pixels and the highest bit rate: of others
/// FFmpeg judges by their first packets too.
fn clear_best(input: &Input) -> Option<c_int> {
    let layout = &input.library.layout;
    let field = |stream, offset| i64::from(parameter(input, stream, offset));
    let merits = |stream: c_int| {
        // SAFETY: a field of a stream that exists
        let disposition: c_int = unsafe { get(input.stream_at(stream), layout.stream.disposition) };
        // SAFETY: a field of its parameters
        let bit_rate: i64 = unsafe { get(input.parameters_of(stream), layout.parameters.bit_rate) };
        let side = layout.parameters;
        (
            disposition,
            field(stream, side.width) * field(stream, side.height),
            bit_rate,
        )
    };
    let best = videos(input).max_by_key(|stream| merits(*stream).1)?;
    let (disposition, pixels, bit_rate) = merits(best);
    let is_behind = |stream: c_int| {
        let other = merits(stream);
        other.0 == disposition && other.1 < pixels && other.2 < bit_rate
    };
    let mut others = streams_of(input, AVMEDIA_TYPE_VIDEO).filter(|stream| *stream != best);
    others.all(is_behind).then_some(best)
}

/// The stream of video number `number`, or of the best one.
fn choose(input: &Input, number: Option<usize>) -> Result<c_int> {
    let fail = |reason: String| Err(Error::media(input.path(), reason));
    let clear = input.is_mp4().then(|| clear_best(input)).flatten();
    let best = clear.unwrap_or_else(|| input.best_stream());
    if best < 0 || number.is_none() && is_cover(input, best) {
        return fail("holds no video".to_owned());
    }
    let Some(number) = number else {
        return Ok(best);
    };
    match videos(input).nth(number) {
        Some(stream) => Ok(stream),
        None => fail(format!(
            "has {} video streams, number {number} was asked for (first is 0)",
            videos(input).count()
        )),
    }
}

/// The streams that are videos, without cover pictures.
fn videos(input: &Input) -> impl Iterator<Item = c_int> {
    streams_of(input, AVMEDIA_TYPE_VIDEO).filter(|stream| !is_cover(input, *stream))
}

fn streams_of(input: &Input, kind: c_int) -> impl Iterator<Item = c_int> {
    (0..input.num_streams() as c_int)
        .filter(move |stream| parameter(input, *stream, PARAMETERS_CODEC_TYPE) == kind)
}

fn is_cover(input: &Input, stream: c_int) -> bool {
    let disposition = input.library.layout.stream.disposition;
    // SAFETY: callers pass a stream that exists
    unsafe { get::<c_int>(input.stream_at(stream), disposition) & AV_DISPOSITION_ATTACHED_PIC != 0 }
}

fn parameter(input: &Input, stream: c_int, offset: usize) -> c_int {
    // SAFETY: callers pass a stream that exists and the offset of a c_int of its parameters
    unsafe { get(input.parameters_of(stream), offset) }
}

/// What the header holds for the decoder.
fn extradata(input: &Input, stream: c_int) -> &[u8] {
    // SAFETY: the parameters are there as long as the input is open
    unsafe { extradata_of(input.parameters_of(stream)) }
}

/// # Safety
/// `parameters` are an `AVCodecParameters` that lives as long as the answer.
unsafe fn extradata_of<'a>(parameters: *const c_void) -> &'a [u8] {
    // SAFETY: the parameters hold so many bytes there
    unsafe {
        let data: *const u8 = get(parameters, PARAMETERS_EXTRADATA);
        let bytes: c_int = get(parameters, PARAMETERS_EXTRADATA_SIZE);
        match usize::try_from(bytes) {
            Ok(bytes) if !data.is_null() => std::slice::from_raw_parts(data, bytes),
            _ => &[],
        }
    }
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
