//! Hostile GIF files: each ends in frames or in one error that names the file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod limits;

use std::fs;
use std::path::PathBuf;

use fastvd_core::Error;
use fastvd_core::gif::{ClipView, Dither, Options, PaletteScope, Quality, encode};
use fastvd_core::source::gif::GifFile;

/// Numbers that look random and are the same in every run.
fn numbers(len: usize, below: u32) -> Vec<usize> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    (0..len).map(step).map(|n| n as usize).collect()
}

/// Writes the bytes to a file of that name and opens it.
fn reopen(name: &str, bytes: &[u8]) -> fastvd_core::Result<GifFile> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    limits::set();
    GifFile::open(&path)
}

/// Two frames of 50 colours, 20 x 20.
fn sound() -> Vec<u8> {
    let color = |n: usize| [(n * 7 % 256) as u8, n as u8, n as u8];
    let pixels: Vec<u8> = numbers(2 * 400, 50).into_iter().flat_map(color).collect();
    let view = ClipView::new(&pixels, [2, 20, 20, 3]).unwrap();
    let options = Options {
        quality: Quality::Good,
        colors: 256,
        dither: Dither::None,
        palette: PaletteScope::Global,
        lossy: 0,
        repeat: Some(0),
        threads: 1,
    };
    encode(&view, &[5; 2], &options).unwrap()
}

#[test]
fn damaged_files_are_refused_or_read_but_never_hang() {
    let sound = sound();
    for cut in 0..sound.len() - 1 {
        let read = reopen("cut.gif", &sound[..cut]).and_then(|file| file.read(2));
        let frames = read.as_ref().map_or(0, |frames| frames.len() / 1200);
        assert!(
            frames < 2 && !matches!(read, Err(Error::Io { .. })),
            "{cut} {frames}"
        );
    }
    for (place, value) in numbers(300, sound.len() as u32)
        .iter()
        .zip(numbers(300, 256))
    {
        let mut bytes = sound.clone();
        bytes[*place] = value as u8;
        if let Err(error) = reopen("flip.gif", &bytes).and_then(|file| file.read(2)) {
            assert!(matches!(error, Error::Media { .. }), "{error}");
        }
    }
}

#[test]
fn claimed_pixels_without_data_cost_no_memory() {
    // as many pixels as a GIF may have, in four bytes a frame
    let side = (limits::MAX_SIDE as u16).to_le_bytes();
    let mut bytes = [&b"GIF89a"[..], &side, &side, b"\0\0\0"].concat();
    for _ in 0..limits::MAX_SQUARES {
        bytes.extend([&b",\0\0\0\0"[..], &side, &side, b"\0\x02\x02\x4c\x01\0"].concat());
    }
    let error = reopen("claim.gif", &bytes)
        .and_then(|file| file.read(2))
        .unwrap_err();
    assert!(error.to_string().contains("frame 0"), "{error}");
}

/// A file of frames of one white pixel in the corner of a square canvas.
fn dots(name: &str, side: usize, frames: usize) -> fastvd_core::Result<GifFile> {
    let side = (side as u16).to_le_bytes();
    let header = [&b"GIF89a"[..], &side, &side, b"\x80\0\0\0\0\0\xff\xff\xff"].concat();
    let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0";
    reopen(name, &[header, frame.repeat(frames)].concat())
}

#[test]
fn side_is_limited() {
    assert!(dots("side.gif", limits::MAX_SIDE, 1).is_ok());
    let error = dots("side.gif", limits::MAX_SIDE + 1, 1).unwrap_err();
    assert!(
        error.to_string().contains("frame size 4097x4097"),
        "{error}"
    );
}

#[test]
fn decoded_size_is_limited() {
    let read = |frames| dots("large.gif", limits::MAX_SIDE, frames).and_then(|file| file.read(2));
    assert!(read(limits::MAX_SQUARES).is_ok());
    let error = read(limits::MAX_SQUARES + 1).unwrap_err();
    assert!(error.to_string().contains("above the limit"), "{error}");
}

#[test]
fn number_of_frames_is_limited() {
    let file = |frames| dots("frames.gif", 1, frames);
    let frames = file(limits::MAX_GIF_FRAMES).unwrap().read(2).unwrap();
    assert_eq!(frames, [255; 3].repeat(limits::MAX_GIF_FRAMES));
    let error = file(limits::MAX_GIF_FRAMES + 1).unwrap_err();
    assert!(error.to_string().contains("more than 1000 frames"));
}

#[test]
fn data_that_ends_early_is_refused() {
    // a clear code, one pixel, the end code; four pixels are missing
    let mut bytes = b"GIF89a\x05\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x05\0\x01\0\0".to_vec();
    bytes.extend([2, 2, 0b0100_0100, 0b0000_0001, 0, b';']);
    let error = reopen("early.gif", &bytes)
        .and_then(|file| file.read(2))
        .unwrap_err();
    assert!(error.to_string().contains("frame 0"), "{error}");
}
