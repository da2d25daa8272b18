"""Small sound files, one a format, that damage starts from."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Frames = npt.NDArray[np.uint8]

VIDEOS = {
    "mp4-h264": ("libx264", {"g": "12", "bf": "2"}),
    "mp4-hevc": ("libx265", {"x265-params": "log-level=none:pools=1:frame-threads=1:keyint=12"}),
    "webm-vp9": ("libvpx-vp9", {"g": "12", "cpu-used": "8", "deadline": "realtime"}),
    "mkv-av1": ("libsvtav1", {"preset": "12", "g": "12"}),
    "avi-mpeg4": ("mpeg4", {"g": "12"}),
}
"""Encoder and its options by ``<suffix>-<codec>``."""

PICTURES = ("gif", "png", "jpeg", "webp")

FORMATS = (*VIDEOS, *PICTURES)


def moving_frames(count: int, *, height: int = 72, width: int = 96) -> Frames:
    """Frames [T, H, W, 3] of a soft pattern that moves, with some noise; no two are alike."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    frames = np.empty((count, height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        waves = [np.sin((x + c * y + (5 + c) * i) / (7.0 + 3 * c)) for c in range(3)]
        frame[...] = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 4, frame.shape)
    return frames


def make_seed(folder: Path, name: str) -> Path:
    """Write the seed of format ``name`` into ``folder``."""
    path = folder / f"seed-{name}.{name.split('-')[0]}"
    if name in VIDEOS:
        codec, options = VIDEOS[name]
        return write_video(path, moving_frames(30), codec=codec, options=options)
    count = 1 if name in ("png", "jpeg") else 12
    images = [Image.fromarray(frame) for frame in moving_frames(count)]
    if count == 1:
        images[0].save(path)
    else:
        images[0].save(path, save_all=True, append_images=images[1:], duration=40, loop=0)
    return path


def write_video(
    path: Path,
    frames: Frames,
    *,
    codec: str,
    options: dict[str, str],
    pix_fmt: str = "yuv420p",
    times: list[int] | None = None,
    fps: int = 25,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Encode frames [T, H, W, 3] by PyAV on one thread; ``times`` in ticks of 1 / fps."""
    with _kept_policy(), av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        for frame in _timed(frames, times, fps):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextmanager
def _kept_policy() -> Iterator[None]:
    # SVT-AV1 makes the calling thread of a root process real-time, and what that starts
    # inherits it: two busy workers then keep two cores from everybody else
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, param)


def _timed(frames: Frames, times: list[int] | None, fps: int) -> Iterator[av.VideoFrame]:
    for i, array in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        frame.pts = i if times is None else times[i]
        frame.time_base = Fraction(1, fps)
        yield frame
