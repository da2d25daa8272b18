//! What the header of an H.264 stream says of its frames (ITU-T H.264, sections 7.3.1 and 7.3.2.1;
//! ISO/IEC 14496-15, section 5.2.4).

use crate::bits::Bits;

const PARAMETER_SET: u8 = 7;
/// Profiles whose parameter sets tell the chroma format.
const HIGH: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Width and height of the frames, where the header has one set of parameters by which each picture
/// is a whole frame; else `None`.
#[must_use]
pub fn frame_size(header: &[u8]) -> Option<(usize, usize)> {
    let [1, _, _, _, lengths, count, high, low, rest @ ..] = header else {
        return None;
    };
    let set = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
    // packets give the lengths of their units in four bytes, as `changes_parameters` takes them
    (lengths & 3 == 3 && count & 31 == 1).then(|| size_of(set))?
}

/// Whether a packet brings parameters of its own, or is not made of whole units.
pub(crate) fn changes_parameters(mut packet: &[u8]) -> bool {
    while let Some((length, rest)) = packet.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((unit, rest)) = rest.split_at_checked(length) else {
            return true;
        };
        if unit.first().is_none_or(|kind| kind & 31 == PARAMETER_SET) {
            return true;
        }
        packet = rest;
    }
    !packet.is_empty()
}

fn size_of(set: &[u8]) -> Option<(usize, usize)> {
    let (kind, set) = set.split_first()?;
    let content = content(set);
    let mut bits = Bits::new(&content);
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.number()?;
    let mut chroma = 1;
    if HIGH.contains(&profile) {
        chroma = bits.number()?;
        bits.take(u32::from(chroma == 3))?;
        bits.number()?;
        bits.number()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            skip_matrices(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    skip_order(&mut bits)?;
    bits.number()?;
    bits.take(1)?;
    let (columns, rows) = (bits.number()?, bits.number()?);
    let has_whole_frames = bits.take(1)? == 1;
    bits.take(1)?;
    let mut crop = [0; 4];
    if bits.take(1)? == 1 {
        for edge in &mut crop {
            *edge = bits.number()?;
        }
    }
    let units = match chroma {
        1 => [2, 2],
        2 => [2, 1],
        0 | 3 => [1, 1],
        _ => return None,
    };
    let side = |blocks: u32, unit: u32, cut: [u32; 2]| {
        let cut = cut[0].checked_add(cut[1])?.checked_mul(unit)?;
        let whole = blocks.checked_add(1)?.checked_mul(16)?;
        usize::try_from(whole.checked_sub(cut)?).ok()
    };
    let width = side(columns, units[0], [crop[0], crop[1]])?;
    let height = side(rows, units[1], [crop[2], crop[3]])?;
    (kind & 31 == PARAMETER_SET && has_whole_frames).then_some((width, height))
}

fn skip_matrices(bits: &mut Bits, count: usize) -> Option<()> {
    for i in 0..count {
        if bits.take(1)? == 0 {
            continue;
        }
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..if i < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.signed()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Skips what tells the order of the frames.
fn skip_order(bits: &mut Bits) -> Option<()> {
    bits.number()?;
    match bits.number()? {
        0 => drop(bits.number()?),
        1 => {
            bits.take(1)?;
            bits.number()?;
            bits.number()?;
            for _ in 0..bits.number()?.min(256) {
                bits.number()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// The content of a unit: a 3 after two zeros is not part of it.
fn content(unit: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        bytes.push(*byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    // headers that libx264 wrote: 90x66, 94x70 in 4:4:4, and 96x64 by fields
    const CROPPED: &str = "0164000affe100196764000aacd9462f92221000000300100000030320f122596001000668\
                           ebe3cb22c0fdf8f800";
    const FULL_CHROMA: &str = "01f4000affe1001967f4000a919b28c5f717080000030008000003019078912cb00100\
                               0668ebe3c44844fff8f800";
    const FIELDS: &str = "01640015ffe1001767640015acd9464d0800000300080000030190f8a14cb001000668fba3\
                          cb22c0fdf8f800";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().as_chunks::<2>().0;
        let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
        digits
            .iter()
            .map(|[high, low]| value(*high) << 4 | value(*low))
            .collect()
    }

    #[test]
    fn size_is_that_of_the_shown_frames() {
        assert_eq!(frame_size(&bytes(CROPPED)), Some((90, 66)));
        assert_eq!(frame_size(&bytes(FULL_CHROMA)), Some((94, 70)));
    }

    #[test]
    fn fields_are_left_to_the_decoder() {
        assert_eq!(frame_size(&bytes(FIELDS)), None);
    }

    #[test]
    fn damaged_headers_are_read_without_a_panic() {
        let sound = bytes(CROPPED);
        for length in 0..sound.len() {
            let _ = frame_size(&sound[..length]);
            for value in [0, 0x55, 0xff] {
                let mut damaged = sound.clone();
                damaged[length] = value;
                let _ = frame_size(&damaged);
            }
        }
        assert_eq!(frame_size(&sound[..20]), None, "cut inside the parameters");
    }

    #[test]
    fn parameters_inside_a_packet_are_seen() {
        assert!(!changes_parameters(&[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 1, 6]));
        assert!(changes_parameters(&[0, 0, 0, 1, 0x67, 0, 0, 0, 1, 0x65]));
        assert!(changes_parameters(&[0, 0, 0, 9, 0x65]), "cut unit");
        assert!(changes_parameters(&[0, 0, 1]), "cut length");
    }
}
