"""Whether a reader gave the frames that it was asked for: checked before anything is timed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from media.readers import Frames

LEAST_DB = 26.0
"""PSNR against swscale's bilinear filter. Libraries differ by 34 to 60 dB in their filters."""
STILL = 0.05
"""Mean square below which two outlines are one."""
NEAR = 2
"""Frames on each side among which the one asked for must be the nearest."""


def reference(path: Path, size: int | None, numbers: Sequence[int]) -> dict[int, Frames]:
    """Return frames by number, with those near them, from decoding the file from its start."""
    wanted = {i + off for i in numbers for off in range(-NEAR, NEAR + 1)}
    reformatter = VideoReformatter()
    found = {}
    with av.open(path) as container:
        stream = container.streams.best("video")
        assert stream is not None
        stream.thread_type = "AUTO"
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                small = reformatter.reformat(frame, size, size, "rgb24", interpolation="BILINEAR")
                found[i] = small.to_ndarray()
            if i == max(wanted):
                break
    return found


def fault(frames: Frames, numbers: Sequence[int], truth: dict[int, Frames]) -> str:
    """Say what is wrong with the frames ``numbers`` of a file; nothing if they are right."""
    shape = (len(numbers), *next(iter(truth.values())).shape)
    if frames.shape != shape:
        return f"shape {list(frames.shape)}, not {list(shape)}"
    for frame, i in zip(frames, numbers, strict=True):
        near = {j: truth[j] for j in range(i - NEAR, i + NEAR + 1) if j in truth}
        found = nearest(frame, i, near)
        if found != i:
            return f"frame {found} for {i}"
        if psnr(error(frame, truth[i])) < LEAST_DB:
            return f"frame {i} is {psnr(error(frame, truth[i])):.0f} dB from the reference"
    return ""


def nearest(frame: Frames, i: int, near: dict[int, Frames]) -> int:
    """Return the number of the frame that ``frame`` is, ``i`` unless another one is clearly it."""
    own = outline(frame)
    outlines = {j: outline(other) for j, other in near.items()}
    far = error(own, outlines[i])
    for j, other in outlines.items():
        apart = error(other, outlines[i])
        # what stands still may be either; a reader's own filter moves all errors alike
        if apart > STILL and error(own, other) < far / 4:
            return j
    return i


def outline(frame: Frames) -> NDArray[np.float64]:
    """Return the frame as 16 x 16 means of grey, in which filters and colours hardly differ."""
    high, wide = frame.shape[0] // 16, frame.shape[1] // 16
    grey = frame[: 16 * high, : 16 * wide].mean(-1)
    return grey.reshape(16, high, 16, wide).mean((1, 3))


def error(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the mean square of the difference."""
    return float(np.square(a.astype(np.float64) - b).mean())


def psnr(mean_square: float) -> float:
    """Return the mean square as decibels below 255."""
    return float(10 * np.log10(255**2 / max(mean_square, 1e-9)))
