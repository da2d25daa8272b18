"""A batch while it is being filled: cached clips in one go, the others each by a job of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvd.data.batch import Buffers, Kind, fill
from fastvd.data.clips import ClipDataset, ClipError, ClipSource
from fastvd.errors import MediaError, TooManyBadError

Submit = Callable[[Callable[[], None]], "Future[None]"]


class Filling(NamedTuple):
    """Clips number ``first`` and on, on their way into ``rows``.

    ``sources`` and ``frames`` [B, T] are where each clip was taken; a source is None while its clip
    is not read, or where it could not be.
    """

    number: int
    first: int
    rows: NDArray[Any]
    sources: list[ClipSource | None]
    frames: NDArray[np.int64]
    errors_before: int
    jobs: "list[Future[None]]"


class Filler:
    """Fills batches of ``clips`` by the order of ``seed``."""

    def __init__(self, clips: ClipDataset, *, seed: int, batch_size: int, kind: Kind) -> None:
        self.clips = clips
        self.seed = seed
        self.batch_size = batch_size
        self.kind = kind

    @property
    def shape(self) -> tuple[int, ...]:
        """A batch as clips: [B, T, H, W, C]."""
        config = self.clips.config
        return (self.batch_size, config.frames, config.size, config.size, config.channels)

    def start(self, number: int, first: int, rows: NDArray[Any], submit: Submit) -> Filling:
        """Have batch ``number``, which begins at clip ``first``, filled into ``rows``."""
        count, frames = self.batch_size, self.clips.config.frames
        numbers = np.empty((count, frames), np.int64)
        errors = len(self.clips.errors)
        filling = Filling(number, first, rows, [None] * count, numbers, errors, [])
        for job in self._jobs(filling):
            filling.jobs.append(submit(job))
        return filling

    def lost(self, filling: Filling) -> list[ClipError]:
        """The clips of a batch that could not be read."""
        if len(self.clips.errors) == filling.errors_before:
            return []
        size, numbers = len(self.clips), range(filling.first, filling.first + self.batch_size)
        since = self.clips.errors[filling.errors_before :]
        return [error for error in since if error.epoch * size + error.index in numbers]

    def _jobs(self, filling: Filling) -> Iterator[Callable[[], None]]:
        """Jobs that fill a batch: one for each run of cached clips, one for each other clip."""
        chosen = self.clips.choices(filling.first, self.batch_size, seed=self.seed)
        videos, starts = (column.tolist() for column in chosen)
        ready = self.clips.ready(videos)
        is_ready = [frames is not None for frames in ready]
        begin = 0
        for has_frames, run in groupby(is_ready):
            end = begin + len(list(run))
            if has_frames:
                rows = slice(begin, end)
                yield partial(self._gather, filling, rows, ready[rows], videos[rows], starts[rows])
            else:
                yield from (partial(self._read, filling, row) for row in range(begin, end))
            begin = end

    def _gather(
        self,
        filling: Filling,
        rows: slice,
        decoded: list[Any],
        videos: list[int],
        starts: list[int],
    ) -> None:
        """Fill adjoining rows from decoded videos."""
        filling.frames[rows] = self.clips.numbers_at(videos, starts)
        filling.sources[rows] = self.clips.sources_at(videos, starts)
        fill(decoded, filling.frames[rows], filling.rows[rows], self.kind)

    def _read(self, filling: Filling, row: int) -> None:
        """Fill one row by reading its clip."""
        epoch, index = divmod(filling.first + row, len(self.clips))
        try:
            clip, source = self.clips.clip(epoch, index, seed=self.seed)
        except TooManyBadError:
            raise
        except (MediaError, OSError):
            if self.clips.on_error != "skip":
                raise
            return
        numbers = np.arange(len(clip))[None]
        fill([np.ascontiguousarray(clip)], numbers, filling.rows[row : row + 1], self.kind)
        filling.frames[row] = self.clips.frame_numbers(source)
        filling.sources[row] = source


def make_buffers(filler: Filler, *, ahead: int) -> Buffers:
    """Memory for the batches of a loop: those ahead, one in use, one that is being let go."""
    return Buffers(filler.shape, filler.kind, keep=ahead + 2)
