"""Videos by PyAV, decoded from the first frame on: the plain twin of the Rust reader."""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from fastvd import limits
from fastvd.errors import MediaError
from fastvd.media.refusal import refusal
from fastvd.media.resize import View, check_clip, check_path_plan, over_black, resize
from fastvd.media.still import stack_frames
from fastvd.media.track import Track

# accurate rounding, chroma brought to full size: within a level of the Rust core's conversion
FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)

# an SDP file must not make FFmpeg open a socket and wait for packets
_OPTIONS = {"protocol_whitelist": "none"}
# sides of a frame in memory may be so much longer
_PADDING = 128

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name of the container."""


def read_track(path: Path, number: int | None = None) -> Track:
    """Decode a file's video number ``number``, or its best one, for its times and format."""
    pts: list[int] = []
    with _opened(path, number) as (container, video, file):
        for frame in _frames(video, file):
            if not pts:
                size, rotation = _shown(frame)
            # a frame without a time comes a tick after the one before
            pts.append(frame.pts if frame.pts is not None else pts[-1] + 1 if pts else 0)
            last_duration = frame.duration
        if not pts:
            raise MediaError(f"{path}: no frame of the video can be decoded")
        tick = float(video.time_base or 1)
        times = (np.array(pts) - pts[0]) * tick
        gap = last_duration * tick or (float(np.median(np.diff(times))) if len(times) > 1 else 0.04)
        codec = video.codec_context.codec.canonical_name
        return Track(times, times[-1] + gap, size, rotation, codec, bool(container.streams.audio))


def read_video(
    path: Path,
    wanted: Sequence[int],
    view: View,
    *,
    stream: int | None = None,
    to_end: bool = False,
) -> npt.NDArray[np.uint8]:
    """Frames number ``wanted`` as [T, h, w, C]; ``to_end``: the range is cut where the file ends.

    Raises MediaError if the file ends before.
    """
    shown: dict[int, npt.NDArray[np.uint8]] = {}
    numbers = wanted if isinstance(wanted, range) else set(wanted)
    last, count, reformatter = max(numbers), 0, VideoReformatter()
    with _opened(path, stream) as (_, video, file):
        _check_clip(video, wanted, last, view, to_end=to_end)
        for i, frame in enumerate(_frames(video, file)):
            count = i + 1
            if i in numbers:
                shown[i] = resize(_to_rgb(path, frame, reformatter, view)[None], view)[0]
                # the header may not say how many frames there are, or not the truth
                limits.check_clip(len(shown), *shown[i].shape)
            if i == last:
                break
    picked = limits.pick_frames(path, wanted, count, to_end=to_end)
    return stack_frames(path, [shown[i] for i in picked])


class _File:
    """A file that is read no more when no frame came of it for too long."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self._since = time.monotonic()

    def restart(self) -> None:
        """Count the time from here on."""
        self._since = time.monotonic()

    def check_time(self) -> None:
        """Raise MediaError after too long a time."""
        most = limits.get_limits().open_timeout_s
        if time.monotonic() - self._since > most:
            raise MediaError(f"{self.path}: no frame within {most:g} s")

    def read(self, size: int) -> bytes:
        """Read on, for FFmpeg."""
        self.check_time()
        return self._read(size)


@contextmanager
def _opened(
    path: Path, number: int | None
) -> Iterator[tuple[av.container.InputContainer, av.video.VideoStream, _File]]:
    """The file's container, video number ``number`` of it, or its best one, and the file."""
    # a file object, so that no FFmpeg protocol is ever asked; opened by its number, so that FFmpeg
    # sees no suffix and judges by the content alone
    with os.fdopen(os.open(path, os.O_RDONLY), "rb") as opened:
        file, most_s = _File(path, opened), limits.get_limits().open_timeout_s
        try:
            with _open(file, most_s) as container:
                yield container, _stream(path, container, number), file
        except av.error.FFmpegError as error:
            file.check_time()
            raise MediaError(f"{path}: {error.strerror or error}") from error


def _open(file: _File, timeout_s: float) -> av.container.InputContainer:
    try:
        return av.open(file, "r", options=_OPTIONS, metadata_errors="replace", timeout=timeout_s)
    except av.error.InvalidDataError as error:
        file.check_time()
        raise MediaError(f"{file.path}: {refusal(file.path)}") from error


def _stream(
    path: Path, container: av.container.InputContainer, number: int | None
) -> av.video.VideoStream:
    stream = _best_stream(container)
    if stream is None or (number is None and stream.disposition & Disposition.attached_pic):
        raise MediaError(f"{path}: holds no video")
    if number is not None:
        videos = [
            v for v in container.streams.video if not v.disposition & Disposition.attached_pic
        ]
        if number >= len(videos):
            has = f"has {len(videos)} video streams"
            raise MediaError(f"{path}: {has}, number {number} was asked for (first is 0)")
        stream = videos[number]
    if stream.codec_context is None:
        raise MediaError(f"{path}: FFmpeg has no decoder for the video")
    limits.check_frame(path, stream.codec_context.width, stream.codec_context.height)
    stream.codec_context.thread_count = 1
    most = limits.get_limits()
    # FFmpeg counts the padding of a decoder's blocks too
    pixels = most.max_pixels + _PADDING * (2 * most.max_side + _PADDING)
    stream.codec_context.options = {"max_pixels": str(min(pixels, (1 << 31) - 1))}
    return stream


def _best_stream(container: av.container.InputContainer) -> av.video.VideoStream | None:
    """FFmpeg's choice; but of an MP4 file that with the most pixels and the highest bit rate."""
    videos = [v for v in container.streams.video if v.codec_context is not None]
    if len(videos) > 1 and container.format.name == MP4:
        *others, best = sorted(videos, key=lambda v: v.width * v.height)
        if all(
            other.disposition == best.disposition
            and other.width * other.height < best.width * best.height
            and (other.bit_rate or 0) < (best.bit_rate or 0)
            for other in others
        ):
            return best
    return container.streams.best("video")


def _check_clip(
    stream: av.video.VideoStream, wanted: Sequence[int], last: int, view: View, *, to_end: bool
) -> None:
    """Raise ValueError for a clip that the header shows to be too large."""
    count, num_frames = len(wanted), stream.frames
    if to_end and isinstance(wanted, range):
        count = len(range(wanted.start, min(wanted.stop, num_frames), wanted.step))
    elif num_frames and last >= num_frames:
        # too few frames are the worse fault
        return
    check_clip(view, count, stream.codec_context.height, stream.codec_context.width)


def _frames(stream: av.video.VideoStream, file: _File) -> Iterator[av.VideoFrame]:
    """All frames. Raises MediaError for one too many, one too large, and one too late."""
    for count, frame in enumerate(_decoded(stream, file), start=1):
        limits.check_frames(file.path, count)
        limits.check_frame(file.path, frame.width, frame.height)
        yield frame
        file.restart()


def _decoded(stream: av.video.VideoStream, file: _File) -> Iterator[av.VideoFrame]:
    try:
        for packet in stream.container.demux(stream):
            file.check_time()
            yield from _decode(stream, packet)
    except av.error.FFmpegError:
        file.check_time()
        # what can't be read any more ends the file
        yield from _decode(stream, None)


def _decode(stream: av.video.VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return list(stream.codec_context.decode(packet))
    except av.error.FFmpegError as error:
        # a damaged packet gives no frame, those after it still may
        if error.errno == errno.ENOMEM:
            raise
        return []


def _shown(frame: av.VideoFrame) -> tuple[tuple[int, int], int]:
    """Height and width as shown, and the clockwise turn that shows the frame upright."""
    rotation = -frame.rotation % 360 // 90 * 90
    is_turned = rotation in (90, 270)
    size = (frame.width, frame.height) if is_turned else (frame.height, frame.width)
    return size, rotation


def _to_rgb(
    path: Path, frame: av.VideoFrame, reformatter: VideoReformatter, view: View
) -> npt.NDArray[np.uint8]:
    """The frame upright as [H, W, 3], alpha over black."""
    size, rotation = _shown(frame)
    check_path_plan(path, view, *size)
    has_alpha = any(c.is_alpha for c in frame.format.components) and frame.format.name != "pal8"
    target = "rgba" if has_alpha else "rgb24"
    converted = reformatter.reformat(
        frame, format=target, interpolation=FLAGS, dst_color_range=ColorRange.JPEG, threads=1
    )
    rgb = np.asarray(converted.to_ndarray(), np.uint8)
    return np.rot90(over_black(rgb) if has_alpha else rgb, -rotation // 90)
