"""What all writers share: files that are written whole or not at all, and checks of arguments."""

import errno
import fcntl
import itertools
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastvd.arguments import check_numbers, check_whole

_WRITERS = {".gif": "write_gif", ".mp4": "write_video", ".webp": "write_webp"}


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; it becomes ``path`` when the block succeeds.

    On any error the file under that name is removed, and what ``path`` held before stays. A
    missing parent folder raises FileNotFoundError, a full disk OSError; they name ``path``. What a
    writer that was killed left beside it is written over.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    part, descriptor = _open_part(path)
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        # a failed write has no name, and users do not know the one beside theirs
        if isinstance(error, OSError) and error.filename in (None, str(part)) and error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        os.close(descriptor)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as part:
        part.write_bytes(content)


def is_mine(descriptor: int, part: Path) -> bool:
    """Lock a file that is being written; False where a living writer has it.

    The lock ends with the process. A writer that was waited for may have renamed the file, so the
    name must still be that of the file that is open.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return part.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _open_part(path: Path) -> tuple[Path, int]:
    """A name beside ``path`` to write to, made and locked while the descriptor is open.

    It is always the same one, which a killed writer may have left; but a new one where a living
    writer has that, or where files can't be locked.
    """
    part = path.with_name(f".{path.name[:60]}.fastvd.part")
    descriptor = _lock(part)
    if descriptor is not None:
        return part, descriptor
    part = path.with_name(f".{path.name[:60]}.{secrets.token_hex(4)}.part")
    try:
        return part, os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _lock(part: Path) -> int | None:
    try:
        # not emptied before it is known to be ours; a link in a shared folder may be a trap
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError:
        return None
    is_busy = False
    # there are file systems without locks
    with suppress(OSError):
        is_busy = not is_mine(descriptor, part)
        # another user's would stay theirs under our name
        if not is_busy and os.fstat(descriptor).st_uid == os.geteuid():
            return descriptor
    if not is_busy:
        with suppress(OSError):
            part.unlink()
    os.close(descriptor)
    return None


def check_suffix(path: Path | str, suffix: str) -> None:
    """Raise ValueError for a name that promises another format than is written."""
    if Path(path).suffix.lower() != suffix:
        other = _WRITERS.get(Path(path).suffix.lower())
        hint = f"; {other} writes {Path(path).suffix.lower()}" if other else ""
        raise ValueError(f"{path}: what is written is a {suffix} file, name it so{hint}")


def checked_clip(
    frames: npt.NDArray[np.uint8], *, channels: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """The clip, C-contiguous; ValueError unless it is uint8 [T, H, W, C] without an empty axis."""
    array = np.asarray(frames)
    is_clip = array.ndim == 4 and array.dtype == np.uint8 and array.size > 0
    if not is_clip or array.shape[-1] not in channels:
        wanted = " or ".join(str(c) for c in channels)
        raise ValueError(
            f"frames must be uint8 [T, H, W, C] with T, H, W >= 1 and C = {wanted}, "
            f"got {array.dtype} {list(array.shape)}"
        )
    return np.ascontiguousarray(array)


def checked_fps(fps: float | Fraction) -> Fraction:
    """``fps`` as a fraction (29.97 as it is written, not as binary); ValueError unless > 0."""
    check_numbers(fps=fps)
    if not math.isfinite(fps) or fps <= 0:
        raise ValueError(f"fps must be a number above 0, got {fps}")
    return Fraction(fps).limit_denominator(100_000)


def checked_loop(loop: int | None) -> int | None:
    """How often a clip is repeated: 0 for ever, None not at all."""
    check_whole(loop=loop, or_none=True)
    if loop is not None and not 0 <= loop <= 0xFFFF:
        raise ValueError(f"loop must be None or 0..65535, got {loop}")
    return loop


def ticks(count: int, fps: Fraction, *, second: int) -> list[int]:
    """How long each of ``count`` frames is shown, in whole ticks, ``second`` of them a second.

    Each frame ends at the tick nearest to its true end, so errors never add up: 16 fps in
    hundredths is 6, 6, 7, 6, ...
    """
    ends = [round(i * second / fps) for i in range(count + 1)]
    return [end - start for start, end in itertools.pairwise(ends)]
