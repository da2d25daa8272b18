//! Number formats of a batch, and what each of the 256 levels is in them.

/// A number format: values -1 (level 0) to 1 (level 255).
pub trait Format: Copy + Send + Sync {
    /// How a number is stored.
    type Value: Copy + Send + Sync + Default + PartialEq + std::fmt::Debug;

    /// A float, rounded to this format (to the nearest, to even between two).
    fn narrow(value: f32) -> Self::Value;

    /// Each level's number: divided and subtracted in `f32`, then rounded, as `PyTorch` does it.
    #[must_use]
    fn table() -> [Self::Value; 256] {
        std::array::from_fn(|level| Self::narrow(level as f32 / 127.5 - 1.0))
    }

    /// Stores 16 levels as numbers from -1 to 1.
    ///
    /// # Safety
    /// `out` is good for 16 values, and the processor has AVX2, FMA and F16C. With `ALIGNED`, `out` is
    /// a multiple of 32 bytes and the cache is passed by.
    #[cfg(target_arch = "x86_64")]
    unsafe fn store<const ALIGNED: bool>(out: *mut Self::Value, levels: std::arch::x86_64::__m128i);
}

/// 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct Single;

/// 16 bits, 5 of them the exponent.
#[derive(Clone, Copy, Debug)]
pub struct Half;

/// 16 bits, the upper ones of 32.
#[derive(Clone, Copy, Debug)]
pub struct Brain;

impl Format for Single {
    type Value = f32;

    fn narrow(value: f32) -> f32 {
        value
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    unsafe fn store<const ALIGNED: bool>(out: *mut f32, levels: std::arch::x86_64::__m128i) {
        // SAFETY: as the caller's
        unsafe { super::simd::store_single::<ALIGNED>(out, levels) };
    }
}

impl Format for Half {
    type Value = u16;

    /// For values from -1 to 1 that are 0 or no smaller than 2^-14 (levels are above 2^-9).
    fn narrow(value: f32) -> u16 {
        let bits = value.to_bits();
        let sign = (bits >> 16) as u16 & 0x8000;
        let magnitude = bits & 0x7fff_ffff;
        if magnitude == 0 {
            return sign;
        }
        let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
        // the exponents' biases are 127 and 15
        sign | ((rounded >> 13) - (112 << 10)) as u16
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    unsafe fn store<const ALIGNED: bool>(out: *mut u16, levels: std::arch::x86_64::__m128i) {
        // SAFETY: as the caller's
        unsafe { super::simd::store_half::<ALIGNED>(out, levels) };
    }
}

impl Format for Brain {
    type Value = u16;

    fn narrow(value: f32) -> u16 {
        let bits = value.to_bits();
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    unsafe fn store<const ALIGNED: bool>(out: *mut u16, levels: std::arch::x86_64::__m128i) {
        // SAFETY: as the caller's
        unsafe { super::simd::store_brain::<ALIGNED>(out, levels) };
    }
}
