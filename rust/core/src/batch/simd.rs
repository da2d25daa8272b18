//! The inner loops in AVX2; `batch/mod.rs` has the same in plain Rust.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_or_si128, _mm_sfence,
    _mm_shuffle_epi8, _mm_srli_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_blend_epi16,
    _mm256_castps_si256, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16, _mm256_cvtepu8_epi32,
    _mm256_cvtps_ph, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_mul_ps, _mm256_set_m128i,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_srli_epi32, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_stream_ps, _mm256_stream_si256, _mm256_sub_ps,
};

use super::{Format, split_plain};

/// Pixels, or bytes of a copy, that one turn of a loop takes.
const TURN: usize = 16;
const COPY_TURN: usize = 128;

/// Copies `source` to `out`, of equal length.
#[target_feature(enable = "avx2")]
pub fn copy(source: &[u8], out: &mut [u8]) {
    if out.as_ptr().addr().is_multiple_of(32) {
        copy_turns::<true>(source, out);
        _mm_sfence();
    } else {
        copy_turns::<false>(source, out);
    }
}

#[target_feature(enable = "avx2")]
fn copy_turns<const ALIGNED: bool>(source: &[u8], out: &mut [u8]) {
    let mut from = source.chunks_exact(COPY_TURN);
    let mut to = out.chunks_exact_mut(COPY_TURN);
    for (from, to) in (&mut from).zip(&mut to) {
        let (from, to) = (from.as_ptr(), to.as_mut_ptr());
        // SAFETY: both chunks have 4 times 32 bytes
        unsafe {
            let parts = [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(32).cast()),
                _mm256_loadu_si256(from.add(64).cast()),
                _mm256_loadu_si256(from.add(96).cast()),
            ];
            for (i, part) in parts.into_iter().enumerate() {
                if ALIGNED {
                    _mm256_stream_si256(to.add(32 * i).cast(), part);
                } else {
                    _mm256_storeu_si256(to.add(32 * i).cast(), part);
                }
            }
        }
    }
    to.into_remainder().copy_from_slice(from.remainder());
}

/// Takes packed pixels apart into three planes of numbers.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn split<F: Format>(source: &[u8], planes: [&mut [F::Value]; 3], table: &[F::Value; 256]) {
    // planes that all begin on a boundary can pass the cache by: no line is read before it is written
    let is_aligned = planes
        .iter()
        .all(|plane| plane.as_ptr().addr().is_multiple_of(32));
    if is_aligned {
        split_turns::<F, true>(source, planes, table);
        _mm_sfence();
    } else {
        split_turns::<F, false>(source, planes, table);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn split_turns<F: Format, const ALIGNED: bool>(
    source: &[u8],
    planes: [&mut [F::Value]; 3],
    table: &[F::Value; 256],
) {
    let turns = source.len() / 3 / TURN;
    assert!(planes.iter().all(|plane| plane.len() >= turns * TURN));
    let masks = masks();
    // no closures in here: they would not have the features, and be called
    let [mut r, mut g, mut b] = planes;
    let planes_at = [r.as_mut_ptr(), g.as_mut_ptr(), b.as_mut_ptr()];
    for turn in 0..turns {
        // SAFETY: `turns` times 48 bytes are there
        let (first, second, third) = unsafe {
            let packed = source.as_ptr().add(turn * 3 * TURN);
            (
                _mm_loadu_si128(packed.cast()),
                _mm_loadu_si128(packed.add(16).cast()),
                _mm_loadu_si128(packed.add(32).cast()),
            )
        };
        for (masks, plane) in masks.iter().zip(planes_at) {
            let one = _mm_shuffle_epi8(first, masks[0]);
            let two = _mm_shuffle_epi8(second, masks[1]);
            let three = _mm_shuffle_epi8(third, masks[2]);
            let levels = _mm_or_si128(_mm_or_si128(one, two), three);
            // SAFETY: the plane holds `turns * TURN` values, checked above; features as ours
            unsafe { F::store::<ALIGNED>(plane.add(turn * TURN), levels) };
        }
    }
    let done = turns * TURN;
    (r, g, b) = (&mut r[done..], &mut g[done..], &mut b[done..]);
    split_plain::<F>(&source[3 * done..], [r, g, b], table);
}

/// For each channel, where its 16 bytes lie in three times 16 packed ones; -1 for none.
fn masks() -> [[__m128i; 3]; 3] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|part| {
            let bytes: [i8; 16] = std::array::from_fn(|pixel| {
                let at = 3 * pixel + channel;
                if at / 16 == part { (at % 16) as i8 } else { -1 }
            });
            // SAFETY: both are 16 bytes of any value
            unsafe { std::mem::transmute::<[i8; 16], __m128i>(bytes) }
        })
    })
}

/// The first eight levels and the other eight.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(levels: __m128i) -> [__m256; 2] {
    let high = _mm_srli_si128::<8>(levels);
    [
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(levels)),
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)),
    ]
}

/// Levels as numbers from -1 to 1. The product with 1 / 127.5 in two parts is the rounded quotient
/// for each of the 256 levels (tested).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn normalised(levels: __m256) -> __m256 {
    const HIGH: f32 = 1.0 / 127.5;
    const LOW: f32 = (1.0 / 127.5 - HIGH as f64) as f32;
    let low = _mm256_mul_ps(levels, _mm256_set1_ps(LOW));
    let quotient = _mm256_fmadd_ps(levels, _mm256_set1_ps(HIGH), low);
    _mm256_sub_ps(quotient, _mm256_set1_ps(1.0))
}

/// The same up to the last bits, which are lost when it is rounded to 16 (tested as well).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn nearly_normalised(levels: __m256) -> __m256 {
    _mm256_fmadd_ps(levels, _mm256_set1_ps(2.0 / 255.0), _mm256_set1_ps(-1.0))
}

/// [`Format::store`] of 32 bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn store_single<const ALIGNED: bool>(out: *mut f32, levels: __m128i) {
    let [low, high] = halves(levels);
    let (low, high) = (normalised(low), normalised(high));
    // SAFETY: the caller's: 16 values, aligned if it says so
    unsafe {
        if ALIGNED {
            _mm256_stream_ps(out, low);
            _mm256_stream_ps(out.add(8), high);
        } else {
            _mm256_storeu_ps(out, low);
            _mm256_storeu_ps(out.add(8), high);
        }
    }
}

/// [`Format::store`] of 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn store_half<const ALIGNED: bool>(out: *mut u16, levels: __m128i) {
    let [low, high] = halves(levels);
    let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(nearly_normalised(low));
    let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(nearly_normalised(high));
    // SAFETY: as the caller's
    unsafe { store_bits::<ALIGNED>(out, _mm256_set_m128i(high, low)) };
}

/// [`Format::store`] of the upper 16 of 32 bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub unsafe fn store_brain<const ALIGNED: bool>(out: *mut u16, levels: __m128i) {
    // every second level each, so that the two interleave without a shuffle
    let wide = _mm256_cvtepu8_epi16(levels);
    let even = rounded(_mm256_and_si256(wide, _mm256_set1_epi32(0xffff)));
    let odd = rounded(_mm256_srli_epi32::<16>(wide));
    let bits = _mm256_blend_epi16::<0b1010_1010>(_mm256_srli_epi32::<16>(even), odd);
    // SAFETY: as the caller's
    unsafe { store_bits::<ALIGNED>(out, bits) };
}

/// The numbers of levels, their upper 16 bits rounded. No level lies half way between two of those
/// (tested), so that there is no need to look for an even one.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rounded(levels: __m256i) -> __m256i {
    let bits = _mm256_castps_si256(nearly_normalised(_mm256_cvtepi32_ps(levels)));
    _mm256_add_epi32(bits, _mm256_set1_epi32(0x8000))
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_bits<const ALIGNED: bool>(out: *mut u16, bits: __m256i) {
    // SAFETY: as the caller's
    unsafe {
        if ALIGNED {
            _mm256_stream_si256(out.cast(), bits);
        } else {
            _mm256_storeu_si256(out.cast(), bits);
        }
    }
}
