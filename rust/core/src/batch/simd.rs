//! The inner loops in AVX2; `batch/mod.rs` has the same in plain Rust.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_or_si128, _mm_sfence,
    _mm_shuffle_epi8, _mm_srli_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_castps_si256,
    _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtps_ph, _mm256_fmadd_ps, _mm256_loadu_si256,
    _mm256_mul_ps, _mm256_packus_epi32, _mm256_permute4x64_epi64, _mm256_set_m128i,
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
    let mut from = source.chunks_exact(COPY_TURN);
    let mut to = out.chunks_exact_mut(COPY_TURN);
    for (from, to) in (&mut from).zip(&mut to) {
        let (from, to) = (from.as_ptr(), to.as_mut_ptr());
        // SAFETY: both chunks have 4 times 32 bytes
        unsafe {
            let parts: [__m256i; 4] =
                std::array::from_fn(|i| _mm256_loadu_si256(from.add(32 * i).cast()));
            for (i, part) in parts.into_iter().enumerate() {
                _mm256_storeu_si256(to.add(32 * i).cast(), part);
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
    for turn in 0..turns {
        // SAFETY: `turns` times 48 bytes are there
        let packed: [__m128i; 3] = std::array::from_fn(|i| unsafe {
            _mm_loadu_si128(source.as_ptr().add(turn * 3 * TURN + 16 * i).cast())
        });
        for (masks, plane) in masks.iter().zip(&planes) {
            let [a, b, c] = std::array::from_fn(|i| _mm_shuffle_epi8(packed[i], masks[i]));
            let levels = _mm_or_si128(_mm_or_si128(a, b), c);
            let low = normalised(levels);
            let high = normalised(_mm_srli_si128::<8>(levels));
            // SAFETY: the plane holds `turns * TURN` values, checked above; features as ours
            unsafe {
                F::store::<ALIGNED>(plane.as_ptr().cast_mut().add(turn * TURN), low, high);
            }
        }
    }
    let done = turns * TURN;
    let rest = planes.map(|plane| &mut plane[done..]);
    split_plain::<F>(&source[3 * done..], rest, table);
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

/// The low eight levels as numbers from -1 to 1. The product with 1 / 127.5 in two parts is the
/// rounded quotient for each of the 256 levels (tested).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn normalised(levels: __m128i) -> __m256 {
    const HIGH: f32 = 1.0 / 127.5;
    const LOW: f32 = (1.0 / 127.5 - HIGH as f64) as f32;
    let x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(levels));
    let low = _mm256_mul_ps(x, _mm256_set1_ps(LOW));
    let quotient = _mm256_fmadd_ps(x, _mm256_set1_ps(HIGH), low);
    _mm256_sub_ps(quotient, _mm256_set1_ps(1.0))
}

/// [`Format::store`] of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn store_single<const ALIGNED: bool>(out: *mut f32, low: __m256, high: __m256) {
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
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn store_half<const ALIGNED: bool>(out: *mut u16, low: __m256, high: __m256) {
    let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(low);
    let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(high);
    // SAFETY: as the caller's
    unsafe { store_bits::<ALIGNED>(out, _mm256_set_m128i(high, low)) };
}

/// [`Format::store`] of the upper 16 of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn store_brain<const ALIGNED: bool>(out: *mut u16, low: __m256, high: __m256) {
    let packed = _mm256_packus_epi32(upper(low), upper(high));
    // packing goes by halves of a register: put the quarters in order
    let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
    // SAFETY: as the caller's
    unsafe { store_bits::<ALIGNED>(out, ordered) };
}

#[inline]
#[target_feature(enable = "avx2")]
fn upper(value: __m256) -> __m256i {
    let bits = _mm256_castps_si256(value);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounding = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, rounding))
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
