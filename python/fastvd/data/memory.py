"""Decoded videos in the memory of this process."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


class MemoryStore:
    """Decoded videos in this process."""

    def __init__(self, shape: tuple[int, int, int], *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._shape = shape
        self._frames: dict[str, Frames] = {}

    def used(self) -> int:
        """Bytes of what is there."""
        return sum(frames.nbytes for frames in list(self._frames.values()))

    def size_of(self, frames: int) -> int:
        """Bytes of a video."""
        return frames * int(np.prod(self._shape))

    def has(self, path: str) -> bool:
        """Whether a video is there."""
        return path in self._frames

    def load(self, path: str, frames: int, *, may_hash: bool) -> Frames | None:  # noqa: ARG002
        """A video's frames, if they are there."""
        return self._frames.get(path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_frames": {}}

    def save(self, path: str, frames: int, pieces: Iterable[Frames]) -> bool:
        """Keep a video."""
        whole, done = np.empty((frames, *self._shape), np.uint8), 0
        for piece in pieces:
            whole[done : done + len(piece)] = piece
            done += len(piece)
        whole.flags.writeable = False
        self._frames[path] = whole
        return True
