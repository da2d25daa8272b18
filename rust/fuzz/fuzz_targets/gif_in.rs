//! Any bytes as a GIF file: frames of the size that the header says, or an error.
#![no_main]

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use fastvd_core::limits::{self, Limits};
use fastvd_core::source::gif::GifFile;
use libfuzzer_sys::fuzz_target;

/// A file in memory: the reader takes paths.
static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/fastvd-fuzz-{}.gif", std::process::id())));

/// Larger clips would only measure how fast memory is filled.
const LIMITS: Limits = Limits {
    max_side: 8192,
    max_pixels: 64_000_000,
    max_frames: 100_000,
    max_clip_bytes: 1 << 24,
    max_gif_frames: 100_000,
    max_gif_bytes: 1 << 24,
    open_timeout: Duration::MAX,
};

fuzz_target!(|data: &[u8]| {
    limits::set(&LIMITS);
    let written = File::create(&*PATH).and_then(|mut file| file.write_all(data));
    assert!(written.is_ok());
    if let Ok(file) = GifFile::open(&PATH) {
        let [frames, height, width] = file.shape();
        let bytes = frames * height * width * 3;
        assert!(frames > 0 && frames == file.delays().len());
        if let Ok(clip) = file.read(1 + data.len() % 3) {
            assert_eq!(clip.len(), bytes);
        }
    }
    fs::remove_file(&*PATH).ok();
});
