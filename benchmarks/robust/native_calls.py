"""Calls the extension in every way that crosses into FFmpeg, for a checker of memory to watch.

``native_calls.py FOLDER VIDEO``: opens, reads forwards, backwards and at random, seeks, errs,
closes; reads damaged copies. With "" for VIDEO: GIFs and batches. Prints how many calls answered.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fastvd import native
from fastvd.data.batch import fill
from fastvd.errors import MediaError
from fastvd.media.gif import read_gif, write_gif
from fastvd.media.video import frame_times, probe, read_clip, read_frames
from robust.damage import damage

DAMAGED = 3
"""Damaged copies of each file."""


def main() -> None:
    """Make all calls."""
    if not native.video_available:
        raise SystemExit("no Rust core, or no FFmpeg libraries")
    counts = {"answered": 0, "refused": 0}
    folder, video = Path(sys.argv[1]), sys.argv[2]
    for call in video_calls(folder, Path(video)) if video else picture_calls(folder):
        try:
            call()
        except (MediaError, FileNotFoundError, ValueError):
            counts["refused"] += 1
        else:
            counts["answered"] += 1
    print(json.dumps(counts))


def video_calls(folder: Path, video: Path) -> Iterator[Callable[[], object]]:
    """Reads of a sound file, some past its end, and of damaged copies."""
    yield lambda: frame_times(video)
    count = probe(video).frames
    numbers = random.Random(0).choices(range(count), k=3)
    yield lambda: read_clip(video, frames=min(count, 6), size=32)
    yield lambda: read_clip(video, start=count // 2, frames=2, stride=2, size=(17, 23), fit="pad")
    yield lambda: read_clip(video, start=count - 1, frames=1, grey=True)
    yield lambda: read_clip(video, start=count // 3, frames=2, threads=2, size=24, resample="area")
    yield lambda: read_frames(video, numbers, size=16)
    yield lambda: read_frames(video, sorted(numbers, reverse=True), crop=(1, 1, 15, 13))
    yield lambda: read_clip(video, start=count, frames=1)
    yield lambda: read_frames(video, [count + 7], size=16)
    yield lambda: read_clip(video, frames=1, crop=(0, 0, 9999, 1))
    # the file is opened again after each error
    yield lambda: read_frames(video, [count - 1, 0], size=16)
    yield lambda: probe(folder / "missing.mp4")
    data = video.read_bytes()
    for i in range(DAMAGED):
        copy = folder / f"{i}-{video.name}"
        copy.write_bytes(damage(data, np.random.default_rng([len(data), i])))
        yield lambda copy=copy: read_clip(copy, frames=4, stride=3, size=16)
        yield lambda copy=copy: read_frames(copy, [5, 2], size=16)


def picture_calls(folder: Path) -> Iterator[Callable[[], object]]:
    """GIFs in and out, sound and damaged, and batches of every kind."""
    frames = np.random.default_rng(0).integers(0, 256, (5, 37, 41, 4), dtype=np.uint8)
    path = folder / "noise.gif"
    for options in (
        {"quality": "fast"},
        {"palette": "local", "lossy": 20},
        {"palette": "scene", "dither": "blue_noise"},
    ):
        yield lambda options=options: write_gif(path, frames, fps=10, **options)
        yield lambda: read_gif(path)
    for i in range(20):
        copy = folder / f"{i}.gif"

        def read_damaged(copy: Path = copy, i: int = i) -> None:
            copy.write_bytes(damage(path.read_bytes(), np.random.default_rng(i)))
            read_gif(copy)

        yield read_damaged
    clip, numbers = frames[..., :3].copy(), np.array([[4, 0, 2], [1, 1, 3]])
    yield lambda: fill([clip, clip], numbers, np.empty((2, 3, 37, 41, 3), np.uint8), "uint8")
    for kind, dtype in (("float32", np.float32), ("float16", np.uint16), ("bfloat16", np.uint16)):
        out = np.empty((2, 3, 3, 37, 41), dtype)
        yield lambda kind=kind, out=out: fill([clip, clip], numbers, out, kind)


if __name__ == "__main__":
    main()
