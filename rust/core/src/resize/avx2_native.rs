//! Rows of a picture at its own size to packed RGB with 256-bit registers, 32 pixels at a time.
//!
//! Bytes are unpacked to words in the lanes in which colours come out of being doubled, so nothing
//! moves between the halves of a register before the bytes are packed again.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_epi16, _mm256_avg_epu16,
    _mm256_blendv_epi8, _mm256_castsi256_si128, _mm256_cvtepu8_epi16, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_maddubs_epi16, _mm256_mulhrs_epi16, _mm256_or_si256,
    _mm256_packus_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi16, _mm256_srai_epi16, _mm256_storeu_si256, _mm256_sub_epi16,
    _mm256_unpackhi_epi8, _mm256_unpackhi_epi16, _mm256_unpacklo_epi8, _mm256_unpacklo_epi16,
};

use super::avx2::blocks;
use super::color::{Matrix, NO_COLOR};
use super::rows::POINT;

/// Pixels that are made at a time.
pub(super) const PIXELS: usize = 32;
/// Samples that are mixed at a time.
const SAMPLES: usize = 16;

/// Where the bytes of each colour go in the three stores that hold it: the places differ.
const PLACES: [[u8; 32]; 3] = places();
/// For each store: the bytes that are green, and those that are blue.
const CHOICES: [[[u8; 32]; 2]; 3] = choices();

const fn places() -> [[u8; 32]; 3] {
    let mut table = [[0; 32]; 3];
    let mut at = 0;
    while at < 96 {
        let (color, place) = (at % 3, at % 48 % 16 + at / 48 * 16);
        table[color][place] = (at % 48 / 3) as u8;
        at += 1;
    }
    table
}

const fn choices() -> [[[u8; 32]; 2]; 3] {
    let mut table = [[[0; 32]; 2]; 3];
    let mut at = 0;
    while at < 96 {
        let (color, place) = (at % 3, at % 48 % 16 + at / 48 * 16);
        if color > 0 {
            table[at % 48 / 16][color - 1][place] = 0xff;
        }
        at += 1;
    }
    table
}

fn load<T>(from: &[T], at: usize) -> __m256i {
    let bytes = &from[at..at + 32 / size_of::<T>()];
    // SAFETY: 32 bytes are there; the load needs no alignment
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Mixes two rows by weights in 64ths, to samples with `POINT` bits behind the point.
#[target_feature(enable = "avx2")]
pub(super) fn mix([first, second]: [&[u8]; 2], weights: [i8; 2], out: &mut [i16]) {
    let [a, b] = weights.map(i16::from);
    let vector = _mm256_set1_epi16(b << 8 | a);
    let widen = |row: &[u8], at: usize| {
        let samples = &row[at..at + SAMPLES];
        // SAFETY: 16 bytes are there; the load needs no alignment
        _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(samples.as_ptr().cast()) })
    };
    if out.len() < SAMPLES {
        for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
            *out = (i16::from(*first) * a + i16::from(*second) * b) << 1;
        }
        return;
    }
    for at in blocks(out.len(), SAMPLES) {
        let pairs = _mm256_or_si256(widen(first, at), _mm256_slli_epi16::<8>(widen(second, at)));
        let sum = _mm256_slli_epi16::<1>(_mm256_maddubs_epi16(pairs, vector));
        let out = &mut out[at..at + SAMPLES];
        // SAFETY: `out` has 32 bytes; the store needs no alignment
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
    }
}

/// A row of luma and the rows of colour for it, which begin with the left neighbour of the first
/// sample and have spare ones in the end.
#[target_feature(enable = "avx2")]
pub(super) fn to_rgb<const IS_CENTRED: bool>(
    luma: &[u8],
    [cb, cr]: [&[i16]; 2],
    matrix: &Matrix,
    out: &mut [u8],
) {
    let factors = Factors::new(matrix);
    let (blocks, rest) = luma.as_chunks::<PIXELS>();
    let (outs, out_rest) = out.as_chunks_mut::<{ 3 * PIXELS }>();
    for (i, (luma, out)) in blocks.iter().zip(outs).enumerate() {
        let at = i * PIXELS / 2;
        block::<IS_CENTRED>(luma, [&cb[at..], &cr[at..]], &factors, out);
    }
    if !rest.is_empty() {
        let (mut luma, mut out) = ([0; PIXELS], [0; 3 * PIXELS]);
        luma[..rest.len()].copy_from_slice(rest);
        let at = blocks.len() * PIXELS / 2;
        block::<IS_CENTRED>(&luma, [&cb[at..], &cr[at..]], &factors, &mut out);
        out_rest.copy_from_slice(&out[..3 * rest.len()]);
    }
}

/// A [`Matrix`] in registers.
struct Factors {
    black: __m256i,
    luma: __m256i,
    red: __m256i,
    green: [__m256i; 2],
    blue: __m256i,
}

impl Factors {
    #[target_feature(enable = "avx2")]
    fn new(matrix: &Matrix) -> Self {
        let [black, luma, red, from_blue, from_red, blue] = matrix.factors();
        Self {
            black: _mm256_set1_epi16(black),
            luma: _mm256_set1_epi16(luma),
            red: _mm256_set1_epi16(red),
            green: [_mm256_set1_epi16(from_blue), _mm256_set1_epi16(from_red)],
            blue: _mm256_set1_epi16(blue),
        }
    }
}

// no closures from here on: one that is handed to `map` would be called for each register
#[inline]
#[target_feature(enable = "avx2")]
fn block<const IS_CENTRED: bool>(
    luma: &[u8; PIXELS],
    [cb, cr]: [&[i16]; 2],
    factors: &Factors,
    out: &mut [u8; 3 * PIXELS],
) {
    let zero = _mm256_setzero_si256();
    let bytes = load(luma, 0);
    let [cb, cr] = [double::<IS_CENTRED>(cb), double::<IS_CENTRED>(cr)];
    let low = colors(factors, _mm256_unpacklo_epi8(bytes, zero), cb[0], cr[0]);
    let high = colors(factors, _mm256_unpackhi_epi8(bytes, zero), cb[1], cr[1]);
    let rgb = [
        _mm256_packus_epi16(low[0], high[0]),
        _mm256_packus_epi16(low[1], high[1]),
        _mm256_packus_epi16(low[2], high[2]),
    ];
    interleave(rgb, out);
}

/// Red, green and blue, before they are cut to bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn colors(factors: &Factors, luma: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
    let luma = _mm256_slli_epi16::<{ POINT as i32 }>(luma);
    let luma = _mm256_mulhrs_epi16(_mm256_sub_epi16(luma, factors.black), factors.luma);
    let green = _mm256_add_epi16(
        _mm256_mulhrs_epi16(cb, factors.green[0]),
        _mm256_mulhrs_epi16(cr, factors.green[1]),
    );
    [
        round(_mm256_add_epi16(luma, _mm256_mulhrs_epi16(cr, factors.red))),
        round(_mm256_add_epi16(luma, green)),
        round(_mm256_add_epi16(
            luma,
            _mm256_mulhrs_epi16(cb, factors.blue),
        )),
    ]
}

/// Two samples for each one, less [`NO_COLOR`]: those of pixels 0 to 7 and 16 to 23, and the others.
#[inline]
#[target_feature(enable = "avx2")]
fn double<const IS_CENTRED: bool>(row: &[i16]) -> [__m256i; 2] {
    let (own, next) = (load(row, 1), load(row, 2));
    let (even, odd) = if IS_CENTRED {
        (nearer(own, load(row, 0)), nearer(own, next))
    } else {
        (own, _mm256_avg_epu16(own, next))
    };
    let no_color = _mm256_set1_epi16(NO_COLOR);
    [
        _mm256_sub_epi16(_mm256_unpacklo_epi16(even, odd), no_color),
        _mm256_sub_epi16(_mm256_unpackhi_epi16(even, odd), no_color),
    ]
}

/// Three quarters of one sample and a quarter of the other, without leaving 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn nearer(own: __m256i, other: __m256i) -> __m256i {
    let apart = _mm256_add_epi16(_mm256_sub_epi16(other, own), _mm256_set1_epi16(2));
    _mm256_add_epi16(own, _mm256_srai_epi16::<2>(apart))
}

#[inline]
#[target_feature(enable = "avx2")]
fn round(sums: __m256i) -> __m256i {
    const SUM_POINT: i32 = super::color::SUM_POINT as i32;
    let half = _mm256_set1_epi16(1 << (SUM_POINT - 1));
    _mm256_srai_epi16::<SUM_POINT>(_mm256_add_epi16(sums, half))
}

/// Writes 32 reds, greens and blues as pixels.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(rgb: [__m256i; 3], out: &mut [u8; 3 * PIXELS]) {
    let red = _mm256_shuffle_epi8(rgb[0], load(&PLACES[0], 0));
    let green = _mm256_shuffle_epi8(rgb[1], load(&PLACES[1], 0));
    let blue = _mm256_shuffle_epi8(rgb[2], load(&PLACES[2], 0));
    let (low, high) = out.split_at_mut(3 * SAMPLES);
    let outs = low.chunks_exact_mut(16).zip(high.chunks_exact_mut(16));
    for ([is_green, is_blue], (low, high)) in CHOICES.iter().zip(outs) {
        let mixed = _mm256_blendv_epi8(red, green, load(is_green, 0));
        let mixed = _mm256_blendv_epi8(mixed, blue, load(is_blue, 0));
        // SAFETY: each has 16 bytes; the stores need no alignment
        unsafe {
            _mm_storeu_si128(low.as_mut_ptr().cast(), _mm256_castsi256_si128(mixed));
            _mm_storeu_si128(
                high.as_mut_ptr().cast(),
                _mm256_extracti128_si256::<1>(mixed),
            );
        }
    }
}
