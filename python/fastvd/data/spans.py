"""Where in a video a clip fits, and which frames of the video are its frames.

Frames are ``stride`` apart, or with ``fps`` the ones nearest in time: frame k of a clip is shown
k / fps seconds after the first, whatever the frame rate of the video and even where it varies.
"""

import numpy as np
from numpy.typing import NDArray

# times come from integers divided by time bases: this tells equal from nearly equal
_TIME_NOISE_S = 1e-6


def strided_starts(video_frames: int, *, frames: int, stride: int) -> int:
    """How many first frames leave room for a clip: 0 where it does not fit."""
    return max(0, video_frames - (frames - 1) * stride)


def timed_starts(times: NDArray[np.float64], *, frames: int, fps: float) -> int:
    """The same for clips by time, from the seconds of each frame of the video.

    The last frame of a clip may be wanted up to half a frame after the last one of the video.
    """
    if not len(times):
        return 0
    latest = times[-1] + frame_seconds(times) / 2 - (frames - 1) / fps
    return int(np.searchsorted(times, latest + _TIME_NOISE_S, side="right"))


def strided_numbers(start: int, *, frames: int, stride: int) -> NDArray[np.int64]:
    """The frame numbers of a clip: int64 [T]."""
    return start + stride * np.arange(frames)


def timed_numbers(
    times: NDArray[np.float64], start: int, *, frames: int, fps: float
) -> NDArray[np.int64]:
    """The same for clips by time: the nearest frame to each time, the earlier one of two."""
    wanted = times[start] + np.arange(frames) / fps - _TIME_NOISE_S
    after = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
    before = after - 1
    after = after.clip(max=len(times) - 1)
    is_before = wanted - times[before] <= times[after] - wanted
    numbers: NDArray[np.int64] = np.where(is_before, before, after)
    return numbers


def frame_seconds(times: NDArray[np.float64]) -> float:
    """How long a frame of the video is shown: the median; 0 for a single frame."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0
