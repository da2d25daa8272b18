"""A video, GIF or folder of pictures to a GIF, without all its frames in memory."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastvd.media.gif import (
    MAX_FPS,
    Dither,
    PaletteScope,
    Quality,
    delays_between,
    fps_delays,
    write_pieces,
)
from fastvd.media.video import VideoInfo, frame_times, probe, read_frames
from fastvd.media.whole import check_suffix, checked_fps

PIECE_BYTES = 256 << 20
"""Decoded frames that are held at a time; a clip of more is decoded twice."""

Progress = Callable[[int, int], None]


def convert_to_gif(
    source: Path | str,
    out: Path | str,
    *,
    start: int = 0,
    frames: int | None = None,
    stride: int = 1,
    width: int | None = None,
    fps: float | Fraction | None = None,
    loop: int | None = 0,
    quality: Quality = "good",
    palette: PaletteScope = "global",
    dither: Dither | bool = True,
    lossy: int = 0,
    colors: int = 256,
    stream: int | None = None,
    progress: Progress | None = None,
) -> tuple[int, int, int]:
    """Write what ``source`` shows as a GIF; return its frames, height and width.

    ``start``, ``frames``, ``stride`` and ``stream`` choose frames as in ``read_clip``; height
    follows ``width``. With ``fps`` the frames shown at every 1 / fps seconds are taken, so that
    the GIF plays as fast as its source; without, each chosen frame is shown as long as there.
    ``progress`` is told steps done and steps in all. All else is as in ``write_gif``.
    """
    check_suffix(out, ".gif")
    info = probe(source, stream=stream)
    size = scaled_size(info, width)
    indices, delays = shown_frames(
        info, start=start, frames=frames, stride=stride, fps=fps, stream=stream
    )
    per_piece = max(1, PIECE_BYTES // (size[0] * size[1] * 3))
    read = partial(read_frames, size=size, fit="stretch", stream=stream)
    held: list[npt.NDArray[np.uint8]] = []
    done = 0

    def pieces() -> Iterator[npt.NDArray[np.uint8]]:
        nonlocal done
        for first in range(0, len(indices), per_piece):
            wanted = indices[first : first + per_piece]
            piece = held.pop() if held else read(source, wanted)
            yield piece
            done += len(wanted)
            if progress is not None:
                progress(done, 2 * len(indices))
            if len(wanted) == len(indices):
                held.append(piece)

    write_pieces(
        out,
        pieces,
        size=size,
        delays=delays,
        loop=loop,
        quality=quality,
        palette=palette,
        dither=dither,
        lossy=lossy,
        colors=colors,
    )
    return len(indices), *size


def scaled_size(info: VideoInfo, width: int | None) -> tuple[int, int]:
    """Height and width of a video that is scaled to ``width``."""
    if width is None:
        return info.height, info.width
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    return max(round(info.height * width / info.width), 1), width


def shown_frames(
    info: VideoInfo,
    *,
    start: int,
    frames: int | None,
    stride: int,
    fps: float | Fraction | None,
    stream: int | None,
) -> tuple[list[int], list[int]]:
    """Return which frames a GIF shows, by number, and for how many hundredths of a second."""
    if start < 0 or stride < 1 or (frames is not None and frames < 1):
        asked = f"start={start}, frames={frames}, stride={stride}"
        raise ValueError(f"start must be 0 or more, frames and stride 1 or more, got {asked}")
    stop = info.frames if frames is None else start + (frames - 1) * stride + 1
    if start >= info.frames or stop > info.frames:
        asked = f"start={start}, frames={frames}, stride={stride}"
        raise ValueError(f"{info.path}: has {info.frames} frames, too few for {asked}")
    chosen = np.arange(start, stop, stride)
    times = np.append(frame_times(info.path, stream=stream), info.duration)
    end = times[min(int(chosen[-1]) + stride, info.frames)]
    ends = np.append(times[chosen], end) - times[start]
    if fps is None and (info.is_variable_rate or len(chosen) / max(ends[-1], 1e-9) > MAX_FPS):
        delays = delays_between(ends)
        # what no viewer shows so briefly is left out
        fps = MAX_FPS if min(delays) < 2 else None
        if fps is None:
            return chosen.tolist(), delays
    if fps is None:
        return chosen.tolist(), fps_delays(len(chosen), len(chosen) / max(ends[-1], 1e-9))
    rate = checked_fps(fps)
    count = max(round(ends[-1] * rate), 1)
    delays = fps_delays(count, rate)
    # times in files are rounded: a frame that begins a moment later is meant
    moments = np.arange(count) / float(rate) + 1e-3
    places = np.searchsorted(ends[:-1], moments, side="right") - 1
    return chosen[places.clip(min=0)].tolist(), delays
