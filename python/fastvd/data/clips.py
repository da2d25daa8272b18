"""Clips of a set of videos: clip number i of an epoch, from a random place of one of them."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvd.arguments import check_kind, check_numbers, check_whole
from fastvd.data.augment import augmented, whole
from fastvd.data.cache import Video, check_cache, make_cache
from fastvd.data.choices import Order
from fastvd.data.config import AugmentConfig, ClipConfig
from fastvd.data.order import check_seed
from fastvd.data.reader import FrameReader
from fastvd.data.scan import (
    Found,
    check_report,
    find_videos,
    listed,
    make_report,
    probe_videos,
    warn_once,
)
from fastvd.data.spans import strided_numbers, strided_starts, timed_numbers, timed_starts
from fastvd.errors import MediaError, TooManyBadError
from fastvd.limits import get_limits, set_limits

logger = logging.getLogger(__name__)

OnError = Literal["error", "skip", "replace"]

# choices for one clip before a set of videos counts as broken
_MAX_TRIES = 16


class ClipSource(NamedTuple):
    """Where a clip was taken: file, first frame, frames from one to the next (0: by ``fps``)."""

    path: str
    start: int
    stride: int


class Clip(NamedTuple):
    """uint8 [T, H, W, C], and where it was taken."""

    clip: NDArray[np.uint8]
    source: ClipSource


@dataclass(frozen=True, slots=True)
class ClipError:
    """Clip ``index`` of an epoch could not be read and was left out or replaced by another."""

    epoch: int
    index: int
    source: ClipSource
    reason: str


class ClipDataset:
    """Random clips of videos, map-style: ``dataset[i]`` is clip number i of ``epoch``.

    ``videos`` is a file, a folder (searched with all below it; a folder of images is one video)
    or a list of these. An epoch takes from each video as many clips as lie in it side by side, at
    least one, from starts that are uniform over all its frames where a clip fits. Which video and
    start are clip i of epoch e depends on (seed, e, i) and the videos' order and lengths alone,
    and so do the random changes of ``config.augment``.

    ``on_error="error"`` raises for every file that can't be used, at once when the folder is
    scanned or when a clip is read. The others leave such files out of the epoch. A clip that
    can't be read later is with ``"replace"`` another one, drawn from (seed, e, i) as well; with
    ``"skip"`` it raises here and a ClipLoader leaves it out of its batch. Nothing goes in silence:
    ``report`` has the scan, ``errors`` the clips lost in this process, both are logged; and when
    more than the share ``max_bad`` of the files can't be read, TooManyBadError ends it.

    A read that takes over ``timeout_s`` seconds, of a pipe or a dead network disk, is an error of
    that clip, and its file is not tried again.

    With ``cache="memory"`` or a folder for it, each video is decoded once, as a whole, and kept
    with its frames at size, up to ``cache_bytes``; the clips are the same with and without. A
    folder serves later runs and any number of processes. By default a quarter of the machine's
    memory, or what the disk has free, less a tenth.

    Raises FileNotFoundError for a missing path, MediaError where no video can be read, ValueError
    where a clip is longer than every video.
    """

    def __init__(
        self,
        videos: Path | str | Sequence[Path | str],
        config: ClipConfig,
        *,
        seed: int = 0,
        on_error: OnError = "error",
        max_bad: float = 0.5,
        timeout_s: float = 60.0,
        cache: Path | str | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        check_kind(ClipConfig, config=config)
        check_numbers(max_bad=max_bad)
        if on_error not in ("error", "skip", "replace"):
            raise ValueError(f"on_error must be error, skip or replace, got {on_error!r}")
        if not 0 <= max_bad <= 1:
            raise ValueError(f"max_bad must be in 0..1, got {max_bad}")
        check_cache(cache, cache_bytes)
        self.config = config
        self.seed = check_seed(seed)
        self.on_error = on_error
        self.max_bad = max_bad
        self.epoch = 0
        self.errors: list[ClipError] = []
        self._is_plain = config.augment == AugmentConfig()
        self._reader = FrameReader(config, timeout_s=timeout_s)
        paths, ignored = find_videos(videos)
        timed = config.fps is not None
        deadline = self._reader.deadline
        found = probe_videos(paths, config.stream, with_times=timed, deadline=deadline)
        starts = [self._num_starts(video) for video in found]
        self.report = make_report(found, starts, ignored, wanted=config.length)
        check_report(self.report, on_error)
        self._bad = {video.path for video in found if video.reason}
        self._check_bad()
        self._videos = [video for video, n in zip(found, starts, strict=True) if n]
        self._paths = [video.path for video in self._videos]
        self._number_of = {path: i for i, path in enumerate(self._paths)}
        self._warn_of_repeats()
        self._order = _order(self._videos, [n for n in starts if n])
        known = [Video(video.path, video.frames) for video in self._videos]
        self._cache = make_cache(cache, known, self._reader, max_bytes=cache_bytes)

    def __getstate__(self) -> dict[str, Any]:
        # a DataLoader's worker process that is spawned would begin with the defaults
        is_for_worker = get_spawning_popen() is not None
        return self.__dict__ | {"_limits": get_limits() if is_for_worker else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        limits = state.pop("_limits")
        if limits is not None:
            set_limits(limits)
        self.__dict__ |= state

    def __len__(self) -> int:
        return self._order.size

    def __getitem__(self, index: int) -> Clip:
        return self.clip(self.epoch, index)

    def set_epoch(self, epoch: int) -> None:
        """Make ``dataset[i]`` clip i of ``epoch``.

        Worker processes of a DataLoader that are already running keep the epoch they began with.
        """
        check_whole(epoch=epoch)
        if epoch < 0:
            raise ValueError(f"epoch must be at least 0, got {epoch}")
        self.epoch = epoch

    def source(self, epoch: int, index: int, *, seed: int | None = None) -> ClipSource:
        """Where clip ``index`` of ``epoch`` is taken, without reading it."""
        seed = self.seed if seed is None else seed
        video, start = self._order.choose(epoch, index, seed=seed)
        return self.sources_at([video], [start])[0]

    def clip(
        self, epoch: int, index: int, *, seed: int | None = None, augment: bool = True
    ) -> Clip:
        """Read clip ``index`` of ``epoch``; ``seed`` takes the place of the dataset's.

        Raises IndexError beyond the epoch, and what the file raises; with ``on_error="replace"``
        only after 16 choices in a row could not be read.
        """
        seed = self.seed if seed is None else check_seed(seed)
        for attempt in range(_MAX_TRIES):
            video, start = self._order.choose(epoch, index, seed=seed, attempt=attempt)
            (source,) = self.sources_at([video], [start])
            try:
                frames = self._read(video, start)
            except (MediaError, OSError) as error:
                failure = ClipError(epoch, index, source, str(error))
                self._record(failure)
                if self.on_error != "replace":
                    error.add_note(f"reading clip {index} of epoch {epoch}: {source}")
                    if self.on_error == "skip":
                        error.add_note("a ClipLoader leaves it out; elsewhere use 'replace'")
                    raise
            else:
                counters = (epoch, index, attempt)
                return Clip(self._finished(frames, augment, seed, counters), source)
        raise MediaError(
            f"{_MAX_TRIES} choices in a row could not be read, the last one: {failure}"
        )

    def choices(
        self, first: int, count: int, *, seed: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Videos and first frames, int64 [count] each, of clips number ``first`` and on.

        Clips are counted across epochs: number n is clip n % len of epoch n // len.
        """
        return self._order.choose_many(first, count, seed=seed)

    def sources_at(self, videos: Sequence[int], starts: Sequence[int]) -> list[ClipSource]:
        """Where the clips of ``videos`` that begin at frames ``starts`` are taken."""
        stride = self.config.stride if self.config.fps is None else 0
        paths = map(self._paths.__getitem__, videos)
        # much quicker than calling ClipSource, in the loop of each batch
        return list(map(ClipSource._make, zip(paths, starts, itertools.repeat(stride))))

    def numbers_at(self, videos: Sequence[int], starts: Sequence[int]) -> NDArray[np.int64]:
        """The frame numbers of clips of ``videos`` that begin at ``starts``: int64 [n, T]."""
        if self.config.fps is None:
            return np.array(starts)[:, None] + self._numbers(0, 0)
        pairs = zip(videos, starts, strict=True)
        return np.stack([self._numbers(video, start) for video, start in pairs])

    def frame_numbers(self, source: ClipSource) -> NDArray[np.int64]:
        """Which frames of its file a clip holds: int64 [T]."""
        return self._numbers(self._number_of[source.path], source.start)

    def ready(self, videos: Sequence[int]) -> list[NDArray[np.uint8] | None]:
        """All frames of each video, read-only [F, H, W, C], where clips are mere copies of them."""
        if self._cache is None or not self._is_plain:
            return [None] * len(videos)
        return self._cache.peek(videos)

    def _read(self, video: int, start: int) -> NDArray[np.uint8]:
        numbers = self._numbers(video, start)
        frames = None if self._cache is None else self._cache.get(video)
        if frames is not None:
            return frames[numbers]
        return self._reader.read(self._videos[video].path, numbers.tolist())

    def _finished(
        self, clip: NDArray[np.uint8], augment: bool, seed: int, counters: tuple[int, int, int]
    ) -> NDArray[np.uint8]:
        config = self.config
        if self._is_plain:
            return clip
        if not augment:
            return whole(clip, size=config.size)
        return augmented(clip, config.augment, size=config.size, seed=seed, counters=counters)

    def _num_starts(self, video: Found) -> int:
        config = self.config
        if config.fps is None or video.times is None:
            return strided_starts(video.frames, frames=config.frames, stride=config.stride)
        return timed_starts(video.times, frames=config.frames, fps=config.fps)

    def _numbers(self, video: int, start: int) -> NDArray[np.int64]:
        config, times = self.config, self._videos[video].times
        if config.fps is None or times is None:
            return strided_numbers(start, frames=config.frames, stride=config.stride)
        return timed_numbers(times, start, frames=config.frames, fps=config.fps)

    def _warn_of_repeats(self) -> None:
        fps = self.config.fps or 0.0
        slow = [video.path for video in self._videos if video.seconds * fps > video.frames]
        if slow:
            warn_once(f"clips at {fps:g} fps repeat frames of slower videos: {listed(slow)}")

    def _record(self, failure: ClipError) -> None:
        self.errors.append(failure)
        if failure.source.path not in self._bad and self.on_error != "error":
            self._bad.add(failure.source.path)
            done = "replaced" if self.on_error == "replace" else "lost"
            logger.warning("clip %s, see the dataset's errors: %s", done, failure.reason)
            self._check_bad()

    def _check_bad(self) -> None:
        bad, files = len(self._bad), len(self.report.files)
        if bad > self.max_bad * files:
            raise TooManyBadError(
                f"{bad} of {files} videos can't be read, max_bad={self.max_bad:g} allows "
                f"{int(self.max_bad * files)}: {listed(sorted(self._bad))}"
            )


def _order(videos: Sequence[Found], starts: Sequence[int]) -> Order:
    frames, num_starts = np.array([video.frames for video in videos]), np.array(starts)
    # frames - starts + 1 is the length of a clip, in frames of its video
    clips = np.maximum(1, frames // (frames - num_starts + 1))
    return Order(np.cumsum(clips), num_starts)
