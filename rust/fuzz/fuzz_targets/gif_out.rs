//! Any pixels as a GIF: up to 256 colours come back exactly, more of them come back in their number.
#![no_main]

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use fastvd_core::gif::{ClipView, Options, PaletteScope, encode};
use fastvd_core::source::gif::GifFile;
use libfuzzer_sys::fuzz_target;

static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/fastvd-fuzz-{}.gif", std::process::id())));

fuzz_target!(|data: &[u8]| {
    let [height, width, colors, flags, pixels @ ..] = data else {
        return;
    };
    let (height, width) = (usize::from(height % 24) + 1, usize::from(width % 24) + 1);
    let channels = if flags & 1 == 0 { 3 } else { 4 };
    let frames = pixels.len() / (height * width * channels);
    let pixels = &pixels[..frames * height * width * channels];
    let options = Options {
        colors: usize::from(*colors) + 1,
        dither: flags & 2 != 0,
        palette: if flags & 4 == 0 { PaletteScope::Global } else { PaletteScope::Local },
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
    let (file, shown) = match GifFile::open(&PATH).and_then(|file| Ok((file.read()?, file))) {
        Ok((shown, file)) => (file, shown),
        Err(error) => panic!("{error}"),
    };
    assert_eq!((file.shape(), file.delays()), ([frames, height, width], &delays[..]));
    // of four channels transparent pixels take an entry and come back black
    let distinct: HashSet<[u8; 3]> = pixels.as_chunks().0.iter().copied().collect();
    if channels == 3 && distinct.len() <= options.colors {
        assert_eq!(shown, pixels);
    }
});
