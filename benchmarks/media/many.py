"""A clip of each of many short files, on all cores: by threads, by processes, by our loader."""

import math
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from media.readers import READERS, Frames

FRAMES, STRIDE, SIZE = 16, 2, 64
BATCH = 8


def span(start: int) -> range:
    """Return the frame numbers of a clip."""
    return range(start, start + FRAMES * STRIDE, STRIDE)


def read(reader: str, folder: Path, starts: Sequence[int], *, way: str) -> tuple[Frames, float]:
    """Return a clip of each file as [N, T, H, W, 3], and the seconds of other processes' cores.

    ``way`` is "threads" or "processes".
    """
    files = sorted(folder.iterdir())[: len(starts)]
    clips = np.empty((len(files), FRAMES, SIZE, SIZE, 3), np.uint8)
    elsewhere = 0.0
    job = partial(_read, reader)
    for row, (clip, spent) in zip(clips, _pool(way).map(job, files, starts), strict=True):
        row[...] = clip
        elsewhere += spent if way == "processes" else 0.0
    return clips, elsewhere


def load(folder: Path) -> tuple[list[Any], list[int]]:
    """Read an epoch of fastvd's loader: its batches, and the number of each file's first frame."""
    batches = list(_loader(folder))
    sources = [source for batch in batches for source in batch.source]
    return batches, [source.start for source in sorted(sources)]


def frames_of(batches: list[Any]) -> Frames:
    """Return a clip of each file as [N, T, H, W, 3] from an epoch of the loader."""
    from fastvd.data.transforms import to_frames

    clips = np.concatenate([to_frames(batch.clip).numpy() for batch in batches])
    sources = [source for batch in batches for source in batch.source]
    return clips[sorted(range(len(clips)), key=sources.__getitem__)]


@cache
def _loader(folder: Path) -> Iterable[Any]:
    from fastvd.data import ClipConfig, ClipDataset, ClipLoader

    config = ClipConfig(frames=FRAMES, stride=STRIDE, size=SIZE, fit="stretch")
    clips = ClipDataset(folder, config)
    cores = len(os.sched_getaffinity(0))
    return ClipLoader(clips, batch_size=math.gcd(BATCH, len(clips)), workers=cores)


def _read(reader: str, path: Path, start: int) -> tuple[Frames, float]:
    spent = time.process_time()
    clip = READERS[reader](path, SIZE, 1).clip(span(start))
    return clip, time.process_time() - spent


@cache
def _pool(way: str) -> Executor:
    cores = len(os.sched_getaffinity(0))
    if way == "threads":
        return ThreadPoolExecutor(cores)
    # each starts anew: a copy of a process that has decoded may hold a lock for ever
    return ProcessPoolExecutor(cores, mp_context=get_context("spawn"))
