//! Reads bytes bit by bit.

/// Bits that are left, the highest of a byte first.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next `count` of them, up to 32, as a number; `None` past the end.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.position / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Some(value)
    }

    /// Leaves out the next `count`.
    pub fn skip(&mut self, count: u32) {
        self.position += count as usize;
    }

    /// An Exp-Golomb number.
    pub fn number(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
        }
        (zeros < 32).then_some(())?;
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// An Exp-Golomb number with a sign.
    pub fn signed(&mut self) -> Option<i64> {
        let number = i64::from(self.number()?);
        Some(if number % 2 == 0 {
            -number / 2
        } else {
            number / 2 + 1
        })
    }
}
