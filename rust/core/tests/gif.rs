//! Clips through the encoder and back through the decoder.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::PathBuf;

use fastvd_core::Error;
use fastvd_core::gif::{ClipView, Options, PaletteScope, encode};
use fastvd_core::source::gif::GifFile;

const SCOPES: [PaletteScope; 2] = [PaletteScope::Global, PaletteScope::Local];

fn options(palette: PaletteScope) -> Options {
    Options {
        colors: 256,
        dither: true,
        palette,
        repeat: Some(0),
    }
}

/// Numbers that look random and are the same in every run.
fn numbers(len: usize, below: u32) -> Vec<usize> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    (0..len).map(step).map(|n| n as usize).collect()
}

/// Random pixels of `colors` greys and reds.
fn clip(pixels: usize, colors: u32) -> Vec<u8> {
    let color = |n: usize| [(n * 7 % 256) as u8, n as u8, n as u8];
    numbers(pixels, colors)
        .into_iter()
        .flat_map(color)
        .collect()
}

/// Writes the bytes to a file of that name and opens it.
fn reopen(name: &str, bytes: &[u8]) -> fastvd_core::Result<GifFile> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    GifFile::open(&path)
}

#[test]
fn few_colors_come_back_exactly() {
    for (i, shape) in [[1, 1, 1, 3], [4, 7, 9, 3], [3, 40, 33, 3]]
        .into_iter()
        .enumerate()
    {
        for (scope, colors) in SCOPES
            .into_iter()
            .flat_map(|s| [(s, 1), (s, 200), (s, 256)])
        {
            let pixels = clip(shape[0] * shape[1] * shape[2], colors);
            let view = ClipView::new(&pixels, shape).unwrap();
            let delays = vec![5; shape[0]];
            let bytes = encode(&view, &delays, &options(scope)).unwrap();
            let file = reopen(&format!("exact{i}.gif"), &bytes).unwrap();
            assert_eq!(file.shape(), [shape[0], shape[1], shape[2]]);
            assert_eq!(file.read().unwrap(), pixels, "{shape:?} {scope:?} {colors}");
        }
    }
}

#[test]
fn delays_and_repeat_come_back() {
    for repeat in [None, Some(0), Some(3), Some(u16::MAX)] {
        let pixels = clip(2 * 4, 4);
        let view = ClipView::new(&pixels, [2, 2, 2, 3]).unwrap();
        let options = Options {
            repeat,
            ..options(PaletteScope::Global)
        };
        let bytes = encode(&view, &[2, 65535], &options).unwrap();
        let file = reopen("delays.gif", &bytes).unwrap();
        assert_eq!(file.delays(), [2, 65535]);
        assert_eq!(file.repeat(), repeat);
    }
}

#[test]
fn transparent_pixels_come_back_black() {
    let pixels = [[9, 8, 7, 255], [9, 8, 7, 127], [1, 2, 3, 128], [1, 2, 3, 0]].concat();
    let view = ClipView::new(&pixels, [2, 1, 2, 4]).unwrap();
    for scope in SCOPES {
        let bytes = encode(&view, &[5, 5], &options(scope)).unwrap();
        let frames = reopen("clear.gif", &bytes).unwrap().read().unwrap();
        assert_eq!(frames, [9, 8, 7, 0, 0, 0, 1, 2, 3, 0, 0, 0]);
    }
}

#[test]
fn many_colors_stay_near() {
    // a smooth picture of 16384 colours that moves
    let pixel = |i: usize| {
        let (t, y, x) = (i / 16384, i / 128 % 128, i % 128);
        [(2 * x) as u8, (2 * y) as u8, (x / 2 + y / 2 + 8 * t) as u8]
    };
    let pixels: Vec<u8> = (0..3 * 16384).flat_map(pixel).collect();
    let view = ClipView::new(&pixels, [3, 128, 128, 3]).unwrap();
    // 256 even cells on a plane of 256 x 256 are off by 2 * 16^2 / 12 = 43 on the mean, and diffusion
    // trades at most as much again for the right mean colour
    for (scope, dither) in SCOPES.into_iter().flat_map(|s| [(s, false), (s, true)]) {
        let options = Options {
            dither,
            ..options(scope)
        };
        let frames = reopen("many.gif", &encode(&view, &[5; 3], &options).unwrap()).unwrap();
        let frames = frames.read().unwrap();
        let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
        let error = frames.iter().zip(&pixels).map(square).sum::<f64>() / pixels.len() as f64;
        assert!(
            error < if dither { 86.0 } else { 43.0 },
            "{scope:?} {dither} {error}"
        );
    }
}

#[test]
fn still_pixels_cost_nothing() {
    let still = clip(64 * 64, 200);
    let view = |n: usize| [n, 64, 64, 3];
    let size = |n: usize| {
        let pixels = still.repeat(n);
        let clip = ClipView::new(&pixels, view(n)).unwrap();
        encode(&clip, &vec![5; n], &options(PaletteScope::Global))
            .unwrap()
            .len()
    };
    assert!(size(11) - size(1) <= 10 * 32);
}

#[test]
fn visit_stops_when_told() {
    let pixels = clip(5 * 4, 4);
    let view = ClipView::new(&pixels, [5, 2, 2, 3]).unwrap();
    let bytes = encode(&view, &[5; 5], &options(PaletteScope::Global)).unwrap();
    let mut seen = Vec::new();
    let file = reopen("visit.gif", &bytes).unwrap();
    file.visit(|i, frame| {
        seen.push((i, frame.to_vec()));
        i < 2
    })
    .unwrap();
    let numbers: Vec<usize> = seen.iter().map(|(i, _)| *i).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(seen[2].1, pixels[24..36]);
}

#[test]
fn bad_arguments_are_refused() {
    let pixels = [0; 12];
    for shape in [[0, 2, 2, 3], [1, 2, 2, 2], [1, 1, 70_000, 3], [2, 2, 2, 3]] {
        assert!(
            matches!(ClipView::new(&pixels, shape), Err(Error::Argument(_))),
            "{shape:?}"
        );
    }
    let view = ClipView::new(&pixels, [1, 2, 2, 3]).unwrap();
    for (colors, delays) in [(1, &[5][..]), (257, &[5]), (256, &[5, 5]), (256, &[])] {
        let options = Options {
            colors,
            ..options(PaletteScope::Global)
        };
        assert!(matches!(
            encode(&view, delays, &options),
            Err(Error::Argument(_))
        ));
    }
}

#[test]
fn damaged_files_are_refused_or_read_but_never_hang() {
    let pixels = clip(2 * 400, 50);
    let view = ClipView::new(&pixels, [2, 20, 20, 3]).unwrap();
    let sound = encode(&view, &[5; 2], &options(PaletteScope::Global)).unwrap();
    for cut in 0..sound.len() - 1 {
        let read = reopen("cut.gif", &sound[..cut]).and_then(|file| file.read());
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
        if let Err(error) = reopen("flip.gif", &bytes).and_then(|file| file.read()) {
            assert!(matches!(error, Error::Media { .. }), "{error}");
        }
    }
}

#[test]
fn data_that_ends_early_is_refused() {
    // a clear code, one pixel, the end code; four pixels are missing
    let mut bytes = b"GIF89a\x05\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x05\0\x01\0\0".to_vec();
    bytes.extend([2, 2, 0b0100_0100, 0b0000_0001, 0, b';']);
    let error = reopen("early.gif", &bytes)
        .and_then(|file| file.read())
        .unwrap_err();
    assert!(error.to_string().contains("frame 0"), "{error}");
}
