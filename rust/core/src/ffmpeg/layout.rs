//! Where FFmpeg keeps its public fields, by major version of libavformat; fields that one version
//! moved are in [`Layout`], the others are constants. Taken by `offsetof` from the headers.

use std::ffi::c_void;

/// Byte offsets of the fields that moved between major versions, and the versions of the libraries
/// that belong together.
#[derive(Debug)]
pub(crate) struct Layout {
    pub avformat: u32,
    pub avcodec: u32,
    pub avutil: u32,
    pub swscale: u32,
    pub format: FormatLayout,
    pub stream: StreamLayout,
    pub parameters: ParametersLayout,
    pub decoder: DecoderLayout,
    pub frame: FrameLayout,
}

/// `AVFormatContext`.
#[derive(Debug)]
pub(crate) struct FormatLayout {
    pub flags: usize,
    pub interrupt_callback: usize,
}

/// `AVStream`.
#[derive(Debug)]
pub(crate) struct StreamLayout {
    pub id: usize,
    pub codecpar: usize,
    pub time_base: usize,
    pub disposition: usize,
    pub discard: usize,
}

/// `AVCodecParameters`; side data is here from 61 on, in the stream before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParametersLayout {
    pub width: usize,
    pub height: usize,
    pub bit_rate: usize,
    pub field_order: usize,
    pub video_delay: usize,
    pub side_data: Option<(usize, usize)>,
}

/// `AVCodecContext`.
#[derive(Debug)]
pub(crate) struct DecoderLayout {
    pub pkt_timebase: usize,
    pub thread_count: usize,
}

/// `AVFrame`.
#[derive(Debug)]
pub(crate) struct FrameLayout {
    pub color_range: usize,
    pub colorspace: usize,
    pub chroma_location: usize,
    pub best_effort_timestamp: usize,
    pub flags: usize,
    pub decode_error_flags: usize,
}

// fields at one place in all four versions
pub(crate) const FORMAT_INPUT: usize = 8;
pub(crate) const FORMAT_PB: usize = 32;
pub(crate) const FORMAT_NB_STREAMS: usize = 44;
pub(crate) const FORMAT_STREAMS: usize = 48;
pub(crate) const INPUT_NAME: usize = 0;
pub(crate) const IO_BUFFER: usize = 8;
pub(crate) const IO_BUFFER_READ: usize = 24;
pub(crate) const IO_BUFFER_END: usize = 32;
pub(crate) const ENTRY_POSITION: usize = 0;
pub(crate) const ENTRY_TIME: usize = 8;
/// The two lowest bits are flags, the others the bytes of the packet.
pub(crate) const ENTRY_FLAGS_AND_SIZE: usize = 16;
pub(crate) const PARAMETERS_CODEC_TYPE: usize = 0;
pub(crate) const PARAMETERS_CODEC_ID: usize = 4;
pub(crate) const PARAMETERS_EXTRADATA: usize = 16;
pub(crate) const PARAMETERS_EXTRADATA_SIZE: usize = 24;
pub(crate) const SIDE_DATA_BYTES: usize = 24;
pub(crate) const SIDE_DATA_DATA: usize = 0;
pub(crate) const SIDE_DATA_SIZE: usize = 8;
pub(crate) const SIDE_DATA_TYPE: usize = 16;
pub(crate) const PACKET_PTS: usize = 8;
pub(crate) const PACKET_DTS: usize = 16;
pub(crate) const PACKET_DATA: usize = 24;
pub(crate) const PACKET_SIZE: usize = 32;
pub(crate) const PACKET_STREAM_INDEX: usize = 36;
pub(crate) const PACKET_FLAGS: usize = 40;
pub(crate) const PACKET_DURATION: usize = 64;
pub(crate) const PACKET_POSITION: usize = 72;
pub(crate) const FRAME_DATA: usize = 0;
pub(crate) const FRAME_LINESIZE: usize = 64;
pub(crate) const FRAME_WIDTH: usize = 104;
pub(crate) const FRAME_HEIGHT: usize = 108;
pub(crate) const FRAME_FORMAT: usize = 116;
pub(crate) const FRAME_PTS: usize = 136;

const PARAMETERS_TO_60: ParametersLayout = ParametersLayout {
    width: 56,
    height: 60,
    bit_rate: 32,
    field_order: 72,
    video_delay: 96,
    side_data: None,
};
const PARAMETERS_FROM_61: ParametersLayout = ParametersLayout {
    width: 72,
    height: 76,
    bit_rate: 48,
    field_order: 96,
    video_delay: 120,
    side_data: Some((32, 40)),
};
const FORMAT_TO_60: FormatLayout = FormatLayout {
    flags: 96,
    interrupt_callback: 200,
};
const FORMAT_FROM_61: FormatLayout = FormatLayout {
    flags: 128,
    interrupt_callback: 216,
};
const STREAM_TO_59: StreamLayout = StreamLayout {
    id: 4,
    codecpar: 208,
    time_base: 16,
    disposition: 48,
    discard: 52,
};
const STREAM_FROM_60: StreamLayout = StreamLayout {
    id: 12,
    codecpar: 16,
    time_base: 32,
    disposition: 64,
    discard: 68,
};
const FRAME_TO_60: FrameLayout = FrameLayout {
    color_range: 320,
    colorspace: 332,
    chroma_location: 336,
    best_effort_timestamp: 344,
    flags: 316,
    decode_error_flags: 376,
};

/// FFmpeg 5.1, 6.1, 7.1 and 8.1.
pub(crate) static LAYOUTS: [Layout; 4] = [
    Layout {
        avformat: 59,
        avcodec: 59,
        avutil: 57,
        swscale: 6,
        format: FORMAT_TO_60,
        stream: STREAM_TO_59,
        parameters: PARAMETERS_TO_60,
        decoder: DecoderLayout {
            pkt_timebase: 724,
            thread_count: 636,
        },
        frame: FRAME_TO_60,
    },
    Layout {
        avformat: 60,
        avcodec: 60,
        avutil: 58,
        swscale: 7,
        format: FORMAT_TO_60,
        stream: STREAM_FROM_60,
        parameters: PARAMETERS_TO_60,
        decoder: DecoderLayout {
            pkt_timebase: 716,
            thread_count: 636,
        },
        frame: FRAME_TO_60,
    },
    Layout {
        avformat: 61,
        avcodec: 61,
        avutil: 59,
        swscale: 8,
        format: FORMAT_FROM_61,
        stream: STREAM_FROM_60,
        parameters: PARAMETERS_FROM_61,
        decoder: DecoderLayout {
            pkt_timebase: 92,
            thread_count: 656,
        },
        frame: FrameLayout {
            color_range: 296,
            colorspace: 308,
            chroma_location: 312,
            best_effort_timestamp: 320,
            flags: 292,
            decode_error_flags: 344,
        },
    },
    Layout {
        avformat: 62,
        avcodec: 62,
        avutil: 60,
        swscale: 9,
        format: FORMAT_FROM_61,
        stream: STREAM_FROM_60,
        parameters: PARAMETERS_FROM_61,
        decoder: DecoderLayout {
            pkt_timebase: 92,
            thread_count: 656,
        },
        frame: FrameLayout {
            color_range: 280,
            colorspace: 292,
            chroma_location: 296,
            best_effort_timestamp: 304,
            flags: 276,
            decode_error_flags: 320,
        },
    },
];

/// Reads the field at `offset` of the struct at `base`.
///
/// # Safety
/// `base` points to a live FFmpeg struct that has a field of type `T` at `offset`.
pub(crate) unsafe fn get<T: Copy>(base: *const c_void, offset: usize) -> T {
    // SAFETY: the caller vouches for the field
    unsafe { base.byte_add(offset).cast::<T>().read_unaligned() }
}

/// Writes the field at `offset` of the struct at `base`.
///
/// # Safety
/// As for [`get`], and nobody else uses the struct meanwhile.
pub(crate) unsafe fn set<T: Copy>(base: *mut c_void, offset: usize, value: T) {
    // SAFETY: the caller vouches for the field
    unsafe { base.byte_add(offset).cast::<T>().write_unaligned(value) }
}
