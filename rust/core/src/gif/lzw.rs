//! Entries to LZW codes, with a choice where a pixel may as well stay as it is.

/// An entry of the palette in the low byte, and whether the pixel may be left out.
pub type Cell = u16;
/// The canvas shows this entry's colour already.
pub const SAME: Cell = 1 << 8;
/// Entry of a pixel that is left out, where the palette has a transparent one.
pub const LEFT_OUT: u8 = 0;

const MAX_WIDTH: u32 = 12;
/// Strings that are kept at a time.
pub const MAX_CODES: u32 = 1 << MAX_WIDTH;
const SLOTS: usize = 1 << 13;
// no string ends with code 4095: the codes start anew when it is given out
const FREE: u32 = u32::MAX;

/// The image data of a frame: least code size, then blocks, then the end.
///
/// `keeps`: entry 0 leaves a pixel as it is.
pub fn compress(cells: &[Cell], bits: u32, keeps: bool) -> Vec<u8> {
    let mut coder = Coder::new(bits);
    let mask = if keeps { Cell::MAX } else { !SAME };
    let mut cells = cells.iter().map(|cell| choices(cell & mask));
    let Some((first, _)) = cells.next() else {
        return coder.finish(None);
    };
    let mut string = u32::from(first);
    for (wanted, other) in cells {
        string = match coder.find(string, wanted) {
            Ok(longer) => longer,
            Err(_) if wanted != other && coder.find(string, other).is_ok() => {
                coder.find(string, other).unwrap_or(0)
            }
            Err(slot) => {
                coder.end_string(string, wanted, slot);
                u32::from(wanted)
            }
        };
    }
    coder.finish(Some(string))
}

/// What to write for a cell, and what would do as well.
fn choices(cell: Cell) -> (u8, u8) {
    let entry = cell as u8;
    if cell & SAME != 0 {
        (LEFT_OUT, entry)
    } else {
        (entry, entry)
    }
}

/// The strings so far and the bits written.
pub struct Coder {
    /// A string and the entry after it in 20 bits, then the code of the two.
    slots: Vec<u32>,
    bits: u32,
    width: u32,
    next: u32,
    out: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl Coder {
    pub fn new(bits: u32) -> Self {
        let mut coder = Self {
            slots: vec![FREE; SLOTS],
            bits,
            width: bits + 1,
            next: (1 << bits) + 2,
            out: Vec::new(),
            pending: 0,
            pending_bits: 0,
        };
        coder.put(1 << bits);
        coder
    }

    /// The code of `string` with `entry` at its end, else the slot where it belongs.
    pub fn find(&self, string: u32, entry: u8) -> Result<u32, usize> {
        let key = string << 8 | u32::from(entry);
        let mut slot = (key.wrapping_mul(0x9e37_79b1) >> 19) as usize;
        loop {
            let held = self.slots[slot];
            if held >> MAX_WIDTH == key {
                return Ok(held % MAX_CODES);
            }
            if held == FREE {
                return Err(slot);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Writes `string`, and keeps it with `entry` at its end in the free `slot`. Returns the code of
    /// the two, or `None` where no string is kept any longer.
    pub fn end_string(&mut self, string: u32, entry: u8, slot: usize) -> Option<u32> {
        self.put(string);
        self.slots[slot] = (string << 8 | u32::from(entry)) << MAX_WIDTH | self.next;
        if self.next == MAX_CODES - 1 {
            self.put(1 << self.bits);
            self.slots.fill(FREE);
            self.width = self.bits + 1;
            self.next = (1 << self.bits) + 2;
            return None;
        }
        if self.next == 1 << self.width {
            self.width += 1;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    fn put(&mut self, code: u32) {
        self.pending |= u64::from(code) << self.pending_bits;
        self.pending_bits += self.width;
        if self.pending_bits >= 32 {
            self.out.extend((self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.pending_bits -= 32;
        }
    }

    pub fn finish(mut self, string: Option<u32>) -> Vec<u8> {
        if let Some(string) = string {
            self.put(string);
            // a reader gives out the code that the last string would have made
            if self.next == 1 << self.width && self.width < MAX_WIDTH {
                self.width += 1;
            }
        }
        self.put((1 << self.bits) + 1);
        let left = self.pending_bits.div_ceil(8) as usize;
        self.out.extend(&self.pending.to_le_bytes()[..left]);
        let mut data = Vec::with_capacity(self.out.len() + self.out.len() / 255 + 3);
        data.push(self.bits as u8);
        for block in self.out.chunks(255) {
            data.push(block.len() as u8);
            data.extend(block);
        }
        data.push(0);
        data
    }
}
