"""Fill a cache folder ahead of training, on one machine or on many."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fastvd.arguments import check_kind, check_shard, check_whole
from fastvd.data.cache import Video, check_cache, make_cache
from fastvd.data.config import ClipConfig
from fastvd.data.reader import FrameReader
from fastvd.data.scan import find_videos, probe_videos

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What ``prepare_cache`` did; ``failed`` has each video that is not in the cache, and why."""

    written: int
    present: int
    failed: dict[str, str]
    frames: int
    seconds: float

    def __str__(self) -> str:
        parts = [f"{self.written} videos decoded", f"{self.present} were there"]
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        return f"{', '.join(parts)}: {self.frames} frames in {self.seconds:.1f} s"


def prepare_cache(
    videos: Path | str | Sequence[Path | str],
    folder: Path | str,
    config: ClipConfig,
    *,
    shard: tuple[int, int] = (0, 1),
    workers: int | None = None,
    cache_bytes: int | None = None,
    timeout_s: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, of: None,  # noqa: ARG005
) -> PrepareReport:
    """Decode videos into a folder that ``ClipDataset(cache=folder)`` then reads.

    Of ``config`` the size, fit, filter, grey, stream and crop count. What is there is left as it
    is, so a run that was broken off goes on. ``shard=(rank, world)`` takes every ``world``-th
    video, in natural order, so that many machines may fill one folder; ``rank`` counts from 0,
    while the command's ``--shard 1/4`` counts from 1. ``progress(done, of)`` is called first with
    0 and after each video. A video that can't be read or has no room is reported, not raised.
    """
    check_kind(ClipConfig, config=config)
    check_shard(shard)
    check_whole(workers=workers, or_none=True)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    # a folder may be named memory
    folder = Path(folder)
    check_cache(folder, cache_bytes)
    begun = time.monotonic()
    reader = FrameReader(config, timeout_s=timeout_s)
    paths = find_videos(videos)[0][shard[0] :: shard[1]]
    progress(0, len(paths))
    found = probe_videos(paths, config.stream, with_times=False, deadline=reader.deadline)
    known = [Video(video.path, video.frames) for video in found if not video.reason]
    failed = {video.path: video.reason for video in found if video.reason}
    num_bad = len(failed)
    cache = make_cache(folder, known, reader, max_bytes=cache_bytes)
    assert cache is not None
    frames = written = present = 0
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            for done, reason in enumerate(pool.map(cache.ensure, range(len(known)))):
                written, present = written + (reason == ""), present + (reason is None)
                frames += 0 if reason else known[done].frames
                if reason:
                    failed[known[done].path] = reason
                progress(num_bad + done + 1, len(paths))
        except BaseException:
            cache.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return PrepareReport(written, present, failed, frames, time.monotonic() - begun)
