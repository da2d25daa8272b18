"""Which clip is number n of all epochs: many at a time by Rust, or one by one."""

import numpy as np
from numpy.typing import NDArray

from fastvd import native
from fastvd.data.order import permuted, random_below

# the last counter of a draw tells what is drawn
_SLOT, _START = 0, 1

Numbers = NDArray[np.int64]


class Order:
    """Draws a video and a first frame: ``ends`` counts the clips of an epoch up to each video,
    ``starts`` the first frames of a video that leave room for a clip.
    """

    def __init__(self, ends: Numbers, starts: Numbers) -> None:
        self.ends = ends.astype(np.uint64)
        self.starts = starts.astype(np.uint64)
        self.size = int(ends[-1])

    def choose(self, epoch: int, index: int, *, seed: int, attempt: int = 0) -> tuple[int, int]:
        """Video and first frame of clip ``index`` of ``epoch``, or of what replaces it."""
        if not 0 <= index < self.size:
            raise IndexError(f"clip {index} of an epoch of {self.size}")
        if attempt == 0:
            slot = permuted(index, self.size, seed=seed, epoch=epoch)
        else:
            counters = (epoch, index, attempt, _SLOT)
            slot = random_below(self.size, seed=seed, counters=counters)
        video = int(np.searchsorted(self.ends, np.uint64(slot), side="right"))
        counters = (epoch, index, attempt, _START)
        return video, random_below(int(self.starts[video]), seed=seed, counters=counters)

    def choose_many(self, first: int, count: int, *, seed: int) -> tuple[Numbers, Numbers]:
        """The same, int64 [count] each, of clips from number ``first`` on, across epochs."""
        if native.available:
            return native.core.choose_clips(seed, first, count, self.ends, self.starts)
        places = (divmod(number, self.size) for number in range(first, first + count))
        chosen = [self.choose(*place, seed=seed) for place in places]
        videos, starts = np.array(chosen, np.int64).reshape(-1, 2).T
        return videos, starts
