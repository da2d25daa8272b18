"""Random reads of a file against a full decode: is frame i always frame i?"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from fastvd.errors import MediaError
from fastvd.media import twin
from fastvd.media.resize import make_view
from fastvd.media.video import probe, read_clip, read_frames

SIZE = 24
"""Side of the pictures that are compared."""
TOLERANCE = 3.0
"""Levels by which the luma of PyAV's picture may differ: other routines convert its colours."""
LUMA = np.array([0.299, 0.587, 0.114])
_LONGEST = 12

Clip = npt.NDArray[np.uint8]


class Exactness(NamedTuple):
    """Counts of one file: ``wrong`` reads of all, and frames of a whole read unlike PyAV's."""

    frames: int
    reads: int
    wrong: int
    unlike_pyav: int


def check_file(path: Path, *, reads: int, rng: Generator) -> Exactness:
    """Read frames forwards, backwards, at random and after an error; compare with a full decode."""
    expected = twin.read_video(path, range(1 << 20), make_view(SIZE), to_end=True)
    whole = read_clip(path, size=SIZE)
    if len(whole) != len(expected) or probe(path).frames != len(expected):
        return Exactness(len(whole), reads, reads, len(expected))
    difference = np.abs(whole @ LUMA - expected @ LUMA).max(axis=(1, 2))
    wrong = sum(not _read_is_exact(path, whole, rng) for _ in range(reads))
    return Exactness(len(whole), reads, wrong, int((difference > TOLERANCE).sum()))


def _read_is_exact(path: Path, whole: Clip, rng: Generator) -> bool:
    count = len(whole)
    start, stride = int(rng.integers(count)), int(rng.integers(1, 9))
    length = min(int(rng.integers(1, _LONGEST)), 1 + (count - 1 - start) // stride)
    forwards = start + stride * np.arange(length)
    kind = rng.integers(4)
    if kind == 0:
        clip = read_clip(path, start=start, frames=length, stride=stride, size=SIZE)
        return np.array_equal(clip, whole[forwards])
    if kind == 1:
        return np.array_equal(read_frames(path, forwards[::-1], size=SIZE), whole[forwards[::-1]])
    if kind == 2:
        try:
            read_frames(path, [start, count], size=SIZE)
        except MediaError:
            return np.array_equal(read_frames(path, [start], size=SIZE)[0], whole[start])
        return False
    numbers = rng.integers(count, size=4)
    return np.array_equal(read_frames(path, numbers, size=SIZE), whole[numbers])
