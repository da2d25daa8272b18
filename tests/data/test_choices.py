import numpy as np
import pytest

from fastvd import native
from fastvd.data.choices import Order


@pytest.mark.parametrize("videos", [1, 2, 7, 300])
@pytest.mark.parametrize("seed", [0, 5, 2**64 - 1])
def test_many_are_the_ones_that_are_chosen_one_by_one(videos, seed, monkeypatch):
    rng = np.random.default_rng(videos)
    order = Order(np.cumsum(rng.integers(1, 9, videos)), rng.integers(1, 10**6, videos))
    first = 3 * order.size - 2
    many = order.choose_many(first, 40, seed=seed)
    places = [divmod(number, order.size) for number in range(first, first + 40)]
    singly = [order.choose(*place, seed=seed) for place in places]
    assert list(zip(*(column.tolist() for column in many), strict=True)) == singly
    monkeypatch.setattr(native, "available", False)
    twin = order.choose_many(first, 40, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(many, twin, strict=True))
    assert [len(column) for column in order.choose_many(0, 0, seed=seed)] == [0, 0]
