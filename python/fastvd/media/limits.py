"""Largest frame and clip that is decoded, as in Rust; checked before memory is asked for."""

import stat
from collections.abc import Sequence
from pathlib import Path

from fastvd.errors import MediaError

MAX_SIDE = 8192
"""Longest side of a frame, in pixels."""
MAX_PIXELS = 64_000_000
"""Most pixels in a frame."""
MAX_FRAMES = 1_000_000
"""Most frames in a file."""
MAX_CLIP_BYTES = 4 << 30
"""Most bytes in a decoded clip."""


def check_frame(path: Path | str, width: int, height: int) -> None:
    """Raise MediaError for a frame size that no sane file has."""
    is_sane = 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS
    if not is_sane:
        reason = f"frame size {width}x{height} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}"
        raise MediaError(f"{path}: {reason} or above {MAX_PIXELS} pixels")


def check_file(path: Path) -> None:
    """Raise MediaError for what is not a file: to open a pipe would wait for its other end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise MediaError(f"{path}: is not a file")


def pick_frames(
    path: Path | str, wanted: Sequence[int], count: int, *, to_end: bool = False
) -> Sequence[int]:
    """Frame numbers in a file of ``count`` frames; ``to_end`` cuts a range where the file ends.

    Raises MediaError where a frame is missing.
    """
    if to_end and isinstance(wanted, range) and wanted.start < count:
        return range(wanted.start, min(wanted.stop, count), wanted.step)
    asked = wanted[0] if to_end else wanted[-1] if isinstance(wanted, range) else max(wanted)
    if asked >= count:
        raise MediaError(f"{path}: has {count} frames, frame {asked} was asked for (first is 0)")
    return wanted


def check_clip(frames: int, height: int, width: int, channels: int) -> None:
    """Raise ValueError for a clip that is too large to hand out."""
    size = frames * height * width * channels
    if size > MAX_CLIP_BYTES:
        shape = f"[{frames}, {height}, {width}, {channels}]"
        raise ValueError(f"a clip {shape} has {size} bytes, more than {MAX_CLIP_BYTES}")
