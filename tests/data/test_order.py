import itertools
from collections import Counter

import pytest
from scipy.stats import chisquare

from fastvd.data.order import check_seed, permuted, random_below, random_bits

SIZES = [1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65, 100, 255, 257, 1000, 4097]


def shuffled(size: int, *, seed: int = 0, epoch: int = 0) -> list[int]:
    return [permuted(i, size, seed=seed, epoch=epoch) for i in range(size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_every_size_gives_a_permutation(size, seed):
    assert sorted(shuffled(size, seed=seed, epoch=3)) == list(range(size))


def test_huge_sizes_need_no_table():
    size = 10**15
    values = {permuted(i, size, seed=5, epoch=2) for i in range(1000)}
    assert len(values) == 1000
    assert all(0 <= value < size for value in values)


def test_the_order_never_changes_between_versions():
    # a run that resumes after an upgrade must see the clips that it would have seen
    assert shuffled(10, seed=7, epoch=1) == PINNED_ORDER
    assert random_bits(7, 1, 2) == PINNED_BITS


def test_seed_and_epoch_each_change_the_order():
    orders = {tuple(shuffled(20, seed=s, epoch=e)) for s in range(10) for e in range(10)}
    assert len(orders) == 100


def test_small_permutations_are_equally_likely():
    counts = Counter(tuple(shuffled(4, seed=1, epoch=e)) for e in range(4800))
    assert len(counts) == 24
    assert chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("size", [10, 64])
def test_every_index_goes_everywhere_equally_often(size):
    epochs = 40 * size
    for index in (0, 1, size - 1):
        places = Counter(permuted(index, size, seed=3, epoch=e) for e in range(epochs))
        assert chisquare([places[i] for i in range(size)]).pvalue > 1e-3


def test_neighbours_are_torn_apart():
    order = shuffled(1000, seed=9)
    steps = Counter(b - a for a, b in itertools.pairwise(order))
    # in a random order a step of +1 comes about once
    assert steps[1] < 8


@pytest.mark.parametrize("bound", [1, 2, 7, 100])
def test_random_below_is_uniform(bound):
    draws = Counter(random_below(bound, seed=4, counters=(0, i)) for i in range(100 * bound))
    assert set(draws) <= set(range(bound))
    assert chisquare([draws[i] for i in range(bound)]).pvalue > 1e-3 or bound == 1


def test_counters_are_told_apart():
    draws = {random_bits(0, *c) for c in [(), (0,), (0, 0), (1,), (0, 1), (1, 0), (1, 1)]}
    assert len(draws) == 7


def test_bits_are_balanced():
    ones = [0] * 64
    for i in range(2000):
        bits = random_bits(0, i)
        ones = [count + (bits >> k & 1) for k, count in enumerate(ones)]
    # five standard deviations of a binomial with 2000 draws
    assert all(abs(count - 1000) < 112 for count in ones)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=str(seed)):
        check_seed(seed)


def test_index_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.4, got 5"):
        permuted(5, 5, seed=0, epoch=0)
    with pytest.raises(ValueError, match="bound"):
        random_below(0, seed=0, counters=())


PINNED_ORDER = [4, 6, 1, 0, 8, 7, 9, 2, 5, 3]
PINNED_BITS = 14460849061512060325
