"""Clips of a set of videos: clip number i of an epoch, from a random place of one of them."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvd.data.cache import FrameCache
from fastvd.data.order import check_seed, permuted, random_below
from fastvd.data.scan import Found, check_report, find_videos, listed, make_report, probe_videos
from fastvd.data.spans import strided_numbers, strided_starts, timed_numbers, timed_starts
from fastvd.errors import MediaError
from fastvd.media.video import read_clip, read_frames

logger = logging.getLogger(__name__)

# the last counter of a draw tells what is drawn
_SLOT, _START = 0, 1
# choices for one clip before a set of videos counts as broken
_MAX_TRIES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """What a clip is: how many frames, how far apart, and how they are brought to size."""

    frames: int = 16
    "frames of a clip"
    stride: int = 1
    "source frames from one frame of the clip to the next"
    fps: float | None = None
    "take frames this many a second by their times, in place of a stride"
    size: int = 64
    "height and width in pixels"
    fit: Literal["crop", "pad", "stretch"] = "crop"
    "how a frame becomes square: cut its centre, add black, or change its aspect"
    resample: Literal["bilinear", "area"] = "bilinear"
    "filter of the resize; both look at every source pixel"
    grey: bool = False
    "one channel in place of three"

    def __post_init__(self) -> None:
        for name in ("frames", "stride", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.fps is not None and not (0 < self.fps < math.inf):
            raise ValueError(f"fps must be above 0 and finite, got {self.fps}")
        if self.fps is not None and self.stride != 1:
            raise ValueError(f"give stride or fps, not both: got {self.stride} and {self.fps}")
        if self.fit not in ("crop", "pad", "stretch"):
            raise ValueError(f"fit must be crop, pad or stretch, got {self.fit!r}")
        if self.resample not in ("bilinear", "area"):
            raise ValueError(f"resample must be bilinear or area, got {self.resample!r}")

    @property
    def channels(self) -> int:
        """1 for grey clips, else 3."""
        return 1 if self.grey else 3

    @property
    def length(self) -> str:
        """How much of a video a clip spans, in words."""
        if self.fps is not None:
            return (
                f"{(self.frames - 1) / self.fps:.2f} s for {self.frames} frames at {self.fps:g} fps"
            )
        return f"{(self.frames - 1) * self.stride + 1} frames"


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
    """Clip ``index`` of an epoch could not be read and was replaced by another."""

    epoch: int
    index: int
    source: ClipSource
    reason: str


class ClipDataset:
    """Random clips of videos, map-style: ``dataset[i]`` is clip number i of ``epoch``.

    ``videos`` is a file, a folder (searched with all below it; a folder of images is one video)
    or a list of these. An epoch takes from each video as many clips as lie in it side by side, at
    least one, from starts that are uniform over all its frames where a clip fits. Which video and
    start are clip i of epoch e depends on (seed, e, i) and the videos' order and lengths alone.

    ``on_error="error"`` raises for every file that can't be used, at once when the folder is
    scanned or when a clip is read; ``"skip"`` leaves such files out of the epoch and replaces a
    clip that can't be read by another, drawn from (seed, e, i) as well. Nothing goes in silence:
    ``report`` has the scan, ``errors`` the clips replaced in this process, both are logged.

    Up to ``cache_bytes`` of decoded, resized videos stay in memory, the first ones that fit; the
    clips are the same with and without.

    Raises FileNotFoundError for a missing path, MediaError where no video can be read, ValueError
    where a clip is longer than every video.
    """

    def __init__(
        self,
        videos: Path | str | Sequence[Path | str],
        config: ClipConfig,
        *,
        seed: int = 0,
        on_error: Literal["error", "skip"] = "error",
        cache_bytes: int = 0,
    ) -> None:
        if on_error not in ("error", "skip"):
            raise ValueError(f"on_error must be error or skip, got {on_error!r}")
        self.config = config
        self.seed = check_seed(seed)
        self.on_error = on_error
        self.epoch = 0
        self.errors: list[ClipError] = []
        paths, ignored = find_videos(videos)
        found = probe_videos(paths, with_times=config.fps is not None)
        starts = [self._num_starts(video) for video in found]
        self.report = make_report(found, starts, ignored, wanted=config.length)
        check_report(self.report, on_error)
        self._videos = [video for video, n in zip(found, starts, strict=True) if n]
        self._starts = [n for n in starts if n]
        self._warn_of_repeats()
        frames = np.array([video.frames for video in self._videos])
        # frames - starts + 1 is the length of a clip, in frames of its video
        clips = np.maximum(1, frames // (frames - np.array(self._starts) + 1))
        self._ends = np.cumsum(clips)
        sizes = frames * config.size**2 * config.channels
        self._cache = FrameCache(sizes, max_bytes=cache_bytes)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Clip:
        return self.clip(self.epoch, index)

    def set_epoch(self, epoch: int) -> None:
        """Make ``dataset[i]`` clip i of ``epoch``.

        Worker processes of a DataLoader that are already running keep the epoch they began with.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be at least 0, got {epoch}")
        self.epoch = epoch

    def source(self, epoch: int, index: int, *, seed: int | None = None) -> ClipSource:
        """Where clip ``index`` of ``epoch`` is taken, without reading it."""
        return self._choose(epoch, index, self.seed if seed is None else seed, attempt=0)[1]

    def clip(self, epoch: int, index: int, *, seed: int | None = None) -> Clip:
        """Read clip ``index`` of ``epoch``; ``seed`` takes the place of the dataset's.

        Raises IndexError beyond the epoch, and with ``on_error="error"`` what the file raises;
        with ``"skip"`` only after 16 choices in a row could not be read.
        """
        seed = self.seed if seed is None else check_seed(seed)
        for attempt in range(_MAX_TRIES):
            video, source = self._choose(epoch, index, seed, attempt)
            try:
                return Clip(self._read(video, source.start), source)
            except (MediaError, OSError) as error:
                if self.on_error == "error":
                    error.add_note(f"reading clip {index} of epoch {epoch}: {source}")
                    raise
                failure = ClipError(epoch, index, source, str(error))
                self._record(failure)
        raise MediaError(
            f"{_MAX_TRIES} choices in a row could not be read, the last one: {failure}"
        )

    def _choose(self, epoch: int, index: int, seed: int, attempt: int) -> tuple[int, ClipSource]:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of an epoch of {len(self)}")
        if attempt == 0:
            slot = permuted(index, len(self), seed=seed, epoch=epoch)
        else:
            counters = (epoch, index, attempt, _SLOT)
            slot = random_below(len(self), seed=seed, counters=counters)
        video = int(np.searchsorted(self._ends, slot, side="right"))
        counters = (epoch, index, attempt, _START)
        start = random_below(self._starts[video], seed=seed, counters=counters)
        stride = self.config.stride if self.config.fps is None else 0
        return video, ClipSource(self._videos[video].path, start, stride)

    def _read(self, video: int, start: int) -> NDArray[np.uint8]:
        numbers = self._numbers(video, start)
        whole = self._cache.get(video, lambda: self._read_whole(video))
        if whole is not None:
            return whole[numbers]
        config = self.config
        return read_frames(
            self._videos[video].path,
            numbers.tolist(),
            size=config.size,
            fit=config.fit,
            resample=config.resample,
            grey=config.grey,
        )

    def _read_whole(self, video: int) -> NDArray[np.uint8]:
        config = self.config
        path, frames, _, _ = self._videos[video]
        return read_clip(
            path,
            frames=frames,
            size=config.size,
            fit=config.fit,
            resample=config.resample,
            grey=config.grey,
        )

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
            logger.warning("clips at %g fps repeat frames of slower videos: %s", fps, listed(slow))

    def _record(self, failure: ClipError) -> None:
        path = failure.source.path
        is_first = all(earlier.source.path != path for earlier in self.errors)
        self.errors.append(failure)
        if is_first:
            logger.warning("clip replaced, see the dataset's errors: %s", failure.reason)
