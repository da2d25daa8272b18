"""Clips from anything that holds frames: videos, GIF, WebP, folders of images, single images.

Frame i is the i-th decoded frame in display order. Videos are decoded by Rust where it is there,
else by PyAV (``media/twin.py``); pictures by ``media/still.py``.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastvd import limits, native
from fastvd.arguments import check_numbers, check_whole, local_path, whole_numbers
from fastvd.errors import MediaError
from fastvd.media import still
from fastvd.media.ahead import read_ahead
from fastvd.media.boxes import is_truncated
from fastvd.media.pyav import needed_for
from fastvd.media.resize import Fit, Resample, View, make_view, shown_shape
from fastvd.media.track import Track

LARGEST = 1 << 31
"""Above every frame number and stride."""
TIME_NOISE_S = 1e-6
"""Times come from integers divided by time bases: this tells equal from nearly equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """What a file holds. Width and height are as shown, after the rotation.

    ``is_truncated``: an MP4 or MOV file ends inside its content, so frames or sound may be
    missing. Other containers do not tell, and count as whole.
    """

    path: Path
    frames: int
    fps: float
    width: int
    height: int
    duration: float
    codec: str
    rotation: int
    is_variable_rate: bool
    has_audio: bool
    is_truncated: bool


def probe(path: Path | str, *, stream: int | None = None) -> VideoInfo:
    """Count a file's frames and tell its format; ``duration`` in seconds, ``rotation`` in degrees.

    ``rotation`` is the clockwise turn (0, 90, 180, 270) that shows the coded frames upright; all
    reading functions apply it. A folder of images and a single image count as 25 fps.

    ``stream`` is a number among the file's video streams, from 0 and without cover pictures; None
    takes the best one, as FFmpeg finds it; but of an MP4 file that which has both the most pixels
    and the highest bit rate. Raises FileNotFoundError, or MediaError for what holds no frames or
    no such stream.
    """
    path = local_path(path)
    track = _track(path, stream)
    gaps = np.sort(np.diff(track.times))
    middle = len(gaps) // 2
    # the median; np.median takes longer than all else here
    typical = float(gaps[middle] + gaps[-1 - middle]) / 2 if len(gaps) else 0.0
    # 2 % or 2 ms: Matroska and FLV round their times to milliseconds
    tolerance = max(0.02 * typical, 0.002)
    furthest = max(typical - gaps[0], gaps[-1] - typical) if len(gaps) else 0.0
    return VideoInfo(
        path=path,
        frames=len(track.times),
        fps=round(len(track.times) / track.end, 9) if track.end > 0 else still.FOLDER_FPS,
        height=track.size[0],
        width=track.size[1],
        duration=round(track.end, 9),
        codec=track.codec,
        rotation=track.rotation,
        is_variable_rate=bool(furthest > tolerance),
        has_audio=track.has_audio,
        is_truncated=path.is_file() and is_truncated(path),
    )


def frame_times(path: Path | str, *, stream: int | None = None) -> npt.NDArray[np.float64]:
    """When each frame is shown, in seconds from the first; ``stream`` as in ``probe``."""
    return _track(local_path(path), stream).times


def read_clip(
    path: Path | str,
    *,
    start: int = 0,
    frames: int | None = None,
    stride: int = 1,
    size: int | tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    fit: Fit = "crop",
    resample: Resample = "bilinear",
    grey: bool = False,
    threads: int | None = None,
    stream: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode ``frames`` frames from ``start``, ``stride`` apart, as uint8 [T, H, W, C].

    C is 1 if ``grey``, else 3; alpha is laid over black. ``frames=None`` reads to the end. The
    file's rotation is applied, then ``crop`` (top, left, height, width in pixels), then the resize
    to ``size`` (height, width; one number for a square). Where the aspects differ, ``fit`` cuts the
    centre out ("crop"), adds black bars before the resize ("pad") or distorts ("stretch").
    ``resample`` is "bilinear" (antialiased) or "area". ``threads`` decode, by default one, or all
    cores for a read to the end; the frames are the same. ``stream`` is as in ``probe``.

    Raises FileNotFoundError; ValueError for a bad argument; MediaError for a file that can't be
    decoded or ends before the last frame.
    """
    check_whole(start=start, stride=stride)
    check_whole(frames=frames, threads=threads, or_none=True)
    is_sane = 0 <= start < LARGEST and 0 < stride < LARGEST and 0 < (frames or 1) < LARGEST
    if not is_sane or frames == 0:
        asked = f"start={start}, frames={frames}, stride={stride}"
        raise ValueError(f"start must be 0 or more, frames and stride 1 or more, got {asked}")
    view = make_view(size, crop, fit=fit, resample=resample, grey=grey)
    threads = _threads(1 if threads is None and frames is not None else threads)
    # to the end: past the last frame that a file may have, so that one more is seen
    most = limits.get_limits().max_frames
    stop = start + (most + stride if frames is None else frames * stride)
    wanted = range(start, stop, stride)
    return _read(local_path(path), stream, wanted, view, to_end=frames is None, threads=threads)


def iter_clips(
    path: Path | str,
    *,
    frames: int,
    stride: int = 1,
    size: int | tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    fit: Fit = "crop",
    resample: Resample = "bilinear",
    grey: bool = False,
    threads: int | None = None,
    stream: int | None = None,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Give a whole file in clips of ``frames`` frames, the last one of what is left.

    Each clip goes on where the one before ended: a long video passes through little memory.
    ``threads`` decode, by default all cores, up to 256 MiB ahead; the frames are the same. All
    else is as in ``read_clip``.
    """
    check_whole(frames=frames, stride=stride)
    check_whole(threads=threads, or_none=True)
    if frames < 1 or stride < 1:
        raise ValueError(f"frames and stride must be 1 or more, got {frames} and {stride}")
    view = make_view(size, crop, fit=fit, resample=resample, grey=grey)
    threads = _threads(threads)
    info = probe(path, stream=stream)
    shape = shown_shape(view, info.height, info.width)
    wanted = range(0, info.frames, stride)
    limits.check_clip(min(frames, len(wanted)), *shape)
    return read_ahead(
        lambda numbers, threads: _read(info.path, stream, numbers, view, threads=threads),
        wanted,
        _starts(info.path, stream) if threads > 1 else [],
        frames=frames,
        threads=threads,
        frame_bytes=math.prod(shape),
    )


def read_frames(
    path: Path | str,
    indices: Sequence[int],
    *,
    size: int | tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    fit: Fit = "crop",
    resample: Resample = "bilinear",
    grey: bool = False,
    stream: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode frames by number, in any order and with repeats; all else as in ``read_clip``."""
    wanted = whole_numbers("indices", indices, wanted="whole numbers")
    if not wanted or min(wanted) < 0 or max(wanted) >= LARGEST:
        raise ValueError(
            f"indices must be one or more frame numbers from 0, got {list(wanted[:8])}"
        )
    view = make_view(size, crop, fit=fit, resample=resample, grey=grey)
    return _read(local_path(path), stream, wanted, view)


def clip_at(
    path: Path | str,
    seconds: float,
    *,
    frames: int,
    fps: float | None = None,
    size: int | tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    fit: Fit = "crop",
    resample: Resample = "bilinear",
    grey: bool = False,
    stream: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode what is shown ``seconds`` after the first frame, and then ``fps`` times a second.

    Without ``fps`` the frames that follow in the file are taken. A frame is shown until the next
    one's time, whatever the file's rate. All else is as in ``read_clip``. Raises MediaError where
    the file is over before the last frame's time.
    """
    check_numbers(seconds=seconds)
    check_whole(frames=frames)
    check_numbers(fps=fps, or_none=True)
    if not 0 <= seconds < math.inf or frames < 1 or (fps is not None and not 0 < fps < math.inf):
        asked = f"seconds={seconds}, frames={frames}, fps={fps}"
        raise ValueError(f"seconds must be 0 or more, frames and fps above 0, got {asked}")
    track = _track(local_path(path), stream)
    wanted = seconds + (np.arange(frames) / fps if fps else np.zeros(1))
    if wanted[-1] >= track.end:
        raise MediaError(f"{path}: lasts {track.end:g} s, {wanted[-1]:g} s was asked for")
    numbers = np.searchsorted(track.times, wanted + TIME_NOISE_S, side="right") - 1
    if not fps:
        numbers = numbers[0] + np.arange(frames)
    view = {"size": size, "crop": crop, "fit": fit, "resample": resample, "grey": grey}
    return read_frames(path, numbers.tolist(), stream=stream, **view)  # type: ignore[arg-type]


def _track(path: Path, stream: int | None) -> Track:
    kind = _picture_kind(path, stream)
    if kind is not None:
        pictures = still.open_pictures(path, kind)
        return Track(pictures.times, pictures.end, pictures.size, 0, pictures.codec, False)
    if native.video_available:
        track = Track(*native.core.probe_video(path, stream))
    else:
        with needed_for(path):
            from fastvd.media import twin
        track = twin.read_track(path, stream)
    limits.note_ratio(path, len(track.times) * track.size[0] * track.size[1] * 3)
    return track


def _threads(threads: int | None) -> int:
    """``threads``, or one for each core."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    return threads or len(os.sched_getaffinity(0))


def _starts(path: Path, stream: int | None) -> list[int]:
    """Frames where decoding may start, where that gains anything."""
    if _picture_kind(path, stream) is not None or not native.video_available:
        return []
    return native.core.starts_of_video(path, stream)


def _picture_kind(path: Path, stream: int | None) -> still.Kind | None:
    check_whole(stream=stream, or_none=True)
    if not 0 <= (stream or 0) < LARGEST:
        raise ValueError(f"stream must be 0 or more, got {stream}")
    kind = still.picture_kind(path)
    if kind is not None and stream:
        raise MediaError(f"{path}: has 1 video stream, number {stream} was asked for (first is 0)")
    return kind


def _read(
    path: Path,
    stream: int | None,
    wanted: Sequence[int],
    view: View,
    *,
    to_end: bool = False,
    threads: int = 1,
) -> npt.NDArray[np.uint8]:
    kind = _picture_kind(path, stream)
    if kind is not None:
        return still.read_pictures(path, kind, wanted, view, to_end=to_end)
    if not native.video_available:
        with needed_for(path):
            from fastvd.media import twin
        clip = twin.read_video(path, wanted, view, stream=stream, to_end=to_end)
    elif isinstance(wanted, range):
        frames = None if to_end else len(wanted)
        clip = native.core.read_clip(
            path, stream, wanted.start, frames, wanted.step, *view, threads
        )
    else:
        clip = native.core.read_frames(path, stream, list(wanted), *view)
    if view.size is None:
        limits.note_ratio(path, clip.nbytes)
    return clip
