//! Which video and first frame clip number n is: `fastvd/data/order.py` says the same in Python.

use crate::{Error, Result};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const ROUNDS: u64 = 8;
const MIN_HALF_BITS: u32 = 2;
/// The last counter of the draw of a first frame.
const START: u64 = 1;

/// Video and first frame of `count` clips from number `first`, counted across epochs.
///
/// `ends[v]` clips of an epoch lie in videos 0 to v; `starts[v]` first frames leave room for one.
pub fn choose(
    seed: u64,
    first: u64,
    count: usize,
    ends: &[u64],
    starts: &[u64],
) -> Result<Vec<(usize, u64)>> {
    let size = ends.last().copied().unwrap_or(0);
    if size == 0 || ends.len() != starts.len() || starts.contains(&0) || !ends.is_sorted() {
        let text = "ends must rise, with as many starts above 0".to_owned();
        return Err(Error::Argument(text));
    }
    let choices = (first..).take(count).map(|number| {
        let (epoch, index) = (number / size, number % size);
        let slot = permuted(index, size, random_bits(seed, &[epoch]));
        let video = ends.partition_point(|end| *end <= slot);
        let bits = random_bits(seed, &[epoch, index, 0, START]);
        let start = (u128::from(bits) * u128::from(starts[video])) >> 64;
        (video, start as u64)
    });
    Ok(choices.collect())
}

fn random_bits(seed: u64, counters: &[u64]) -> u64 {
    let start = mix(seed.wrapping_add(GOLDEN));
    counters.iter().fold(start, |state, counter| {
        mix(mix(state.wrapping_add(GOLDEN)) ^ counter)
    })
}

fn permuted(index: u64, size: u64, key: u64) -> u64 {
    let bits = u64::BITS - (size - 1).leading_zeros();
    let half_bits = bits.div_ceil(2).max(MIN_HALF_BITS);
    let mut index = feistel(index, half_bits, key);
    while index >= size {
        index = feistel(index, half_bits, key);
    }
    index
}

fn feistel(value: u64, half_bits: u32, key: u64) -> u64 {
    let mask = (1 << half_bits) - 1;
    let (mut left, mut right) = (value >> half_bits, value & mask);
    for turn in 0..ROUNDS {
        let input = (turn << half_bits | right).wrapping_mul(GOLDEN);
        let noise = mix(key.wrapping_add(input)) >> (u64::BITS - half_bits);
        (left, right) = (right, left ^ noise);
    }
    left << half_bits | right
}

fn mix(z: u64) -> u64 {
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails may panic")]
mod tests {
    use super::choose;

    #[test]
    fn an_epoch_takes_each_place_once() {
        let ends = [4, 6, 7];
        for epoch in 0..3 {
            let clips = choose(9, epoch * 7, 7, &ends, &[30, 10, 1]).unwrap();
            let of = |video| clips.iter().filter(|clip| clip.0 == video).count();
            assert_eq!([of(0), of(1), of(2)], [4, 2, 1]);
            assert!(clips.iter().all(|(v, start)| *start < [30, 10, 1][*v]));
        }
    }

    #[test]
    fn what_is_no_set_of_videos_is_refused() {
        assert!(choose(0, 0, 1, &[], &[]).is_err());
        assert!(choose(0, 0, 1, &[3], &[0]).is_err());
        assert!(choose(0, 0, 1, &[3, 2], &[1, 1]).is_err());
        assert!(choose(0, 0, 1, &[3], &[1, 1]).is_err());
    }
}
