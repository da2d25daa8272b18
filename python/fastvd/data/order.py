"""Which clip is number i of epoch e: a pure function of the seed, in constant memory."""

from fastvd.arguments import check_whole

_BITS = 64
_MASK = (1 << _BITS) - 1
_GOLDEN = 0x9E3779B97F4A7C15
# Luby and Rackoff ask for four; small domains mix worse, and a round costs a microsecond
_ROUNDS = 8
# the half width of the smallest domain: two bits a half, 16 numbers
_MIN_HALF_BITS = 2


def check_seed(seed: int) -> int:
    """Return ``seed``; raises ValueError unless 0 <= seed < 2**64."""
    check_whole(seed=seed)
    if not 0 <= seed <= _MASK:
        raise ValueError(f"seed must be in 0..2**64 - 1, got {seed}")
    return seed


def random_bits(seed: int, *counters: int) -> int:
    """64 random bits: a pure function of ``seed`` and ``counters``, in their order."""
    state = _mix(seed + _GOLDEN)
    for counter in counters:
        # mixed on both sides: a sum of two mixed numbers would not tell (1, 2) from (2, 1)
        state = _mix(_mix(state + _GOLDEN) ^ counter)
    return state


def random_below(bound: int, *, seed: int, counters: tuple[int, ...]) -> int:
    """A random number in 0..bound-1, uniform up to one part in 2**64 / bound."""
    if not 1 <= bound <= _MASK:
        raise ValueError(f"bound must be in 1..2**64 - 1, got {bound}")
    return random_bits(seed, *counters) * bound >> _BITS


def permuted(index: int, size: int, *, seed: int, epoch: int) -> int:
    """Where a random permutation of 0..size-1 takes ``index``; one permutation per (seed, epoch).

    A Feistel network on the next power of four at or above ``size``, walked until it lands below
    ``size`` (Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002): under four passes
    on average from ``size`` 5 on, and no table.
    """
    if not 0 <= index < size:
        raise ValueError(f"index must be in 0..{size - 1}, got {index}")
    half_bits = max(_MIN_HALF_BITS, ((size - 1).bit_length() + 1) // 2)
    key = random_bits(seed, epoch)
    index = _feistel(index, half_bits, key)
    while index >= size:
        index = _feistel(index, half_bits, key)
    return index


def _feistel(value: int, half_bits: int, key: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for turn in range(_ROUNDS):
        # the high bits are the best mixed ones
        noise = _mix(key + (turn << half_bits | right) * _GOLDEN) >> (_BITS - half_bits)
        left, right = right, left ^ noise
    return left << half_bits | right


def _mix(z: int) -> int:
    """The output step of SplitMix64 (Steele, Lea and Flood 2014): a bijection of 64 bits."""
    z &= _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31
