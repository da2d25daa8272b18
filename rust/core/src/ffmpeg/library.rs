//! Finds FFmpeg's libraries, checks that they belong together and takes their functions.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::os::unix::{Library as Dynamic, RTLD_LOCAL, RTLD_NOW};

use super::layout::{LAYOUTS, Layout};

/// `AVRational`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rational {
    pub num: c_int,
    pub den: c_int,
}

pub(crate) type ReadFn = unsafe extern "C" fn(*mut c_void, *mut u8, c_int) -> c_int;
type StreamSideDataFn = unsafe extern "C" fn(*const c_void, c_int, *mut usize) -> *const u8;
pub(crate) type SeekFn = unsafe extern "C" fn(*mut c_void, i64, c_int) -> i64;

macro_rules! functions {
    ($($library:ident { $(fn $name:ident($($arg:ty),*) $(-> $result:ty)?;)* })*) => {
        /// FFmpeg's functions under their own names; structs are `void` pointers.
        #[derive(Debug)]
        #[expect(non_snake_case, reason = "FFmpeg spells them so")]
        pub(crate) struct Functions {
            $($(pub $name: unsafe extern "C" fn($($arg),*) $(-> $result)?,)*)*
        }

        impl Functions {
            fn take(from: &Opened) -> Result<Self, libloading::Error> {
                Ok(Self {
                    $($($name: {
                        let name = concat!(stringify!($name), "\0").as_bytes();
                        // SAFETY: the type is that of FFmpeg's public header, the same in all
                        // major versions that `Layout` knows
                        unsafe { *from.$library.get(name)? }
                    },)*)*
                })
            }
        }
    };
}

functions! {
    avformat {
        fn avformat_alloc_context() -> *mut c_void;
        fn avformat_open_input(*mut *mut c_void, *const c_char, *const c_void, *mut *mut c_void) -> c_int;
        fn av_find_input_format(*const c_char) -> *const c_void;
        fn avformat_find_stream_info(*mut c_void, *mut *mut c_void) -> c_int;
        fn avformat_close_input(*mut *mut c_void);
        fn av_find_best_stream(*mut c_void, c_int, c_int, c_int, *mut *const c_void, c_int) -> c_int;
        fn av_read_frame(*mut c_void, *mut c_void) -> c_int;
        fn av_seek_frame(*mut c_void, c_int, i64, c_int) -> c_int;
        fn avformat_index_get_entries_count(*const c_void) -> c_int;
        fn avformat_index_get_entry(*mut c_void, c_int) -> *const c_void;
        fn avio_alloc_context(*mut u8, c_int, c_int, *mut c_void, Option<ReadFn>, Option<ReadFn>, Option<SeekFn>) -> *mut c_void;
        fn avio_context_free(*mut *mut c_void);
    }
    avcodec {
        fn avcodec_find_decoder(c_int) -> *const c_void;
        fn avcodec_get_name(c_int) -> *const c_char;
        fn avcodec_alloc_context3(*const c_void) -> *mut c_void;
        fn avcodec_parameters_alloc() -> *mut c_void;
        fn avcodec_parameters_copy(*mut c_void, *const c_void) -> c_int;
        fn avcodec_parameters_free(*mut *mut c_void);
        fn avcodec_parameters_to_context(*mut c_void, *const c_void) -> c_int;
        fn avcodec_open2(*mut c_void, *const c_void, *mut *mut c_void) -> c_int;
        fn avcodec_free_context(*mut *mut c_void);
        fn avcodec_send_packet(*mut c_void, *const c_void) -> c_int;
        fn avcodec_receive_frame(*mut c_void, *mut c_void) -> c_int;
        fn avcodec_flush_buffers(*mut c_void);
        fn av_packet_alloc() -> *mut c_void;
        fn av_packet_free(*mut *mut c_void);
        fn av_packet_unref(*mut c_void);
    }
    avutil {
        fn av_malloc(usize) -> *mut c_void;
        fn av_freep(*mut c_void);
        fn av_frame_alloc() -> *mut c_void;
        fn av_frame_free(*mut *mut c_void);
        fn av_dict_set(*mut *mut c_void, *const c_char, *const c_char, c_int) -> c_int;
        fn av_dict_free(*mut *mut c_void);
        fn av_log_set_level(c_int);
        fn av_strerror(c_int, *mut c_char, usize) -> c_int;
        fn av_opt_set_int(*mut c_void, *const c_char, i64, c_int) -> c_int;
        fn av_get_pix_fmt(*const c_char) -> c_int;
        fn av_get_pix_fmt_name(c_int) -> *const c_char;
    }
    swscale {
        fn sws_alloc_context() -> *mut c_void;
        fn sws_init_context(*mut c_void, *mut c_void, *mut c_void) -> c_int;
        fn sws_freeContext(*mut c_void);
        fn sws_getCoefficients(c_int) -> *const c_int;
        fn sws_setColorspaceDetails(*mut c_void, *const c_int, c_int, *const c_int, c_int, c_int, c_int, c_int) -> c_int;
        fn sws_scale(*mut c_void, *const *const u8, *const c_int, c_int, c_int, *const *mut u8, *const c_int) -> c_int;
    }
}

/// FFmpeg, opened once and never closed.
#[derive(Debug)]
pub(crate) struct Library {
    pub call: Functions,
    pub layout: &'static Layout,
    /// Full versions of libavformat and libavcodec.
    pub versions: [u32; 2],
    /// `av_stream_get_side_data`, which is gone where side data is in the codec parameters.
    pub stream_side_data: Option<StreamSideDataFn>,
    /// Keeps the libraries mapped as long as `call` is in use.
    _opened: Opened,
    /// What those need, where they can't find it themselves.
    _beside: Vec<Dynamic>,
}

#[derive(Debug)]
struct Opened {
    avutil: Dynamic,
    avcodec: Dynamic,
    avformat: Dynamic,
    swscale: Dynamic,
}

const AV_LOG_QUIET: c_int = -8;

static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();

/// Opens FFmpeg from `folder` (the one inside the `av` wheel), else from the system. The first call
/// decides; later ones repeat its answer. The error says why there is none.
pub fn open(folder: Option<&Path>) -> Result<(), String> {
    LIBRARY
        .get_or_init(|| find(folder))
        .as_ref()
        .map(drop)
        .map_err(Clone::clone)
}

/// The opened FFmpeg.
pub(crate) fn library() -> Result<&'static Library, String> {
    match LIBRARY.get() {
        Some(Ok(library)) => Ok(library),
        Some(Err(reason)) => Err(reason.clone()),
        None => Err("FFmpeg was not opened".to_owned()),
    }
}

impl Library {
    /// FFmpeg's words for one of its error codes.
    pub fn error_text(&self, code: c_int) -> String {
        let mut text: [c_char; 128] = [0; 128];
        // SAFETY: av_strerror writes at most 128 bytes, the last one a zero
        unsafe {
            (self.call.av_strerror)(code, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
        }
    }

    /// Name of a pixel format; its number differs between versions.
    pub fn pixel_format_name(&self, format: c_int) -> &'static str {
        // SAFETY: FFmpeg answers with null or with a string that is never freed
        unsafe {
            let name = (self.call.av_get_pix_fmt_name)(format);
            if name.is_null() {
                ""
            } else {
                CStr::from_ptr(name).to_str().unwrap_or("")
            }
        }
    }

    /// Name of a codec.
    pub fn codec_name(&self, codec_id: c_int) -> &'static str {
        // SAFETY: FFmpeg answers with a string that is never freed
        unsafe {
            CStr::from_ptr((self.call.avcodec_get_name)(codec_id))
                .to_str()
                .unwrap_or("")
        }
    }
}

fn find(folder: Option<&Path>) -> Result<Library, String> {
    let mut reasons = Vec::new();
    if let Some(folder) = folder {
        match in_folder(folder) {
            Ok(library) => return Ok(library),
            Err(reason) => reasons.push(format!("{}: {reason}", folder.display())),
        }
    }
    for layout in LAYOUTS.iter().rev() {
        match Opened::open(&sonames(layout)).and_then(|opened| take(opened, Vec::new())) {
            Ok(library) => return Ok(library),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(format!(
        "no FFmpeg 5.1 to 8 could be opened ({})",
        reasons.join("; ")
    ))
}

const NAMES: [&str; 4] = ["avutil", "avcodec", "avformat", "swscale"];

fn sonames(layout: &Layout) -> Vec<PathBuf> {
    let versions = [
        layout.avutil,
        layout.avcodec,
        layout.avformat,
        layout.swscale,
    ];
    let name = |(name, version): (&str, u32)| PathBuf::from(format!("lib{name}.so.{version}"));
    NAMES.into_iter().zip(versions).map(name).collect()
}

/// FFmpeg of a folder that holds all it needs, as the one inside the `av` wheel.
fn in_folder(folder: &Path) -> Result<Library, String> {
    let files = fs::read_dir(folder).map_err(|e| e.to_string())?;
    let files: Vec<PathBuf> = files.filter_map(Result::ok).map(|f| f.path()).collect();
    let paths = named(&files)?;
    if let Ok(opened) = Opened::open(&paths) {
        return take(opened, Vec::new());
    }
    // the libraries of av 17 and before do not know where they lie
    let beside = open_in_rounds(files);
    take(Opened::open(&paths)?, beside)
}

/// Opens each library after those that it needs: again and again, until no more can be opened.
fn open_in_rounds(mut waiting: Vec<PathBuf>) -> Vec<Dynamic> {
    let mut opened = Vec::new();
    loop {
        let before = opened.len();
        waiting.retain(|path| match dlopen(path) {
            Ok(library) => {
                opened.push(library);
                false
            }
            Err(_) => true,
        });
        if opened.len() == before {
            return opened;
        }
    }
}

/// The four libraries among the files; the wheel's carry a hash in their names.
fn named(files: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let named = |name: &&str| {
        let prefix = format!("lib{name}-");
        let is_it = |p: &&PathBuf| {
            p.file_name()
                .and_then(|n| n.to_str())
                .is_some_and(|n| n.starts_with(&prefix))
        };
        files
            .iter()
            .find(is_it)
            .cloned()
            .ok_or(format!("no lib{name}"))
    };
    NAMES.iter().map(named).collect()
}

impl Opened {
    fn open(paths: &[PathBuf]) -> Result<Self, String> {
        let [avutil, avcodec, avformat, swscale] = paths else {
            return Err("a library is missing".to_owned());
        };
        Ok(Self {
            avutil: dlopen(avutil)?,
            avcodec: dlopen(avcodec)?,
            avformat: dlopen(avformat)?,
            swscale: dlopen(swscale)?,
        })
    }
}

fn take(opened: Opened, beside: Vec<Dynamic>) -> Result<Library, String> {
    let layout = matching_layout(&opened)?;
    let call = Functions::take(&opened).map_err(|e| e.to_string())?;
    // SAFETY: sets one int; FFmpeg's own lines would go to the terminal of whoever embeds us
    unsafe { (call.av_log_set_level)(AV_LOG_QUIET) };
    // SAFETY: the type is that of the public headers of 5.1 and 6.1
    let stream_side_data = unsafe { opened.avformat.get(b"av_stream_get_side_data\0") };
    let stream_side_data = stream_side_data.ok().map(|function| *function);
    let versions = [
        version(&opened.avformat, b"avformat_version\0")?,
        version(&opened.avcodec, b"avcodec_version\0")?,
    ];
    Ok(Library {
        call,
        layout,
        versions,
        stream_side_data,
        _opened: opened,
        _beside: beside,
    })
}

fn dlopen(path: &Path) -> Result<Dynamic, String> {
    // SAFETY: FFmpeg's libraries have no initialisers with preconditions
    unsafe { Dynamic::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| e.to_string())
}

fn matching_layout(opened: &Opened) -> Result<&'static Layout, String> {
    let avformat = major(&opened.avformat, b"avformat_version\0")?;
    let avcodec = major(&opened.avcodec, b"avcodec_version\0")?;
    let avutil = major(&opened.avutil, b"avutil_version\0")?;
    let swscale = major(&opened.swscale, b"swscale_version\0")?;
    let found = (avformat, avcodec, avutil, swscale);
    let layouts = LAYOUTS.iter();
    let mut fitting = layouts.filter(|l| (l.avformat, l.avcodec, l.avutil, l.swscale) == found);
    fitting.next().ok_or(format!(
        "libavformat {avformat}, libavcodec {avcodec}, libavutil {avutil} and libswscale {swscale} \
         are not of one known FFmpeg"
    ))
}

fn major(library: &Dynamic, name: &[u8]) -> Result<u32, String> {
    version(library, name).map(|version| version >> 16)
}

fn version(library: &Dynamic, name: &[u8]) -> Result<u32, String> {
    // SAFETY: every FFmpeg library exports `unsigned xxx_version(void)`
    let version = unsafe {
        library
            .get::<unsafe extern "C" fn() -> c_uint>(name)
            .map(|version| version())
    };
    version.map_err(|e| e.to_string())
}
