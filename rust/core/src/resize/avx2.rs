//! The passes of a resize with 256-bit registers. Two samples and their two weights are multiplied
//! and added by one instruction.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_packs_epi32, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_castsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_hadd_epi32, _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_packs_epi32, _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_sra_epi32, _mm256_srai_epi32, _mm256_storeu_si256,
    _mm256_unpackhi_epi8, _mm256_unpackhi_epi16, _mm256_unpacklo_epi8, _mm256_unpacklo_epi16,
};

use super::axis::{BLOCK, WEIGHT_BITS, Weights};
use super::narrow::Narrow;
use super::rows::Mix;

/// Bytes that are mixed at a time.
pub(super) const BYTES: usize = 32;
/// Two-byte samples that are mixed at a time.
pub(super) const WORDS: usize = 16;

fn load<T>(from: &[T], at: usize) -> __m256i {
    let bytes = &from[at..at + 32 / size_of::<T>()];
    // SAFETY: 32 bytes are there; the load needs no alignment
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

fn load_half(from: &[i16], at: usize) -> __m128i {
    let samples = &from[at..at + 8];
    // SAFETY: 16 bytes are there; the load needs no alignment
    unsafe { _mm_loadu_si128(samples.as_ptr().cast()) }
}

fn store<T>(to: &mut [T], at: usize, value: __m256i) {
    let bytes = &mut to[at..at + 32 / size_of::<T>()];
    // SAFETY: 32 bytes are there; the store needs no alignment
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) };
}

/// Where blocks of `block` samples start that cover `length` of them; the last one may overlap.
pub(super) fn blocks(length: usize, block: usize) -> impl Iterator<Item = usize> {
    (0..length)
        .step_by(block)
        .map(move |at| at.min(length - block))
}

/// A weight for each of two rows, over and over.
#[inline]
#[target_feature(enable = "avx2")]
fn pair(weights: &[i16]) -> __m256i {
    let first = weights.first().copied().unwrap_or(0) as u16;
    let second = weights.get(1).copied().unwrap_or(0) as u16;
    _mm256_set1_epi32((u32::from(second) << 16 | u32::from(first)) as i32)
}

/// [`super::rows::mix_rows`] of bytes; `out` has [`BYTES`] or more.
#[target_feature(enable = "avx2")]
pub(super) fn mix_bytes(rows: &[&[u8]], mix: &Mix, out: &mut [i16]) {
    let zero = _mm256_setzero_si256();
    let shift = _mm_cvtsi32_si128(mix.shift as i32);
    for at in blocks(out.len(), BYTES) {
        let mut sums = [_mm256_set1_epi32(mix.init); 4];
        for (rows, weights) in rows.chunks(2).zip(mix.weights.chunks(2)) {
            let weights = pair(weights);
            let first = load(rows[0], mix.from + at);
            let second = rows.get(1).map_or(zero, |row| load(row, mix.from + at));
            let low = _mm256_unpacklo_epi8(first, second);
            let high = _mm256_unpackhi_epi8(first, second);
            let pairs = [
                _mm256_unpacklo_epi8(low, zero),
                _mm256_unpackhi_epi8(low, zero),
                _mm256_unpacklo_epi8(high, zero),
                _mm256_unpackhi_epi8(high, zero),
            ];
            for (sum, pair) in sums.iter_mut().zip(pairs) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, weights));
            }
        }
        // no closures: one that is handed to `map` would be called for each register
        let low = _mm256_packs_epi32(
            _mm256_sra_epi32(sums[0], shift),
            _mm256_sra_epi32(sums[1], shift),
        );
        let high = _mm256_packs_epi32(
            _mm256_sra_epi32(sums[2], shift),
            _mm256_sra_epi32(sums[3], shift),
        );
        store(out, at, _mm256_permute2x128_si256::<0x20>(low, high));
        store(out, at + 16, _mm256_permute2x128_si256::<0x31>(low, high));
    }
}

/// [`super::rows::mix_rows`] of samples below 2^15; `out` has [`WORDS`] or more.
#[target_feature(enable = "avx2")]
pub(super) fn mix_words(rows: &[&[u16]], mix: &Mix, out: &mut [i16]) {
    let zero = _mm256_setzero_si256();
    let shift = _mm_cvtsi32_si128(mix.shift as i32);
    for at in blocks(out.len(), WORDS) {
        let mut sums = [_mm256_set1_epi32(mix.init); 2];
        for (rows, weights) in rows.chunks(2).zip(mix.weights.chunks(2)) {
            let weights = pair(weights);
            let first = load(rows[0], mix.from + at);
            let second = rows.get(1).map_or(zero, |row| load(row, mix.from + at));
            let pairs = [
                _mm256_unpacklo_epi16(first, second),
                _mm256_unpackhi_epi16(first, second),
            ];
            for (sum, pair) in sums.iter_mut().zip(pairs) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, weights));
            }
        }
        let [a, b] = sums;
        let (a, b) = (_mm256_sra_epi32(a, shift), _mm256_sra_epi32(b, shift));
        store(out, at, _mm256_packs_epi32(a, b));
    }
}

/// [`super::rows::mix_columns`], a block at a time.
#[target_feature(enable = "avx2")]
pub(super) fn mix_columns(row: &[i16], weights: &Weights, out: &mut [i16]) {
    match &weights.narrow {
        Some(narrow) => mix_near_columns(row, narrow, &weights.inits, out),
        None => mix_far_columns(row, weights, out),
    }
}

/// For blocks whose samples lie anywhere.
#[target_feature(enable = "avx2")]
fn mix_far_columns(row: &[i16], weights: &Weights, out: &mut [i16]) {
    assert!(row.len() >= weights.row_length(), "samples are missing");
    let (starts, _) = weights.starts.as_chunks::<BLOCK>();
    let values = weights.values.chunks_exact(BLOCK * weights.taps);
    let blocks = starts.iter().zip(values);
    let sums = blocks.zip(weights.inits.chunks_exact(BLOCK));
    for (((starts, values), init), out) in sums.zip(out.chunks_exact_mut(BLOCK)) {
        // SAFETY: the row has as many samples behind every start
        let sum = unsafe { far_sums(row, starts, values) };
        narrow_sums(_mm256_add_epi32(sum, load(init, 0)), out);
    }
}

/// For blocks whose pairs of samples lie in two windows each.
#[target_feature(enable = "avx2")]
fn mix_near_columns(row: &[i16], narrow: &Narrow, inits: &[i32], out: &mut [i16]) {
    assert!(row.len() >= narrow.end, "samples are missing");
    let pairs = narrow.pairs;
    let blocks = narrow.windows.chunks_exact(pairs);
    let blocks = blocks.zip(narrow.places.chunks_exact(pairs));
    let blocks = blocks.zip(narrow.values.chunks_exact(pairs));
    let sums = blocks.zip(inits.chunks_exact(BLOCK));
    for ((((windows, places), values), init), out) in sums.zip(out.chunks_exact_mut(BLOCK)) {
        let mut sum = load(init, 0);
        for ((windows, places), values) in windows.iter().zip(places).zip(values) {
            // SAFETY: the row was seen to have the samples of every window
            let samples = unsafe {
                join(
                    _mm_loadu_si128(row.as_ptr().add(windows[0]).cast()),
                    _mm_loadu_si128(row.as_ptr().add(windows[1]).cast()),
                )
            };
            let pairs = _mm256_shuffle_epi8(samples, load(places, 0));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, load(values, 0)));
        }
        narrow_sums(sum, out);
    }
}

/// Eight sums as samples.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow_sums(sum: __m256i, out: &mut [i16]) {
    let sum = _mm256_srai_epi32::<{ WEIGHT_BITS as i32 }>(sum);
    let (low, high) = (
        _mm256_castsi256_si128(sum),
        _mm256_extracti128_si256::<1>(sum),
    );
    let out = &mut out[..BLOCK];
    // SAFETY: `out` has 16 bytes; the store needs no alignment
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packs_epi32(low, high)) };
}

/// Sums of products for a block of output pixels, with as many values for each.
///
/// # Safety
/// Behind each start the row has as many samples as there are values for a pixel.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn far_sums(row: &[i16], starts: &[usize; BLOCK], values: &[i16]) -> __m256i {
    // SAFETY: as the caller's
    let [a, b, c, d] = unsafe {
        [
            far_products(row, [starts[0], starts[4]], values, 0),
            far_products(row, [starts[1], starts[5]], values, 1),
            far_products(row, [starts[2], starts[6]], values, 2),
            far_products(row, [starts[3], starts[7]], values, 3),
        ]
    };
    _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d))
}

/// Products for output pixel `i` of a block in the lower half, for `i + 4` in the upper.
///
/// # Safety
/// As for [`far_sums`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn far_products(row: &[i16], starts: [usize; 2], values: &[i16], i: usize) -> __m256i {
    let taps = values.len() / BLOCK;
    let [near, far] = starts;
    let half = |start: usize| {
        // SAFETY: the caller's, for eight samples or more
        unsafe { _mm_loadu_si128(row.as_ptr().add(start).cast()) }
    };
    let mut sum = _mm256_setzero_si256();
    for at in (0..taps).step_by(8) {
        let samples = join(half(near + at), half(far + at));
        let weights = join(
            load_half(values, i * taps + at),
            load_half(values, (i + 4) * taps + at),
        );
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(samples, weights));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn join(low: __m128i, high: __m128i) -> __m256i {
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
}
