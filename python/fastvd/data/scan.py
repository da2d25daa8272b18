"""Which videos a folder holds, how long each is, and which of them can't be used and why."""

import logging
import os
import re
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvd.arguments import local_path
from fastvd.data.deadline import Deadline
from fastvd.errors import MediaError
from fastvd.media.still import frame_files
from fastvd.media.video import frame_times

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mj2",
    ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm",
    ".rmvb", ".ts", ".vob", ".webm", ".webp", ".wmv", ".y4m",
})  # fmt: skip
"""What counts as a video in a folder; a file that is named itself may have any suffix."""

# names that a line of the report lists before it says "and N more"
_NUM_SHOWN = 10


class FileReport(NamedTuple):
    """What the scan found of one video; ``reason`` says why it can't be used, else is empty."""

    path: str
    frames: int
    usable: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason or f'{self.frames} frames'}"


@dataclass(frozen=True)
class ScanReport:
    """Every video that was looked at, in natural order, and what else lay there."""

    files: tuple[FileReport, ...]
    ignored: tuple[str, ...]

    @property
    def usable(self) -> list[FileReport]:
        """The videos that clips are taken from."""
        return [file for file in self.files if file.usable]

    @property
    def unusable(self) -> list[FileReport]:
        """The videos that are left out, each with its reason."""
        return [file for file in self.files if not file.usable]

    def __str__(self) -> str:
        frames = sum(file.frames for file in self.usable)
        lines = [f"{len(self.usable)} of {len(self.files)} videos usable, {frames} frames"]
        lines += [f"  left out {file}" for file in self.unusable]
        if self.ignored:
            lines.append(f"  {passed_over(self.ignored)}")
        return "\n".join(lines)


class Found(NamedTuple):
    """A video as probed: ``reason`` is empty where it can be read, ``times`` only if asked for."""

    path: str
    frames: int
    times: NDArray[np.float64] | None
    reason: str

    @property
    def seconds(self) -> float:
        """From the first frame to the last; 0 where the times are not known."""
        return 0.0 if self.times is None else float(self.times[-1])

    @property
    def length(self) -> str:
        """The video's length in words."""
        return f"{self.frames} frames" + ("" if self.times is None else f" in {self.seconds:.2f} s")


def find_videos(videos: Path | str | Sequence[Path | str]) -> tuple[list[str], list[str]]:
    """Paths of the videos and of what is passed over: of a file, a folder, or a list of both.

    A path that is named is taken whatever its suffix. A folder is searched with all below it, in
    natural order; there a video is a file with one of ``VIDEO_SUFFIXES``, or a folder that holds
    numbered images and no such file: the images are its frames. Links are followed; hidden names
    are passed over, folders with all below them. Raises FileNotFoundError for a missing path,
    ValueError for an empty list and MediaError for a folder without videos.
    """
    try:
        named = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    except TypeError:
        raise TypeError(f"videos must be a path or a list of them, got {videos!r}") from None
    if not named:
        raise ValueError("videos is an empty list; give a file, a folder or a list of them")
    found: list[str] = []
    ignored: list[str] = []
    for path in map(local_path, named):
        if path.is_dir():
            num_found, num_ignored = len(found), len(ignored)
            _search(path, (path.resolve(),), found, ignored)
            if len(found) == num_found:
                raise MediaError(f"{path} holds no videos; {passed_over(ignored[num_ignored:])}")
        else:
            path.stat()
            found.append(str(path))
    return found, ignored


def probe_videos(
    paths: Sequence[str], stream: int | None, *, with_times: bool, deadline: Deadline
) -> list[Found]:
    """Frame counts, and with ``with_times`` the seconds of each frame, of files in their order."""

    def look(path: str) -> Found:
        return _probe(path, lambda: _look_into(path, stream, with_times), deadline)

    workers = min(32, 2 * (os.cpu_count() or 1), max(1, len(paths)))
    with ThreadPoolExecutor(workers, thread_name_prefix="fastvd-scan") as pool:
        return list(pool.map(look, paths))


def make_report(
    found: Sequence[Found], starts: Sequence[int], ignored: Sequence[str], *, wanted: str
) -> ScanReport:
    """Judge each video by how many first frames leave room for a clip, which spans ``wanted``.

    Raises MediaError where no video can be read, ValueError where a clip fits into none.
    """
    readable = [video for video in found if not video.reason]
    if not readable:
        reasons = listed([f"{video.path}: {video.reason}" for video in found])
        raise MediaError(f"no video can be read: {reasons}")
    if not any(starts):
        longest = max(readable, key=lambda video: (video.seconds, video.frames))
        raise ValueError(
            f"a clip spans {wanted}, more than any video has; "
            f"the longest is {longest.path} with {longest.length}"
        )
    files = []
    for video, num_starts in zip(found, starts, strict=True):
        reason = video.reason or ("" if num_starts else f"{video.length}, a clip spans {wanted}")
        files.append(FileReport(video.path, video.frames, not reason, reason))
    return ScanReport(tuple(files), tuple(ignored))


def check_report(report: ScanReport, on_error: str) -> None:
    """Raise MediaError for videos that can't be used, or with ``on_error="skip"`` log them."""
    if not report.unusable:
        return
    left_out = f"{len(report.unusable)} of {len(report.files)} videos can't be used"
    reasons = listed([str(file) for file in report.unusable])
    if on_error == "error":
        raise MediaError(f"{left_out} (on_error='replace' goes on without): {reasons}")
    warn_once(f"{left_out}: {reasons}")


@lru_cache(maxsize=1024)
def warn_once(text: str) -> None:
    """Log a warning unless this process did: training and judging read the same folder."""
    logger.warning("%s", text)


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key that puts ``2.mp4`` before ``10.mp4``; the same on every machine and locale."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    numbered = (
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part.lower())
        for part in parts
    )
    return tuple(numbered), name


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NUM_SHOWN} more" if len(names) > _NUM_SHOWN else ""
    return "; ".join(names[:_NUM_SHOWN]) + more


def passed_over(names: Sequence[str]) -> str:
    """How much of a folder was not taken for videos, and what, in words."""
    why = "hidden, or without a video's suffix"
    return f"{len(names)} passed over ({why}): {listed(names)}" if names else "it is empty"


def _search(
    folder: Path, ancestors: tuple[Path, ...], found: list[str], ignored: list[str]
) -> None:
    files, folders, hidden = _entries(folder)
    ignored += map(str, hidden)
    if not any(_is_video(file) for file in files) and (images := set(frame_files(folder))):
        found.append(str(folder))
        files = [file for file in files if file not in images]
    for file in files:
        (found if _is_video(file) else ignored).append(str(file))
    for below in folders:
        target = below.resolve()
        # a link to a folder that we are in would never end
        if target not in ancestors:
            _search(below, (*ancestors, target), found, ignored)


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def _entries(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Files, folders, and hidden entries of both kinds."""
    files: list[Path] = []
    folders: list[Path] = []
    hidden: list[Path] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name)):
        is_hidden = entry.name.startswith(".")
        (hidden if is_hidden else folders if entry.is_dir() else files).append(entry)
    return files, folders, hidden


def _probe(path: str, look: Callable[[], Found], deadline: Deadline) -> Found:
    try:
        return deadline.run(path, look)
    except (MediaError, OSError) as error:
        return Found(path, 0, None, str(error).removeprefix(f"{path}: "))


def _look_into(path: str, stream: int | None, with_times: bool) -> Found:
    if stat.S_IFMT(Path(path).stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        return Found(path, 0, None, "is a pipe or a device, not a file")
    times = frame_times(path, stream=stream)
    reason = "" if len(times) else "holds no frames"
    return Found(path, len(times), times if with_times else None, reason)
