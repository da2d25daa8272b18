//! A decoder of one stream: packets in, frames out.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::handle::{Frame, Options, Packet, most_pixels};
use super::input::Input;
use super::layout::set;
use super::library::Library;
use crate::{Error, Result};

const AVERROR_EAGAIN: c_int = -11;
const AVERROR_EOF: c_int = -541_478_725;
const AVERROR_OPTION_NOT_FOUND: c_int = -1_414_549_496;
const AVDISCARD_DEFAULT: i64 = 0;
const AVDISCARD_NONREF: i64 = 8;

/// What came of asking for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The frame is filled.
    Frame,
    /// Another packet is needed first.
    NeedsPacket,
    /// The packet is damaged: no frame of it.
    Damaged,
    /// All frames are out.
    End,
}

/// How a decoder is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Threads of its own.
    pub threads: usize,
    /// How many times smaller it makes the frames: 1, or with MJPEG a power of two up to 8.
    pub scale: usize,
}

impl Settings {
    /// One thread, frames as they are.
    pub const PLAIN: Self = Self {
        threads: 1,
        scale: 1,
    };
}

/// An `AVCodecContext`.
pub(crate) struct Decoder {
    library: &'static Library,
    context: *mut c_void,
    is_skipping: bool,
}

// SAFETY: FFmpeg's contexts belong to no thread, and `&mut` lets one thread use them at a time
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder for the video of `input`.
    pub fn open(input: &Input, settings: Settings) -> Result<Self> {
        let library = input.library;
        let fail = |reason: String| Error::media(input.path(), reason);
        // SAFETY: the codec is null or static; the context is ours, freed by `Drop`
        let mut decoder = unsafe {
            let codec = (library.call.avcodec_find_decoder)(input.facts.codec_id);
            if codec.is_null() {
                return Err(fail(format!(
                    "FFmpeg has no decoder for {}",
                    input.facts.codec()
                )));
            }
            (
                Self {
                    library,
                    context: (library.call.avcodec_alloc_context3)(codec),
                    is_skipping: false,
                },
                codec,
            )
        };
        let (this, codec) = (&mut decoder.0, decoder.1);
        if this.context.is_null() {
            return Err(fail("no memory for a decoder".to_owned()));
        }
        let layout = &library.layout.decoder;
        let mut options = Options::new(library, &[(c"max_pixels", &most_pixels())]);
        // SAFETY: context, parameters and codec belong together; the fields are set before opening
        let code = unsafe {
            let copied =
                (library.call.avcodec_parameters_to_context)(this.context, input.parameters());
            set(this.context, layout.pkt_timebase, input.facts.time_base);
            set(
                this.context,
                layout.thread_count,
                settings.threads.clamp(1, 64) as c_int,
            );
            let lowres = i64::from(settings.scale.trailing_zeros());
            let set_option = library.call.av_opt_set_int;
            if copied < 0 {
                copied
            } else if set_option(this.context, c"lowres".as_ptr(), lowres, 0) < 0 {
                AVERROR_OPTION_NOT_FOUND
            } else {
                (library.call.avcodec_open2)(this.context, codec, &raw mut options.list)
            }
        };
        if code < 0 {
            return Err(fail(library.error_text(code)));
        }
        Ok(decoder.0)
    }

    /// Gives the decoder a packet, or with `None` the end of the stream. `false`: the packet is
    /// damaged or frames must be taken first.
    pub fn send(&mut self, packet: Option<&Packet>) -> bool {
        let packet = packet.map_or(ptr::null_mut(), Packet::as_ptr);
        // SAFETY: the decoder is open; it copies or references the packet
        unsafe { (self.library.call.avcodec_send_packet)(self.context, packet) >= 0 }
    }

    /// From the next packet on, leaves out frames that no other frame needs.
    pub fn skip_non_reference(&mut self, is_skipping: bool) {
        if is_skipping == self.is_skipping {
            return;
        }
        let discard = if is_skipping {
            AVDISCARD_NONREF
        } else {
            AVDISCARD_DEFAULT
        };
        // SAFETY: the context begins with its class, where the option is found
        let code = unsafe {
            let set = self.library.call.av_opt_set_int;
            set(self.context, c"skip_frame".as_ptr(), discard, 0)
        };
        if code >= 0 {
            self.is_skipping = is_skipping;
        }
    }

    /// Takes the next frame in display order.
    pub fn receive(&mut self, frame: &mut Frame) -> Received {
        // SAFETY: the decoder is open; FFmpeg empties the frame before it fills it
        match unsafe { (self.library.call.avcodec_receive_frame)(self.context, frame.as_ptr()) } {
            0.. => Received::Frame,
            AVERROR_EAGAIN => Received::NeedsPacket,
            AVERROR_EOF => Received::End,
            _ => Received::Damaged,
        }
    }

    /// Forgets all packets and frames, as after a seek.
    pub fn flush(&mut self) {
        // SAFETY: the decoder is open
        unsafe { (self.library.call.avcodec_flush_buffers)(self.context) };
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: frees the context, which may be null
        unsafe { (self.library.call.avcodec_free_context)(&raw mut self.context) };
    }
}
