//! Rows of samples to packed RGB with 256-bit registers, 16 pixels at a time.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_or_si128, _mm_shuffle_epi8, _mm_storeu_si128,
    _mm256_add_epi16, _mm256_castsi256_si128, _mm256_loadu_si256, _mm256_mulhrs_epi16,
    _mm256_packus_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi16, _mm256_srai_epi16,
    _mm256_sub_epi16,
};

use super::color::{Matrix, NO_COLOR};

const PIXELS: usize = 16;

/// For each of three stores of 16 bytes: which of the 16 reds, greens or blues goes where.
const PLACES: [[[u8; 16]; 3]; 3] = places();

const fn places() -> [[[u8; 16]; 3]; 3] {
    // a byte with its top bit set is a zero for the shuffle
    let mut table = [[[0x80; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        table[at / 16][at % 3][at % 16] = (at / 3) as u8;
        at += 1;
    }
    table
}

/// Converts all pixels but the last few and returns how many it did.
#[target_feature(enable = "avx2")]
pub(super) fn to_rgb(rows: [&[i16]; 3], matrix: Option<&Matrix>, out: &mut [u8]) -> usize {
    let count = out.len() / 3 / PIXELS * PIXELS;
    for at in (0..count).step_by(PIXELS) {
        let samples = rows.map(|row| load(row, at));
        let rgb = match matrix {
            Some(matrix) => multiply(matrix, samples),
            None => samples.map(|samples| round::<7>(samples)),
        };
        interleave(rgb, &mut out[3 * at..3 * (at + PIXELS)]);
    }
    count
}

fn load(row: &[i16], at: usize) -> __m256i {
    let samples = &row[at..at + PIXELS];
    // SAFETY: 32 bytes are there; the load needs no alignment
    unsafe { _mm256_loadu_si256(samples.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn multiply(matrix: &Matrix, [y, cb, cr]: [__m256i; 3]) -> [__m128i; 3] {
    let [black, luma, red, from_blue, from_red, blue] =
        matrix.factors().map(|f| _mm256_set1_epi16(f));
    let no_color = _mm256_set1_epi16(NO_COLOR);
    let y = _mm256_mulhrs_epi16(_mm256_sub_epi16(y, black), luma);
    let (cb, cr) = (
        _mm256_sub_epi16(cb, no_color),
        _mm256_sub_epi16(cr, no_color),
    );
    let green = _mm256_add_epi16(
        _mm256_mulhrs_epi16(cb, from_blue),
        _mm256_mulhrs_epi16(cr, from_red),
    );
    [
        _mm256_mulhrs_epi16(cr, red),
        green,
        _mm256_mulhrs_epi16(cb, blue),
    ]
    .map(|color| round::<5>(_mm256_add_epi16(y, color)))
}

/// Sixteen samples with `POINT` bits behind the point, rounded to bytes.
#[target_feature(enable = "avx2")]
fn round<const POINT: i32>(samples: __m256i) -> __m128i {
    // 32640 + 64 is still an i16
    let half = _mm256_set1_epi16(1 << (POINT - 1));
    let steps = _mm256_srai_epi16::<POINT>(_mm256_add_epi16(samples, half));
    let bytes = _mm256_packus_epi16(steps, steps);
    _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0x08>(bytes))
}

#[target_feature(enable = "avx2")]
fn interleave(rgb: [__m128i; 3], out: &mut [u8]) {
    for (out, places) in out.chunks_exact_mut(16).zip(&PLACES) {
        let [red, green, blue] = [0, 1, 2].map(|i| {
            // SAFETY: a table of 16 bytes
            let places = unsafe { _mm_loadu_si128(places[i].as_ptr().cast()) };
            _mm_shuffle_epi8(rgb[i], places)
        });
        let mixed = _mm_or_si128(_mm_or_si128(red, green), blue);
        // SAFETY: `out` has 16 bytes; the store needs no alignment
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), mixed) };
    }
}
