//! Which part of an AV1 packet later frames need, from the headers of its frames.
//!
//! AV1 Bitstream & Decoding Process Specification, version 1.0.0 with errata 1: sections 5.3 (units),
//! 5.5 (sequence header) and 5.9.2 (uncompressed header).

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME: u8 = 6;
const PADDING: u8 = 15;

const KEY_FRAME: u32 = 0;
const INTRA_ONLY_FRAME: u32 = 2;
const SWITCH_FRAME: u32 = 3;
/// A stream that leaves a choice to each of its frames.
const SELECT: u32 = 2;

/// Reads packets in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    sequence: Option<Sequence>,
}

/// What a sequence header says of the headers of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sequence {
    screen_content_tools: u32,
    integer_mv: u32,
    order_hint_bits: u32,
}

impl Reader {
    /// How many bytes of the packet, from its start, are needed where its shown frame is not: those
    /// before a last frame that no other one refers to; all where that is in doubt.
    pub fn needed(&mut self, packet: &[u8]) -> usize {
        self.spare_from(packet).unwrap_or(packet.len())
    }

    fn spare_from(&mut self, packet: &[u8]) -> Option<usize> {
        let (mut at, mut spare, mut is_empty) = (0, None, true);
        while at < packet.len() {
            let unit = Unit::read(packet.get(at..)?)?;
            match unit.kind {
                TEMPORAL_DELIMITER | PADDING => {}
                SEQUENCE_HEADER => {
                    self.sequence = Sequence::read(&mut Bits::new(unit.payload));
                    is_empty = false;
                }
                FRAME if spare.is_none() => {
                    let is_spare = is_unreferenced(self.sequence?, &mut Bits::new(unit.payload))?;
                    // a delimiter alone is no packet
                    spare = is_spare.then_some(if is_empty { 0 } else { at });
                    is_empty = false;
                }
                // frames in pieces, frames shown again, frames behind a spare one
                _ => return None,
            }
            at += unit.bytes;
        }
        spare
    }
}

/// An open bitstream unit: one that is no layer of several and tells its size.
struct Unit<'a> {
    kind: u8,
    payload: &'a [u8],
    bytes: usize,
}

impl<'a> Unit<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let header = packet.first()?;
        let (is_layer, has_size) = (header & 4 != 0, header & 2 != 0);
        if is_layer || !has_size {
            return None;
        }
        let (mut size, mut at) = (0_usize, 1);
        loop {
            let byte = *packet.get(at)?;
            size |= usize::from(byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
            if at > 4 {
                return None;
            }
        }
        Some(Self {
            kind: header >> 3 & 15,
            payload: packet.get(at..at.checked_add(size)?)?,
            bytes: at + size,
        })
    }
}

impl Sequence {
    /// `None` for a stream of still pictures, with a decoder model or with frame numbers.
    fn read(bits: &mut Bits) -> Option<Self> {
        let (_profile, _is_still, is_reduced) = (bits.take(3)?, bits.take(1)?, bits.take(1)?);
        let has_timing = bits.take(1)?;
        if is_reduced + has_timing > 0 {
            return None;
        }
        let has_delays = bits.take(1)?;
        for _ in 0..=bits.take(5)? {
            let (_operating_point, level) = (bits.take(12)?, bits.take(5)?);
            if level > 7 {
                bits.take(1)?;
            }
            if has_delays == 1 && bits.take(1)? == 1 {
                bits.take(4)?;
            }
        }
        let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
        let (_width, _height) = (bits.take(width_bits)?, bits.take(height_bits)?);
        if bits.take(1)? == 1 {
            return None;
        }
        // superblocks, two intra tools, four inter tools
        bits.take(7)?;
        let has_order = bits.take(1)?;
        if has_order == 1 {
            bits.take(2)?;
        }
        let is_choice = |bits: &mut Bits| Some(bits.take(1)? == 1);
        let screen_content_tools = if is_choice(bits)? {
            SELECT
        } else {
            bits.take(1)?
        };
        let integer_mv = if screen_content_tools == 0 || is_choice(bits)? {
            SELECT
        } else {
            bits.take(1)?
        };
        let order_hint_bits = if has_order == 1 { bits.take(3)? + 1 } else { 0 };
        Some(Self {
            screen_content_tools,
            integer_mv,
            order_hint_bits,
        })
    }
}

/// Whether a frame is shown and leaves nothing behind for other frames.
fn is_unreferenced(sequence: Sequence, bits: &mut Bits) -> Option<bool> {
    let is_shown_again = bits.take(1)? == 1;
    if is_shown_again {
        return Some(false);
    }
    let (kind, is_shown) = (bits.take(2)?, bits.take(1)? == 1);
    if !is_shown || kind == KEY_FRAME || kind == SWITCH_FRAME {
        return Some(false);
    }
    let is_resilient = bits.take(1)? == 1;
    let _disable_cdf_update = bits.take(1)?;
    let has_tools = match sequence.screen_content_tools {
        SELECT => bits.take(1)?,
        known => known,
    };
    if has_tools == 1 && sequence.integer_mv == SELECT {
        bits.take(1)?;
    }
    let _has_own_size = bits.take(1)?;
    bits.take(sequence.order_hint_bits)?;
    if kind != INTRA_ONLY_FRAME && !is_resilient {
        let _primary_frame = bits.take(3)?;
    }
    let refreshed = bits.take(8)?;
    Some(refreshed == 0)
}

/// Bits, the highest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, 32 at most; `None` behind the end.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }
}

/// Reads any bytes as packets; for `rust/fuzz`.
///
/// # Panics
/// Panics where more is said to be needed than there is.
#[cfg(fuzzing)]
pub fn check_packets(bytes: &[u8]) {
    let mut reader = Reader::default();
    for packet in bytes.split(|byte| *byte == 0xff) {
        assert!(reader.needed(packet) <= packet.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of the given widths as bytes.
    fn pack(fields: &[(u32, u32)]) -> Vec<u8> {
        let bits: Vec<u32> = fields
            .iter()
            .flat_map(|(value, count)| (0..*count).rev().map(move |bit| value >> bit & 1))
            .collect();
        let byte = |bits: &[u32]| {
            let filled = bits.iter().chain([0; 8].iter()).take(8);
            filled.fold(0, |byte, bit| byte << 1 | *bit as u8)
        };
        bits.chunks(8).map(byte).collect()
    }

    fn unit(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind << 3 | 2, payload.len() as u8];
        bytes.extend(payload);
        bytes
    }

    /// 16 x 16 pixels, order hints of 7 bits, screen content tools left to the frames.
    fn sequence() -> Vec<u8> {
        let start = [
            (0, 3),
            (0, 1),
            (0, 1),
            (0, 1),
            (0, 1),
            (0, 5),
            (0, 12),
            (8, 5),
            (0, 1),
        ];
        let size = [(3, 4), (3, 4), (15, 4), (15, 4), (0, 1), (0, 7)];
        let tools = [(1, 1), (0, 2), (1, 1), (1, 1), (6, 3)];
        unit(
            SEQUENCE_HEADER,
            &pack(&[&start[..], &size, &tools].concat()),
        )
    }

    /// An inter frame that is kept in the slots `refreshed`.
    fn frame(is_shown: u32, refreshed: u32) -> Vec<u8> {
        let showable = u32::from(is_shown == 0);
        let start = [(0, 1), (1, 2), (is_shown, 1), (0, showable), (0, 1), (0, 1)];
        let rest = [
            (1, 1),
            (0, 1),
            (0, 1),
            (5, 7),
            (7, 3),
            (refreshed, 8),
            (0, 9),
        ];
        unit(FRAME, &pack(&[&start[..], &rest].concat()))
    }

    #[test]
    fn frames_that_no_other_needs_are_spare() {
        let delimiter = unit(TEMPORAL_DELIMITER, &[]);
        let (alone, kept) = ([&delimiter[..], &frame(1, 0)].concat(), frame(1, 4));
        let (hidden, last) = (frame(0, 4), frame(1, 0));
        let mut reader = Reader::default();
        assert_eq!(reader.needed(&alone), alone.len(), "no sequence header yet");
        assert_eq!(reader.needed(&sequence()), sequence().len());
        assert_eq!(reader.needed(&alone), 0);
        assert_eq!(reader.needed(&kept), kept.len());
        let cut = &alone[..alone.len() - 1];
        assert_eq!(reader.needed(cut), cut.len());
        // the frames before a spare one stay
        let both = [&delimiter[..], &hidden, &last].concat();
        let needed = reader.needed(&both);
        assert_eq!(needed, delimiter.len() + hidden.len());
    }
}
