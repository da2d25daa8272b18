//! One table as bytes: a head with a checksum, then numbers of 8 bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use twox_hash::XxHash3_128;

use crate::ffmpeg::{Facts, Rational};
use crate::index::{Entry, Index, Skip};
use crate::source::Pick;
use crate::track::Track;

/// Changes with the format of an entry and with what a table means.
const MAGIC: &[u8; 8] = b"fvdtab01";
const HEAD_BYTES: usize = 24;
const NO_TIME: i64 = i64::MIN;

pub(super) fn write(track: &Track) -> Vec<u8> {
    let (facts, index) = (&track.facts, &track.index);
    let flags = [
        facts.has_audio,
        facts.is_progressive,
        facts.is_reordered,
        track.is_plain,
        track.needs_trial || !facts.is_by_header(),
    ];
    let mut numbers = vec![
        facts.stream.into(),
        facts.codec_id.into(),
        facts.time_base.num.into(),
        facts.time_base.den.into(),
        facts.coded_size.0 as i64,
        facts.coded_size.1 as i64,
        facts.rotation.into(),
        index.last_duration,
    ];
    numbers.extend(flags.map(i64::from));
    let counts = [index.times.len(), index.entries.len(), index.entry_of.len()];
    numbers.extend(counts.map(|count| count as i64));
    numbers.extend(&index.times);
    for entry in &index.entries {
        numbers.extend([entry.pts, entry.dts.unwrap_or(NO_TIME)]);
    }
    numbers.extend(index.entry_of.iter().map(|entry| i64::from(*entry)));
    let body: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let sum = XxHash3_128::oneshot(&body).to_le_bytes();
    [MAGIC.as_slice(), &sum, &body].concat()
}

/// `None` where there is no such entry, or it is not sound.
pub(super) fn read(path: &Path, pick: Pick) -> Option<Track> {
    let track = parse(&fs::read(path).ok()?)?;
    track.check(pick.path).ok()?;
    Some(track)
}

fn parse(bytes: &[u8]) -> Option<Track> {
    let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
    let (magic, sum) = head.split_at(MAGIC.len());
    if magic != MAGIC || *sum != XxHash3_128::oneshot(body).to_le_bytes() {
        return None;
    }
    let mut numbers = Numbers(body);
    let facts = Facts {
        stream: numbers.next()?,
        codec_id: numbers.next()?,
        time_base: Rational {
            num: numbers.next()?,
            den: numbers.next()?,
        },
        coded_size: (numbers.next()?, numbers.next()?),
        rotation: numbers.next()?,
        ..Facts::default()
    };
    let last_duration = numbers.next()?;
    let facts = Facts {
        has_audio: numbers.flag()?,
        is_progressive: numbers.flag()?,
        is_reordered: numbers.flag()?,
        ..facts
    };
    let (is_plain, needs_trial) = (numbers.flag()?, numbers.flag()?);
    let index = parse_index(&mut numbers, last_duration, facts.codec())?;
    Some(Track {
        facts: Arc::new(facts),
        index,
        is_plain,
        needs_trial,
        ..Track::default()
    })
}

fn parse_index(numbers: &mut Numbers, last_duration: i64, codec: &str) -> Option<Index> {
    let counts: [usize; 3] = [numbers.next()?, numbers.next()?, numbers.next()?];
    let [frames, entries, reached] = counts;
    let most = numbers.0.len() / 8;
    let is_sane = (1..=most).contains(&frames)
        && entries <= most
        && reached == if entries == 0 { 0 } else { frames };
    if !is_sane || numbers.0.len() != 8 * (frames + 2 * entries + reached) {
        return None;
    }
    let times: Option<Vec<i64>> = (0..frames).map(|_| numbers.next()).collect();
    let pairs = (0..entries).map(|_| {
        let (pts, dts) = (numbers.next()?, numbers.next()?);
        let dts = (dts != NO_TIME).then_some(dts);
        Some(Entry { pts, dts })
    });
    let places: Option<Vec<Entry>> = pairs.collect();
    let of: Option<Vec<u32>> = (0..reached).map(|_| numbers.next()).collect();
    let mut index = Index {
        times: times?,
        last_duration,
        entries: places?,
        entry_of: of?,
        skip: Skip::Nothing,
    };
    let is_sound = index
        .entry_of
        .iter()
        .all(|entry| (*entry as usize) < entries)
        && (entries == 0 || index.times.is_sorted_by(|a, b| a < b));
    if entries > 0 {
        index.skip = index.skip_of(codec);
    }
    is_sound.then_some(index)
}

/// Numbers that are left.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next<T: TryFrom<i64>>(&mut self) -> Option<T> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        T::try_from(i64::from_le_bytes(*number)).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.next::<u8>()? != 0)
    }
}

/// Reads any bytes as an entry, with the checksum that they should have; for `rust/fuzz`.
///
/// # Panics
/// Panics where a table is wrong.
#[cfg(fuzzing)]
pub fn check_entry(bytes: &[u8]) {
    let sum = XxHash3_128::oneshot(bytes).to_le_bytes();
    let Some(track) = parse(&[MAGIC.as_slice(), &sum, bytes].concat()) else {
        return;
    };
    let index = &track.index;
    for number in 0..index.times.len() {
        assert_eq!(index.entry_of(number).is_some(), index.is_seekable());
    }
    assert!(parse(&write(&track)).is_some());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track() -> Track {
        let facts = Facts {
            coded_size: (48, 32),
            time_base: Rational { num: 1, den: 25 },
            has_audio: true,
            ..Facts::default()
        };
        let index = Index {
            times: vec![0, 1, 2],
            last_duration: 1,
            entries: vec![
                Entry { pts: 0, dts: None },
                Entry {
                    pts: 2,
                    dts: Some(1),
                },
            ],
            entry_of: vec![0, 0, 1],
            skip: Skip::Nothing,
        };
        Track {
            facts: Arc::new(facts),
            index,
            ..Track::default()
        }
    }

    #[test]
    fn a_table_comes_back_as_it_was() {
        let (before, after) = (track(), parse(&write(&track())).unwrap_or_default());
        assert_eq!(after.index.times, before.index.times);
        assert_eq!(after.index.entries, before.index.entries);
        assert_eq!(after.index.entry_of, before.index.entry_of);
        assert_eq!(after.index.last_duration, 1);
        assert_eq!(after.facts.coded_size, (48, 32));
        assert_eq!(after.facts.time_base, before.facts.time_base);
        assert!(after.facts.has_audio && !after.facts.is_progressive);
    }

    #[test]
    fn damaged_entries_are_refused() {
        let sound = write(&track());
        for place in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[place] ^= 1;
            assert!(parse(&damaged).is_none(), "byte {place}");
            assert!(parse(&sound[..place]).is_none(), "cut at {place}");
        }
        let mut longer = sound;
        longer.push(0);
        assert!(parse(&longer).is_none());
    }

    #[test]
    fn tables_that_lead_nowhere_are_refused() {
        let mut wrong = track();
        wrong.index.entry_of[1] = 2;
        assert!(parse(&write(&wrong)).is_none(), "no such entry");
        let mut wrong = track();
        wrong.index.times[1] = 5;
        assert!(parse(&write(&wrong)).is_none(), "time goes back");
        let mut wrong = track();
        wrong.index.entry_of.pop();
        assert!(parse(&write(&wrong)).is_none(), "a frame without its entry");
    }
}
