//! Any pixels as a GIF: up to 256 colours come back exactly, more of them come back in their number.
#![no_main]

use std::collections::HashSet;
use std::fs;
use std::iter;
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
    let [height, width, colors, flags, choices, lossy, pixels @ ..] = data else {
        return;
    };
    let (height, width) = (usize::from(height % 24) + 1, usize::from(width % 24) + 1);
    let channels = [3, 4, 1, 3][usize::from(flags & 3)];
    let frames = pixels.len() / (height * width * channels);
    let pixels = &pixels[..frames * height * width * channels];
    let options = Options {
        quality: [Quality::Fast, Quality::Good, Quality::Best][usize::from(choices % 3)],
        colors: usize::from(*colors) + 1,
        dither: [
            Dither::None,
            Dither::Diffusion,
            Dither::Ordered,
            Dither::BlueNoise,
        ][usize::from(choices / 3 % 4)],
        palette: [
            PaletteScope::Global,
            PaletteScope::Scene,
            PaletteScope::Local,
        ][usize::from(choices / 12 % 3)],
        // half of all files keep every pixel that fits
        lossy: lossy.saturating_sub(127),
        repeat: (flags & 8 != 0).then_some(u16::from(flags >> 4)),
        threads: 1 + usize::from(choices / 36 % 3),
    };
    let Ok(clip) = ClipView::new(pixels, [frames, height, width, channels]) else {
        return;
    };
    let delays: Vec<u16> = (0..frames).map(|i| i as u16 * 997).collect();
    let Ok(bytes) = encode(&clip, &delays, &options) else {
        return;
    };
    assert!(fs::write(&*PATH, bytes).is_ok());
    let (file, shown) =
        match GifFile::open(&PATH).and_then(|file| Ok((file.read(options.threads)?, file))) {
            Ok((shown, file)) => (file, shown),
            Err(error) => panic!("{error}"),
        };
    assert_eq!(
        (file.shape(), file.delays()),
        ([frames, height, width], delays.clone())
    );
    // of four channels transparent pixels take an entry and come back black
    let distinct: HashSet<&[u8]> = pixels.chunks_exact(channels).collect();
    if channels != 4 && options.lossy == 0 && distinct.len() <= options.colors {
        let wanted = pixels
            .iter()
            .flat_map(|level| iter::repeat_n(*level, 3 / channels));
        assert!(shown.iter().copied().eq(wanted));
    }
});
