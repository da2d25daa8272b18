//! The two passes of a resize: rows are mixed to one row, then the samples of that row to fewer or
//! more. Rows first, because whole rows are added up lane by lane. Between the passes a sample is an
//! `i16` with [`POINT`] bits behind the point of an 8-bit value.

use super::axis::{WEIGHT_BITS, Weights};

/// Bits behind the point between the passes.
pub(super) const POINT: u32 = 7;

/// A sample as the decoder stores it: a byte, or 9 to 15 bits in two.
pub(super) trait Sample: Copy + Into<i32> {
    /// [`mix_rows`] with the widest registers of this processor; `false` if it was left undone.
    fn mix_wide(rows: &[&[Self]], mix: &Mix, out: &mut [i16]) -> bool;
}

/// How rows are mixed.
#[derive(Clone, Copy)]
pub(super) struct Mix<'a> {
    /// The first sample of each row that is taken.
    pub from: usize,
    /// A weight for each row.
    pub weights: &'a [i16],
    /// What the sum starts with: black around the picture, and one half for the rounding.
    pub init: i32,
    /// Bits that the sum loses.
    pub shift: u32,
}

impl Sample for u8 {
    fn mix_wide(rows: &[&[u8]], mix: &Mix, out: &mut [i16]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if out.len() >= super::avx2::BYTES && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2
            unsafe { super::avx2::mix_bytes(rows, mix, out) };
            return true;
        }
        let _ = (rows, mix, out);
        false
    }
}

impl Sample for u16 {
    fn mix_wide(rows: &[&[u16]], mix: &Mix, out: &mut [i16]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if out.len() >= super::avx2::WORDS && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2
            unsafe { super::avx2::mix_words(rows, mix, out) };
            return true;
        }
        let _ = (rows, mix, out);
        false
    }
}

/// One row of weighted rows; each has the samples for `out`.
pub(super) fn mix_rows<S: Sample>(rows: &[&[S]], mix: &Mix, out: &mut [i16]) {
    if !S::mix_wide(rows, mix, out) {
        mix_rows_plain(rows, mix, out);
    }
}

pub(super) fn mix_rows_plain<S: Sample>(rows: &[&[S]], mix: &Mix, out: &mut [i16]) {
    // sums that stay in registers, for compilers that know how
    const LANES: usize = 64;
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let mut sums = [mix.init; LANES];
        for (row, weight) in rows.iter().zip(mix.weights) {
            let samples = &row[mix.from + block * LANES..][..out.len()];
            for (sum, sample) in sums.iter_mut().zip(samples) {
                *sum += (*sample).into() * i32::from(*weight);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (sum >> mix.shift) as i16;
        }
    }
}

/// The samples of a row, `depth` bits each, brought to [`POINT`].
pub(super) fn widen<S: Sample>(row: &[S], depth: u32, out: &mut [i16]) {
    for (out, sample) in out.iter_mut().zip(row) {
        *out = ((*sample).into() << (8 + POINT - depth)) as i16;
    }
}

/// Output pixels of a row, whole blocks of them. The row has [`Weights::row_length`] samples.
pub(super) fn mix_columns(row: &[i16], weights: &Weights, out: &mut [i16]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2
        unsafe { super::avx2::mix_columns(row, weights, out) };
        return;
    }
    mix_columns_plain(row, weights, out);
}

pub(super) fn mix_columns_plain(row: &[i16], weights: &Weights, out: &mut [i16]) {
    for (i, out) in out.iter_mut().enumerate() {
        let (samples, values) = weights.row(i);
        let samples = row[samples].iter().zip(values);
        let sum = samples.fold(weights.inits[i], |sum, (sample, weight)| {
            sum + i32::from(*sample) * i32::from(*weight)
        });
        *out = (sum >> WEIGHT_BITS) as i16;
    }
}
