"""Batches in memory: frames of videos gathered into them, and buffers that are used again."""

import math
import mmap
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastvd import native

Frames = NDArray[np.uint8]
Kind = Literal["uint8", "float32", "float16", "bfloat16"]

# NumPy knows no bfloat16; both halves go as their bits
_STORED: dict[Kind, type[np.generic]] = {
    "uint8": np.uint8,
    "float32": np.float32,
    "float16": np.uint16,
    "bfloat16": np.uint16,
}


def fill(
    videos: Sequence[Frames] | Frames,
    numbers: NDArray[np.int64],
    out: NDArray[Any],
    kind: Kind,
    *,
    threads: int = 1,
) -> None:
    """Gather frames ``numbers`` [B, T] of ``videos``, one uint8 [F, H, W, C] a clip, into ``out``.

    ``out`` is uint8 [B, T, H, W, C]; for a float ``kind`` [B, C, T, H, W] in -1..1, of float32 or,
    for the halves, of their bits as uint16.
    """
    if native.available:
        native.core.fill_batch(list(videos), numbers, out, kind, threads)
    else:
        fill_twin(videos, numbers, out, kind)


def fill_twin(
    videos: Sequence[Frames] | Frames, numbers: NDArray[np.int64], out: NDArray[Any], kind: Kind
) -> None:
    """NumPy twin of the Rust gather."""
    for video, row, clip in zip(videos, numbers, out, strict=True):
        if kind == "uint8":
            clip[...] = video[row]
        else:
            clip[...] = _levels(kind)[video[row]].transpose(3, 0, 1, 2)


def stored_shape(shape: tuple[int, ...], kind: Kind) -> tuple[int, ...]:
    """The shape of a batch of clips [B, T, H, W, C] as ``fill`` writes it."""
    return shape if kind == "uint8" else (shape[0], shape[4], *shape[1:4])


class Buffers:
    """Arrays for batches of one shape; the memory of one that nobody holds is used again.

    Fresh memory costs more than what is written into it: the system hands it out page by page.
    """

    def __init__(self, shape: tuple[int, ...], kind: Kind, *, keep: int) -> None:
        self._shape = stored_shape(shape, kind)
        self._dtype = np.dtype(_STORED[kind])
        self._free: deque[mmap.mmap] = deque(maxlen=keep)
        self.nbytes = math.prod(self._shape) * self._dtype.itemsize
        """Bytes of a batch."""

    def take(self) -> NDArray[Any]:
        """An array with any content; all that is made from it keeps its memory."""
        try:
            memory = self._free.popleft()
        except IndexError:
            memory = mmap.mmap(-1, max(1, self.nbytes))
            memory.madvise(mmap.MADV_HUGEPAGE)
        # views of an array over foreign memory refer to that array, never past it
        flat = np.frombuffer(memory, self._dtype, count=self.nbytes // self._dtype.itemsize)
        weakref.finalize(flat, self._free.append, memory).atexit = False
        return flat.reshape(self._shape)


def _levels(kind: Kind) -> NDArray[Any]:
    """Each of the 256 levels as a number from -1 to 1."""
    single = np.arange(256, dtype=np.float32) / np.float32(127.5) - np.float32(1)
    if kind == "float32":
        return single
    if kind == "float16":
        return single.astype(np.float16).view(np.uint16)
    bits = single.view(np.uint32)
    # to the nearest, to even between two
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
