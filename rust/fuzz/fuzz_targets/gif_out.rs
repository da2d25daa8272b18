//! Any pixels as a GIF: up to 256 colours come back exactly, more of them come back in their number.
#![no_main]

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use fastvd_core::gif::{ClipView, Dither, Options, PaletteScope, Quality, encode};
use fastvd_core::limits::{self, Limits};
use fastvd_core::source::gif::GifFile;
use libfuzzer_sys::fuzz_target;

static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/fastvd-fuzz-{}.gif", std::process::id())));

/// What the target writes is small.
const LIMITS: Limits = Limits {
    max_side: 24,
    max_pixels: 24 * 24,
    max_frames: usize::MAX,
    max_clip_bytes: usize::MAX,
    max_gif_frames: usize::MAX,
    max_gif_bytes: usize::MAX,
    open_timeout: Duration::MAX,
};

fuzz_target!(|data: &[u8]| {
    limits::set(&LIMITS);
    let [height, width, colors, flags, pixels @ ..] = data else {
        return;
    };
    let (height, width) = (usize::from(height % 24) + 1, usize::from(width % 24) + 1);
    let channels = if flags & 1 == 0 { 3 } else { 4 };
    let frames = pixels.len() / (height * width * channels);
    let pixels = &pixels[..frames * height * width * channels];
    let options = Options {
        quality: Quality::Good,
        colors: usize::from(*colors) + 1,
        dither: if flags & 2 == 0 { Dither::None } else { Dither::Diffusion },
        palette: if flags & 4 == 0 { PaletteScope::Global } else { PaletteScope::Local },
        lossy: 0,
        threads: 1,
        repeat: (flags & 8 != 0).then_some(u16::from(flags >> 4)),
    };
    let Ok(clip) = ClipView::new(pixels, [frames, height, width, channels]) else {
        return;
    };
    let delays: Vec<u16> = (0..frames).map(|i| i as u16 * 997).collect();
    let Ok(bytes) = encode(&clip, &delays, &options) else {
        return;
    };
    assert!(fs::write(&*PATH, bytes).is_ok());
    let (file, shown) = match GifFile::open(&PATH).and_then(|file| Ok((file.read(1)?, file))) {
        Ok((shown, file)) => (file, shown),
        Err(error) => panic!("{error}"),
    };
    assert_eq!((file.shape(), file.delays()), ([frames, height, width], delays));
    // of four channels transparent pixels take an entry and come back black
    let distinct: HashSet<[u8; 3]> = pixels.as_chunks().0.iter().copied().collect();
    if channels == 3 && distinct.len() <= options.colors {
        assert_eq!(shown, pixels);
    }
});
