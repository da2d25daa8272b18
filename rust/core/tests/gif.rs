//! Clips through the encoder and back through the decoder.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod limits;

use std::fs;
use std::path::PathBuf;

use fastvd_core::Error;
use fastvd_core::gif::{ClipView, Dither, Encoder, Options, PaletteScope, Quality, encode};
use fastvd_core::source::gif::GifFile;

const SCOPES: [PaletteScope; 3] = [
    PaletteScope::Global,
    PaletteScope::Scene,
    PaletteScope::Local,
];
const DITHERS: [Dither; 4] = [
    Dither::None,
    Dither::Diffusion,
    Dither::Ordered,
    Dither::BlueNoise,
];

fn options(palette: PaletteScope) -> Options {
    Options {
        quality: Quality::Good,
        colors: 256,
        dither: Dither::Diffusion,
        palette,
        lossy: 0,
        repeat: Some(0),
        threads: 2,
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
    limits::set();
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
            assert_eq!(
                file.read(2).unwrap(),
                pixels,
                "{shape:?} {scope:?} {colors}"
            );
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
        let frames = reopen("clear.gif", &bytes).unwrap().read(2).unwrap();
        assert_eq!(frames, [9, 8, 7, 0, 0, 0, 1, 2, 3, 0, 0, 0]);
    }
}

/// A smooth picture of 16384 colours that moves, `[frames, 128, 128, 3]`.
fn smooth(frames: usize) -> Vec<u8> {
    let pixel = |i: usize| {
        let (t, y, x) = (i / 16384, i / 128 % 128, i % 128);
        [(2 * x) as u8, (2 * y) as u8, (x / 2 + y / 2 + 8 * t) as u8]
    };
    (0..frames * 16384).flat_map(pixel).collect()
}

fn mean_square(a: &[u8], b: &[u8]) -> f64 {
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64
}

#[test]
fn many_colors_stay_near() {
    let pixels = smooth(3);
    let view = ClipView::new(&pixels, [3, 128, 128, 3]).unwrap();
    // 256 even cells on a plane of 256 x 256 are off by 2 * 16^2 / 12 = 43 on the mean, and a dither
    // trades at most as much again for the right mean colour
    for (scope, dither) in SCOPES.into_iter().flat_map(|s| DITHERS.map(|d| (s, d))) {
        let options = Options {
            dither,
            ..options(scope)
        };
        let file = reopen("many.gif", &encode(&view, &[5; 3], &options).unwrap()).unwrap();
        let error = mean_square(&file.read(2).unwrap(), &pixels);
        let most = if dither == Dither::None { 43.0 } else { 86.0 };
        assert!(error < most, "{scope:?} {dither:?} {error}");
    }
}

#[test]
fn bytes_do_not_depend_on_threads_or_pieces() {
    let pixels = smooth(7);
    let view = ClipView::new(&pixels, [7, 128, 128, 3]).unwrap();
    let delays = [3, 4, 5, 6, 7, 8, 9];
    for (scope, dither) in SCOPES.into_iter().flat_map(|s| DITHERS.map(|d| (s, d))) {
        let options = |threads| Options {
            dither,
            threads,
            ..options(scope)
        };
        let wanted = encode(&view, &delays, &options(1)).unwrap();
        for threads in [2, 3, 16] {
            assert!(wanted == encode(&view, &delays, &options(threads)).unwrap());
        }
        let mut pieces = Encoder::new(128, 128, &options(2)).unwrap();
        let cut = 3 * 16384 * 3;
        let [first, last] = [&pixels[..cut], &pixels[cut..]]
            .map(|part| ClipView::new(part, [part.len() / 49152, 128, 128, 3]).unwrap());
        pieces.scan(&first).unwrap();
        pieces.scan(&last).unwrap();
        let mut file = pieces.write(&first, &delays[..3]).unwrap();
        file.extend(pieces.write(&last, &delays[3..]).unwrap());
        file.extend(pieces.finish());
        assert!(wanted == file, "{scope:?} {dither:?}");
    }
}

#[test]
fn a_cut_begins_a_palette() {
    // two scenes of 200 colours each: exact with a palette for each, not with one for both
    let tint = |pixels: Vec<u8>, channel: usize| -> Vec<u8> {
        let is_tinted = |i: &usize| i % 3 == channel;
        let pixel = |(i, v): (usize, u8)| if is_tinted(&i) { v } else { v / 8 };
        pixels.into_iter().enumerate().map(pixel).collect()
    };
    let [red, blue] = [0, 2].map(|channel| tint(clip(3 * 4096, 200), channel));
    let pixels = [red, blue].concat();
    let view = ClipView::new(&pixels, [6, 64, 64, 3]).unwrap();
    let shown = |scope| {
        let bytes = encode(&view, &[5; 6], &options(scope)).unwrap();
        reopen("cut.gif", &bytes).unwrap().read(2).unwrap()
    };
    assert!(shown(PaletteScope::Scene) == pixels);
    assert!(shown(PaletteScope::Global) != pixels);
}

#[test]
fn lossy_files_are_smaller_and_not_far_off() {
    let pixels = smooth(3);
    let view = ClipView::new(&pixels, [3, 128, 128, 3]).unwrap();
    let encoded = [0, 40, 100].map(|lossy| {
        let options = Options {
            lossy,
            dither: Dither::None,
            ..options(PaletteScope::Global)
        };
        encode(&view, &[5; 3], &options).unwrap()
    });
    let exact = reopen("exact.gif", &encoded[0]).unwrap().read(2).unwrap();
    for (bytes, lossy) in encoded[1..].iter().zip([40, 100]) {
        assert!(bytes.len() < encoded[0].len());
        let off = reopen("lossy.gif", bytes).unwrap().read(2).unwrap();
        let pixels = off.as_chunks::<3>().0.iter().zip(exact.as_chunks().0);
        let square = |(a, b): (&[u8; 3], &[u8; 3])| -> i32 {
            let along = |axis: usize| i32::from(a[axis]) - i32::from(b[axis]);
            (0..3).map(|axis| along(axis).pow(2)).sum()
        };
        assert!(pixels.map(square).max().unwrap() <= lossy * 10);
    }
    assert!(encoded[2].len() < encoded[1].len());
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
fn what_does_not_change_is_not_redrawn() {
    // noise moves over a picture of many colours that stands still
    let still = smooth(1);
    let mut pixels = still.repeat(6);
    for (i, v) in numbers(6 * 400 * 3, 256).into_iter().enumerate() {
        let (t, y, x) = (i / 1200, i / 60 % 20, i % 60);
        pixels[t * 49152 + (y + 10 * t) * 384 + x] = v as u8;
    }
    let view = ClipView::new(&pixels, [6, 128, 128, 3]).unwrap();
    for (scope, dither) in SCOPES.into_iter().flat_map(|s| DITHERS.map(|d| (s, d))) {
        let options = Options {
            dither,
            ..options(scope)
        };
        let file = reopen("still.gif", &encode(&view, &[5; 6], &options).unwrap()).unwrap();
        let shown = file.read(2).unwrap();
        for i in 49152..pixels.len() {
            let same_pixel = i - i % 3..i - i % 3 + 3;
            let before = same_pixel.start - 49152..same_pixel.end - 49152;
            if pixels[same_pixel] == pixels[before] {
                assert_eq!(shown[i], shown[i - 49152], "{scope:?} {dither:?} {i}");
            }
        }
    }
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
