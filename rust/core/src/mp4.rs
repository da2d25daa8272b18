//! What the header of an MP4 file says of its packets' times (ISO/IEC 14496-12, sections 8.3.2 and
//! 8.6.1): FFmpeg tells of the packets that it lists all but these without reading them one by one.

/// When a packet's frame is shown, in ticks after its decoding, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub offset: i64,
    pub duration: i64,
}

/// Those of all packets of a track, by the content of the box `moov`; `None` if they are not `count`.
pub(crate) fn timings(header: &[u8], track: u32, count: usize) -> Option<Vec<Timing>> {
    let tracks = boxes(header).filter(|(kind, _)| kind == b"trak");
    let is_it = |content: &&[u8]| id_of(content) == Some(track);
    let content = tracks.map(|(_, content)| content).find(is_it)?;
    let path = [*b"mdia", *b"minf", *b"stbl"];
    let table = path.into_iter().try_fold(content, child)?;
    let durations = runs(child(table, *b"stts")?, count)?;
    let offsets = match child(table, *b"ctts") {
        Some(offsets) => runs(offsets, count)?,
        None => vec![0; count],
    };
    let pairs = offsets.into_iter().zip(durations);
    let timing = |(offset, duration)| Timing { offset, duration };
    Some(pairs.map(timing).collect())
}

fn id_of(track: &[u8]) -> Option<u32> {
    let head = child(track, *b"tkhd")?;
    // version 1 has two times of eight bytes, not of four, before the number
    number(head, if *head.first()? == 1 { 20 } else { 12 })
}

/// Numbers that are told with how often each is repeated.
fn runs(content: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut all = Vec::with_capacity(count);
    for run in 0..number(content, 4)? as usize {
        let times = number(content, 8 + 8 * run)? as usize;
        let value = number(content, 12 + 8 * run)?.cast_signed();
        if times > count - all.len() {
            return None;
        }
        all.resize(all.len() + times, value.into());
    }
    (all.len() == count).then_some(all)
}

fn child(content: &[u8], wanted: [u8; 4]) -> Option<&[u8]> {
    let mut found = boxes(content).filter(|(kind, _)| *kind == wanted);
    found.next().map(|(_, content)| content)
}

/// Kinds and contents of the boxes, up to one that is not whole.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let (whole, rest) = bytes.split_at_checked(length)?;
        let (head, content) = whole.split_first_chunk::<8>()?;
        bytes = rest;
        Some(([head[4], head[5], head[6], head[7]], content))
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let (number, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let length = content.len() as u32 + 8;
        [length.to_be_bytes().as_slice(), kind, content].concat()
    }

    fn table(kind: &[u8], runs: &[[u32; 2]]) -> Vec<u8> {
        let numbers = [0, runs.len() as u32].into_iter().chain(runs.concat());
        let bytes: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
        boxed(kind, &bytes)
    }

    /// A header of track 7 after another one.
    fn header(tables: &[Vec<u8>]) -> Vec<u8> {
        let inner = boxed(b"minf", &boxed(b"stbl", &tables.concat()));
        let track = |id: u8| {
            let head = boxed(b"tkhd", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, id]);
            boxed(b"trak", &[head, boxed(b"mdia", &inner)].concat())
        };
        [track(3), track(7)].concat()
    }

    #[test]
    fn each_packet_has_its_times() {
        let minus_one = u32::MAX;
        let offsets = table(b"ctts", &[[1, 2], [2, minus_one]]);
        let header = header(&[table(b"stts", &[[2, 10], [1, 5]]), offsets]);
        let expected = [(2, 10), (-1, 10), (-1, 5)];
        let expected = expected.map(|(offset, duration)| Timing { offset, duration });
        assert_eq!(timings(&header, 7, 3), Some(expected.to_vec()));
        assert_eq!(timings(&header, 7, 4), None, "too few");
        assert_eq!(timings(&header, 7, 2), None, "too many");
        assert_eq!(timings(&header, 8, 3), None, "no such track");
    }

    #[test]
    fn damaged_headers_are_read_without_a_panic() {
        let sound = header(&[table(b"stts", &[[2, 10]])]);
        for place in 0..sound.len() {
            let _ = timings(&sound[..place], 7, 2);
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = sound.clone();
                damaged[place] = value;
                let _ = timings(&damaged, 7, 2);
            }
        }
    }
}
