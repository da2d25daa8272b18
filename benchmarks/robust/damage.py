"""What goes wrong with files: flipped bytes, cuts, zeroed and doubled spans, hit edges."""

import numpy as np
from numpy.random import Generator

EDGE = 512
"""Bytes that count as a file's head or tail."""


def damage(data: bytes, rng: Generator) -> bytes:
    """Return ``data`` with one kind of damage, drawn like its extent from ``rng``."""
    kinds = (_flip, _cut, _zero, _double, _hit_head, _hit_tail)
    return kinds[int(rng.integers(len(kinds)))](data, rng)


def _flip(data: bytes, rng: Generator) -> bytes:
    """1 to 1000 bytes anywhere, few as often as many."""
    count = round(10 ** rng.uniform(0, 3))
    return _overwrite(data, rng.integers(len(data), size=count), rng)


def _hit_head(data: bytes, rng: Generator) -> bytes:
    edge = min(EDGE, len(data))
    return _overwrite(data, rng.integers(edge, size=int(rng.integers(1, 20))), rng)


def _hit_tail(data: bytes, rng: Generator) -> bytes:
    edge = min(EDGE, len(data))
    places = len(data) - 1 - rng.integers(edge, size=int(rng.integers(1, 20)))
    return _overwrite(data, places, rng)


def _cut(data: bytes, rng: Generator) -> bytes:
    return data[: int(rng.integers(len(data)))]


def _zero(data: bytes, rng: Generator) -> bytes:
    start, stop = _span(data, rng)
    return data[:start] + bytes(stop - start) + data[stop:]


def _double(data: bytes, rng: Generator) -> bytes:
    start, stop = _span(data, rng)
    return data[:stop] + data[start:]


def _span(data: bytes, rng: Generator) -> tuple[int, int]:
    start = int(rng.integers(len(data)))
    return start, start + round((len(data) - start) * rng.uniform(0.001, 0.5))


def _overwrite(
    data: bytes, places: "np.ndarray[tuple[int], np.dtype[np.int64]]", rng: Generator
) -> bytes:
    damaged = np.frombuffer(data, np.uint8).copy()
    damaged[places] ^= rng.integers(1, 256, size=len(places), dtype=np.uint8)
    return damaged.tobytes()
