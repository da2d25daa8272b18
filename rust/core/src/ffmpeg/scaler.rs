//! Colour conversion to packed 8-bit RGB by swscale, at the frame's own size.

use std::ffi::{CStr, c_int, c_void};
use std::path::Path;
use std::ptr;

use super::handle::Frame;
use super::library::Library;
use crate::convert::Image;
use crate::{Error, Result};

// bilinear, full chroma in and out, accurate rounding, bit-exact; the Python twin asks for the same
const FLAGS: i64 = 0x2 | 0x2000 | 0x4000 | 0x40000 | 0x80000;

const AVCOL_SPC_BT2020_NCL: c_int = 9;
const AVCOL_SPC_BT2020_CL: c_int = 10;
const SWS_CS_ITU601: c_int = 5;

/// Bytes that swscale may write past the end of a row.
const SLACK: usize = 64;

/// A picture of `channels` bytes a pixel (RGB or RGBA), rows `stride` bytes apart.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub bytes: Vec<u8>,
    pub stride: usize,
    pub channels: usize,
    pub width: usize,
    pub height: usize,
}

/// What a `SwsContext` was made for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Setting {
    format: c_int,
    size: (usize, usize),
    colorspace: c_int,
    chroma_location: c_int,
    is_full_range: bool,
}

/// A `SwsContext`, made anew when the frames change.
#[derive(Default)]
pub(crate) struct Scaler {
    made: Option<(Context, Setting)>,
    picture: Picture,
}

struct Context {
    library: &'static Library,
    context: *mut c_void,
}

// SAFETY: the context belongs to no thread, and `&mut` lets one thread use it at a time
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: frees the context, which may be null
        unsafe { (self.library.call.sws_freeContext)(self.context) };
    }
}

/// Whether frames of this pixel format carry transparency.
fn has_alpha(format: &str) -> bool {
    let packed = ["rgba", "bgra", "argb", "abgr", "ayuv", "vuya", "uyva"];
    format.starts_with("yuva")
        || format.starts_with("gbrap")
        || format.starts_with("ya8")
        || format.starts_with("ya16")
        || packed.iter().any(|p| format.starts_with(p))
}

impl Scaler {
    /// The frame in RGB, or in RGBA if it has alpha. The picture is good until the next call.
    pub fn convert(&mut self, path: &Path, frame: &Frame) -> Result<&Picture> {
        let name = frame.format_name();
        let setting = Setting {
            format: frame.format(),
            size: frame.size(),
            colorspace: frame.colorspace(),
            chroma_location: frame.chroma_location(),
            is_full_range: frame.is_full_range() || name.starts_with("yuvj"),
        };
        let channels = if has_alpha(name) { 4 } else { 3 };
        if self.made.as_ref().is_none_or(|(_, made)| *made != setting) {
            self.made = Some((make(path, frame.library, setting, channels)?, setting));
        }
        let (width, height) = setting.size;
        self.picture.fit(path, width, height, channels)?;
        let Some((context, _)) = &self.made else {
            return Err(Error::media(path, "no colour conversion"));
        };
        let (planes, strides) = frame.planes();
        let picture = &mut self.picture;
        let to = [
            picture.bytes.as_mut_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
        ];
        let to_strides = [picture.stride as c_int, 0, 0, 0];
        // SAFETY: the frame's planes are as its format and size say; `bytes` has `height` rows of
        // `stride` bytes and slack for vector stores behind the last
        let rows = unsafe {
            let scale = context.library.call.sws_scale;
            let (from, from_strides) = (planes.as_ptr(), strides.as_ptr());
            scale(
                context.context,
                from,
                from_strides,
                0,
                height as c_int,
                to.as_ptr(),
                to_strides.as_ptr(),
            )
        };
        if usize::try_from(rows) != Ok(height) {
            return Err(Error::media(
                path,
                format!("colours of {name} can't be converted"),
            ));
        }
        Ok(&self.picture)
    }
}

impl Picture {
    /// The picture's bytes and size; `stride` is in bytes, whatever the channels.
    pub fn as_image(&self) -> Image<'_> {
        let (stride, height, width) = (self.stride, self.height, self.width);
        Image {
            bytes: &self.bytes,
            stride,
            height,
            width,
        }
    }

    fn fit(&mut self, path: &Path, width: usize, height: usize, channels: usize) -> Result<()> {
        let stride = (width * channels).next_multiple_of(SLACK);
        let bytes = stride * height + SLACK;
        if self.bytes.len() < bytes {
            let more = bytes - self.bytes.len();
            let reserved = self.bytes.try_reserve_exact(more);
            reserved.map_err(|_| Error::media(path, "no memory for a frame"))?;
            self.bytes.resize(bytes, 0);
        }
        (self.stride, self.channels, self.width, self.height) = (stride, channels, width, height);
        Ok(())
    }
}

fn make(path: &Path, library: &'static Library, from: Setting, channels: usize) -> Result<Context> {
    let name = library.pixel_format_name(from.format);
    let fail = || Error::media(path, format!("pixel format {name:?} can't be converted"));
    let call = &library.call;
    // SAFETY: no arguments; the context is freed by its owner
    let context = unsafe { (call.sws_alloc_context)() };
    let context = Context { library, context };
    if context.context.is_null() {
        return Err(fail());
    }
    for (option, value) in options(library, from, name, channels) {
        // SAFETY: sws contexts have these options; FFmpeg checks the values
        if unsafe { (call.av_opt_set_int)(context.context, option.as_ptr(), value, 0) } < 0 {
            return Err(fail());
        }
    }
    // an untagged stream is BT.601, whatever its size
    let matrix = match from.colorspace {
        1 | 4..=7 | AVCOL_SPC_BT2020_NCL => from.colorspace,
        AVCOL_SPC_BT2020_CL => AVCOL_SPC_BT2020_NCL,
        _ => SWS_CS_ITU601,
    };
    let full = c_int::from(from.is_full_range);
    let null = ptr::null_mut();
    // SAFETY: all options are set; the coefficients are static
    let code = unsafe {
        let code = (call.sws_init_context)(context.context, null, null);
        if code >= 0 {
            let coefficients = (call.sws_getCoefficients)(matrix);
            let set = call.sws_setColorspaceDetails;
            // RGB has no such details: the answer -1 is no error
            set(
                context.context,
                coefficients,
                full,
                coefficients,
                1,
                0,
                1 << 16,
                1 << 16,
            );
        }
        code
    };
    if code < 0 { Err(fail()) } else { Ok(context) }
}

fn options(
    library: &Library,
    from: Setting,
    name: &str,
    channels: usize,
) -> impl Iterator<Item = (&'static CStr, i64)> {
    let target: &CStr = if channels == 4 { c"rgba" } else { c"rgb24" };
    // SAFETY: a C string
    let to = unsafe { (library.call.av_get_pix_fmt)(target.as_ptr()) };
    let (width, height) = (from.size.0 as i64, from.size.1 as i64);
    let (across, down) = chroma_position(name, from.chroma_location);
    [
        (c"srcw", Some(width)),
        (c"srch", Some(height)),
        (c"dstw", Some(width)),
        (c"dsth", Some(height)),
        (c"src_format", Some(from.format.into())),
        (c"dst_format", Some(to.into())),
        (c"sws_flags", Some(FLAGS)),
        (c"src_h_chr_pos", across),
        (c"src_v_chr_pos", down),
    ]
    .into_iter()
    .filter_map(|(option, value)| Some((option, value?)))
}

/// Where chroma samples lie, across and down, in 256ths of a luma pixel; `None` is swscale's centre.
fn chroma_position(format: &str, location: c_int) -> (Option<i64>, Option<i64>) {
    let is_420 = ["420", "nv12", "nv21", "p010", "p012", "p016"]
        .iter()
        .any(|n| format.contains(n));
    let is_422 = ["422", "411", "nv16", "nv20", "p210", "p216"]
        .iter()
        .any(|n| format.contains(n));
    let (across, down) = match location {
        1 => (0, 128),
        2 => (128, 128),
        3 => (0, 0),
        4 => (128, 0),
        5 => (0, 256),
        6 => (128, 256),
        _ => return (None, None),
    };
    ((is_420 || is_422).then_some(across), is_420.then_some(down))
}
