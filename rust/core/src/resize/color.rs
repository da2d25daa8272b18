//! Rows of samples to packed 8-bit RGB, in 16-bit arithmetic.

use super::rows::POINT;

/// Bits behind the point of what the matrix adds up.
pub(super) const SUM_POINT: u32 = 5;
/// Grey of a colour difference.
pub(super) const NO_COLOR: i16 = 128 << POINT;

/// What turns Y, Cb and Cr into red, green and blue: products of [`times`], whose factors are in
/// quarters of 2^15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// Black, in 8-bit steps.
    pub black: i16,
    luma: i16,
    red: i16,
    green: [i16; 2],
    blue: i16,
}

impl Matrix {
    /// The matrix for the weights of red and blue in luma, ITU-R BT.601 section 2.5; samples have
    /// `depth` bits.
    pub fn new([red, blue]: [f64; 2], is_full_range: bool, depth: u32) -> Self {
        let green = 1.0 - red - blue;
        // how far a full-range value of `depth` bits falls short of 256 steps of 8 bits
        let full = 255.0 / (256.0 - 0.5_f64.powi(depth as i32 - 8));
        let (luma, chroma) = if is_full_range {
            (full, full)
        } else {
            (255.0 / 219.0, 255.0 / 224.0)
        };
        let quarter = |factor: f64| (factor * 8192.0).round() as i16;
        Self {
            black: if is_full_range { 0 } else { 16 },
            luma: quarter(luma),
            red: quarter(2.0 * (1.0 - red) * chroma),
            green: [
                quarter(-2.0 * (1.0 - blue) * blue / green * chroma),
                quarter(-2.0 * (1.0 - red) * red / green * chroma),
            ],
            blue: quarter(2.0 * (1.0 - blue) * chroma),
        }
    }
}

/// A product in fixed point, as one instruction of x86 and ARM makes it.
fn times(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15) as i16
}

fn byte(sum: i16, point: u32) -> u8 {
    (sum.wrapping_add(1 << (point - 1)) >> point).clamp(0, 255) as u8
}

/// Three rows of samples as RGB; `None` for rows that are red, green and blue.
pub(super) fn to_rgb(rows: [&[i16]; 3], matrix: Option<&Matrix>, out: &mut [u8]) {
    let done = to_rgb_wide(rows, matrix, out);
    to_rgb_plain(rows.map(|row| &row[done..]), matrix, &mut out[3 * done..]);
}

#[cfg(target_arch = "x86_64")]
fn to_rgb_wide(rows: [&[i16]; 3], matrix: Option<&Matrix>, out: &mut [u8]) -> usize {
    if !is_x86_feature_detected!("avx2") {
        return 0;
    }
    // SAFETY: the processor has AVX2
    unsafe { super::avx2_color::to_rgb(rows, matrix, out) }
}

#[cfg(not(target_arch = "x86_64"))]
fn to_rgb_wide(_: [&[i16]; 3], _: Option<&Matrix>, _: &mut [u8]) -> usize {
    0
}

pub(super) fn to_rgb_plain(rows: [&[i16]; 3], matrix: Option<&Matrix>, out: &mut [u8]) {
    let [first, second, third] = rows;
    let samples = first.iter().zip(second).zip(third);
    for (out, ((a, b), c)) in out.chunks_exact_mut(3).zip(samples) {
        let rgb = match matrix {
            Some(matrix) => matrix.sums(*a, *b, *c).map(|sum| byte(sum, SUM_POINT)),
            None => [*a, *b, *c].map(|sample| byte(sample, POINT)),
        };
        out.copy_from_slice(&rgb);
    }
}

impl Matrix {
    fn sums(&self, y: i16, cb: i16, cr: i16) -> [i16; 3] {
        // samples out of their range wrap, as they do in vector code
        let luma = times(y.wrapping_sub(self.black << POINT), self.luma);
        let (cb, cr) = (cb.wrapping_sub(NO_COLOR), cr.wrapping_sub(NO_COLOR));
        let green = times(cb, self.green[0]).wrapping_add(times(cr, self.green[1]));
        [times(cr, self.red), green, times(cb, self.blue)].map(|color| luma.wrapping_add(color))
    }

    /// Black, luma, red, green, blue: what the vector code needs.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn factors(&self) -> [i16; 6] {
        let [from_blue, from_red] = self.green;
        [
            self.black << POINT,
            self.luma,
            self.red,
            from_blue,
            from_red,
            self.blue,
        ]
    }
}
