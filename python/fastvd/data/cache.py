"""Decoded videos kept in memory, for sets that are small and read again and again."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvd.errors import MediaError
from fastvd.media.limits import MAX_CLIP_BYTES

logger = logging.getLogger(__name__)

Frames = NDArray[np.uint8]


class FrameCache:
    """Whole videos as uint8 [F, H, W, C], each decoded once, on first use.

    Which videos are kept is settled at the start: one after the other, those that still fit into
    ``max_bytes``, none above the largest clip that is read at once. Nothing is ever thrown out.
    Safe to use from many threads; a pickled cache arrives empty.
    """

    def __init__(self, sizes: NDArray[np.int64], *, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"cache_bytes must be at least 0, got {max_bytes}")
        left = max_bytes
        kept = set()
        for video, size in enumerate(sizes.tolist()):
            if size <= min(left, MAX_CLIP_BYTES):
                kept.add(video)
                left -= size
        if max_bytes:
            logger.info(
                "cache: %d of %d videos fit, %.0f of %.0f MB",
                len(kept), len(sizes), (max_bytes - left) / 1e6, max_bytes / 1e6,
            )  # fmt: skip
        self._kept = frozenset(kept)
        self._frames: dict[int, Frames | None] = {}
        self._locks: dict[int, threading.Lock] = {}

    def get(self, video: int, decode: Callable[[], Frames]) -> Frames | None:
        """The frames of a video, decoded now if need be; None where it is not kept.

        A video that is damaged somewhere is not kept: its sound clips are read one by one.
        """
        if video not in self._kept:
            return None
        with self._locks.setdefault(video, threading.Lock()):
            if video not in self._frames:
                try:
                    self._frames[video] = decode()
                except MediaError as error:
                    logger.warning("not cached: %s", error)
                    self._frames[video] = None
            return self._frames[video]

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": self._kept, "_frames": {}, "_locks": {}}
