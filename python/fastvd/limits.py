"""Largest frame, clip and file that is read, for the whole process, in Rust as in the twins.

They are checked before memory is asked for.
"""

import logging
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from fastvd import native
from fastvd.arguments import check_kind, check_numbers
from fastvd.config import documented
from fastvd.errors import MediaError

_log = logging.getLogger(__name__)

# FFmpeg counts pixels and Rust frames in so many bits
_MOST = {"max_side": 65_535, "max_pixels": (1 << 31) - 1, "max_frames": (1 << 31) - 1}
_LARGEST = (1 << 63) - 1
# not told to Rust, which has no use for them
_PYTHON_ONLY = ("max_ratio", "max_header_bytes")


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What is refused with MediaError, or where arguments ask for it with ValueError."""

    max_side: int = 8192
    "longest side of a frame, in pixels; at most 65535"
    max_pixels: int = 64_000_000
    "most pixels of a frame; Pillow has its own limit for pictures, PIL.Image.MAX_IMAGE_PIXELS"
    max_frames: int = 1_000_000
    "most frames of a file"
    max_clip_bytes: int = 4 << 30
    "most bytes of a decoded clip"
    max_gif_frames: int = 100_000
    "most frames of a GIF"
    max_gif_bytes: int = 2 << 30
    "most bytes of a GIF, which is decoded as a whole"
    max_ratio: float = 10_000
    "decoded bytes to a byte of the file above which a warning is logged: stills go beyond it too"
    max_header_bytes: int = 100_000_000
    "most bytes of a JSON file or header"
    open_timeout_s: float = 10.0
    "longest time from opening a video to its first frame, and then to each next one; may be inf"

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), _MOST.get(field.name, _LARGEST)
            if field.type is float:
                check_numbers(**{field.name: value})
                if not value > 0:
                    raise ValueError(f"{field.name} must be above 0, got {value}")
            elif not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{field.name} must be a whole number in 1..{most}, got {value}")


def get_limits() -> Limits:
    """Return the limits that hold now."""
    return _current


def set_limits(limits: Limits) -> None:
    """Make ``limits`` hold from now on, in all threads of this process.

    A ClipDataset takes them along to the worker processes of a DataLoader.
    """
    global _current
    check_kind(Limits, limits=limits)
    if native.available:
        told = {name: n for name, n in asdict(limits).items() if name not in _PYTHON_ONLY}
        native.core.set_limits(**told)
    _current = limits


_current = Limits()
set_limits(_current)


def check_frame(path: Path | str, width: int, height: int) -> None:
    """Raise MediaError for a frame size that no sane file has."""
    side, most = _current.max_side, _current.max_pixels
    if not (0 < width <= side and 0 < height <= side and width * height <= most):
        reason = f"frame size {width}x{height} is outside 1x1 to {side}x{side}"
        raise MediaError(f"{path}: {reason} or above {most} pixels")


def check_frames(path: Path | str, frames: int) -> None:
    """Raise MediaError for a file of more frames than any should have."""
    if frames > _current.max_frames:
        raise MediaError(f"{path}: has more than {_current.max_frames} frames")


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
    size, most = frames * height * width * channels, _current.max_clip_bytes
    if size > most:
        shape = f"[{frames}, {height}, {width}, {channels}]"
        raise ValueError(f"a clip {shape} has {size} bytes, more than {most}")


def note_ratio(path: Path, decoded_bytes: int) -> None:
    """Log a file that holds far more when decoded than it has bytes, once.

    No error: it may be a bomb, but a still picture gets as small, and memory is limited anyway.
    """
    file_bytes = path.stat().st_size
    if decoded_bytes > _current.max_ratio * file_bytes:
        _warn_of_ratio(path, decoded_bytes // max(1, file_bytes))


@lru_cache(maxsize=1024)
def _warn_of_ratio(path: Path, ratio: int) -> None:
    _log.warning("%s: holds %d times as many bytes when decoded: still, or a bomb", path, ratio)
