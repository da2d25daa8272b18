"""Videos by PyAV, decoded from the first frame on: the plain twin of the Rust reader."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from fastvd.errors import MediaError
from fastvd.media import limits
from fastvd.media.resize import View, check_path_plan, resize

# accurate rounding and chroma brought to full size: the Rust core asks swscale for the same
FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)


class Track(NamedTuple):
    """What a full decode of a file's best video stream tells."""

    times: npt.NDArray[np.float64]  # seconds, first = 0
    end: float  # when the last frame's time is over, in seconds
    size: tuple[int, int]  # height, width as shown
    rotation: int  # degrees clockwise
    codec: str
    has_audio: bool


def read_track(path: Path) -> Track:
    """Decode the whole file for its times and format."""
    with _opened(path) as container:
        stream = _best_stream(path, container)
        pts: list[int] = []
        size, rotation, last = (0, 0), 0, (-1, 0)
        for packet in container.demux(stream):
            last = max(last, (packet.pts if packet.pts is not None else -1, packet.duration or 0))
            for frame in _decode(packet):
                if not pts:
                    size, rotation = _shown(frame)
                pts.append(len(pts) if frame.pts is None else frame.pts)
        if not pts:
            raise MediaError(f"{path}: no frame of the video can be decoded")
        codec = stream.codec_context.codec.canonical_name
        tick = float(stream.time_base or 1)
        times = (np.array(pts) - pts[0]) * tick
        gap = last[1] * tick or (float(np.median(np.diff(times))) if len(times) > 1 else 0.04)
        return Track(times, times[-1] + gap, size, rotation, codec, bool(container.streams.audio))


def read_video(
    path: Path, wanted: Sequence[int], view: View, *, to_end: bool = False
) -> npt.NDArray[np.uint8]:
    """Frames number ``wanted`` as [T, h, w, C]; ``to_end``: ``wanted`` is cut where the file ends.

    Raises MediaError if the file ends before.
    """
    shown: dict[int, npt.NDArray[np.uint8]] = {}
    last, count = max(wanted, default=-1), 0
    with _opened(path) as container, closing(_frames(path, container)) as frames:
        reformatter = VideoReformatter()
        for i, frame in enumerate(frames):
            count = i + 1
            if i in wanted:
                shown[i] = resize(_to_rgb(path, frame, reformatter, view)[None], view)[0]
            if i == last:
                break
    picked = [i for i in wanted if i < count] if to_end else wanted
    missing = [i for i in picked if i >= count]
    if missing or (to_end and not picked):
        asked = missing[0] if missing else wanted[0]
        raise MediaError(f"{path}: has {count} frames, frame {asked} was asked for (first is 0)")
    sizes = sorted({shown[i].shape[:2] for i in picked})
    if len(sizes) > 1:
        raise MediaError(f"{path}: frames have more than one size, {sizes}: give a size")
    return np.stack([shown[i] for i in picked])


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    # a file object, so that no FFmpeg protocol is ever asked
    with path.open("rb") as file:
        try:
            with av.open(file, mode="r") as container:
                yield container
        except av.error.FFmpegError as error:
            raise MediaError(f"{path}: {error.strerror or error}") from error


def _best_stream(path: Path, container: av.container.InputContainer) -> av.video.VideoStream:
    stream = container.streams.best("video")
    if stream is None:
        raise MediaError(f"{path}: holds no video")
    limits.check_frame(path, stream.codec_context.width, stream.codec_context.height)
    return stream


def _frames(path: Path, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    for packet in container.demux(_best_stream(path, container)):
        yield from _decode(packet)


def _decode(packet: av.Packet) -> list[av.VideoFrame]:
    try:
        return packet.decode()
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
    rgb = reformatter.reformat(
        frame, format=target, interpolation=FLAGS, dst_color_range=ColorRange.JPEG, threads=1
    ).to_ndarray()
    if has_alpha:
        alpha = rgb[..., 3:].astype(np.uint16)
        rgb = ((rgb[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return np.rot90(rgb, -rotation // 90)
