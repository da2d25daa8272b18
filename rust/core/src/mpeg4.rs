//! What an MPEG-4 packet says of its frame (ISO/IEC 14496-2, sections 6.2.3 and 6.2.5).

use crate::bits::Bits;

/// Start codes: their last byte, after 0, 0, 1.
const LAYERS: std::ops::RangeInclusive<u8> = 0x20..=0x2f;
const GROUP: u8 = 0xb3;
const PLANE: u8 = 0xb6;

/// What stands before the first group or frame of a packet: what a decoder must know beforehand.
pub(crate) fn header(packet: &[u8]) -> &[u8] {
    let mut codes = codes(packet);
    let end = codes.find(|at| matches!(packet[*at], GROUP | PLANE));
    &packet[..end.map_or(0, |at| at - 3)]
}

/// Width and height of the frames by such a header.
pub(crate) fn frame_size(header: &[u8]) -> Option<(usize, usize)> {
    let layer = codes(header).find(|at| LAYERS.contains(&header[*at]))?;
    let mut bits = Bits::new(&header[layer + 1..]);
    bits.skip(9);
    let mut version = 1;
    if bits.take(1)? == 1 {
        version = bits.take(4)?;
        bits.skip(3);
    }
    if bits.take(4)? == 15 {
        bits.skip(16);
    }
    if bits.take(1)? == 1 {
        bits.skip(3);
        let has_buffer = bits.take(1)?;
        bits.skip(79 * has_buffer);
    }
    let shape = bits.take(2)?;
    bits.skip(if shape == 3 && version != 1 { 5 } else { 1 });
    let ticks = bits.take(16)?;
    bits.skip(1);
    if bits.take(1)? == 1 {
        bits.skip(ticks.saturating_sub(1).checked_ilog2().unwrap_or(0) + 1);
    }
    bits.skip(1);
    let width = bits.take(13)?;
    bits.skip(1);
    let height = bits.take(13)?;
    (shape == 0).then_some((width as usize, height as usize))
}

/// Whether a packet is a frame that is shown after all those before it; one where decoding may
/// start, if it says so (`is_key`).
pub(crate) fn is_in_order(packet: &[u8], is_key: bool) -> bool {
    let plane = codes(packet).find(|at| packet[*at] == PLANE);
    let kind = plane
        .and_then(|at| packet.get(at + 1))
        .map(|byte| byte >> 6);
    // 0 is coded on its own, 2 between frames
    kind.is_some_and(|kind| kind == 0 || !is_key && kind != 2)
}

/// Where the last bytes of start codes are.
fn codes(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let is_code = |at: &usize| bytes[*at - 3..*at] == [0, 0, 1];
    (3..bytes.len()).filter(is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    // what FFmpeg's encoder writes before a first frame of 160x120
    const PLAIN: &str = "000001b001000001b58913000001000000012000c48d8800cd05040f1443";

    fn bytes(hex: &str) -> Vec<u8> {
        let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
        let pairs = hex.as_bytes().as_chunks::<2>().0.iter();
        pairs
            .map(|[high, low]| value(*high) << 4 | value(*low))
            .collect()
    }

    fn packet(kind: u8) -> Vec<u8> {
        let mut packet = bytes(PLAIN);
        packet.extend([0, 0, 1, PLANE, kind << 6, 1, 2, 3]);
        packet
    }

    #[test]
    fn header_tells_the_size() {
        assert_eq!(header(&packet(0)), bytes(PLAIN));
        assert_eq!(frame_size(&bytes(PLAIN)), Some((160, 120)));
        assert_eq!(header(&[0, 0, 1, 0x20]), [0; 0], "no frame");
        assert_eq!(frame_size(&[0, 0, 1, PLANE, 0]), None);
    }

    #[test]
    fn damaged_headers_are_read_without_a_panic() {
        for length in 0..PLAIN.len() / 2 {
            let mut damaged = bytes(PLAIN);
            let _ = frame_size(&damaged[..length]);
            damaged[length] ^= 0xff;
            let _ = frame_size(&damaged);
        }
    }

    #[test]
    fn frames_out_of_order_are_seen() {
        assert!(is_in_order(&packet(0), true));
        assert!(is_in_order(&packet(1), false));
        assert!(!is_in_order(&packet(1), true), "no start");
        assert!(!is_in_order(&packet(2), false), "between others");
        assert!(!is_in_order(&bytes(PLAIN), true), "no frame");
    }
}
