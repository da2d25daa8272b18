"""A video to folders of numbered frames, as other tools and older trainers want them."""

import errno
import logging
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from fastvd.arguments import check_whole
from fastvd.media.resize import Fit
from fastvd.media.still import IMAGE_SUFFIXES
from fastvd.media.video import iter_clips

logger = logging.getLogger(__name__)

# frames decoded at a time, so that a long video never lies in memory whole
FRAMES_AT_ONCE = 128


def extract_frames(
    path: Path | str,
    folder: Path | str,
    *,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "pad",
    stride: int = 1,
    frames_per_folder: int = 1000,
    suffix: Literal["jpg", "jpeg", "png"] = "jpg",
    stream: int | None = None,
) -> int:
    """Write every ``stride``-th frame as ``folder/<k>/<n>.<suffix>`` and return their number.

    ``n`` counts through, in six digits from 000000; ``k`` goes up after every
    ``frames_per_folder`` frames; each folder then reads as one video. ``size`` is a side in pixels
    or (height, width); ``fit`` and ``stream`` are as in ``read_clip``. Raises FileExistsError,
    before anything is written, when ``folder`` holds numbered folders or pictures already.
    """
    check_whole(frames_per_folder=frames_per_folder, stride=stride)
    if frames_per_folder < 1:
        raise ValueError(f"frames_per_folder must be at least 1, got {frames_per_folder}")
    if suffix not in ("jpg", "jpeg", "png"):
        raise ValueError(f"suffix must be jpg, jpeg or png, got {suffix!r}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    clips = iter_clips(
        path, frames=FRAMES_AT_ONCE, stride=stride, size=size, fit=fit, stream=stream
    )
    _check_free(Path(folder))
    total = 0
    for total, frame in enumerate(chain.from_iterable(clips), start=1):
        n = total - 1
        into = Path(folder) / str(n // frames_per_folder)
        if n % frames_per_folder == 0:
            into.mkdir(parents=True)
        _write_still(into / f"{n:06d}.{suffix}", frame)
    logger.info("%s: %d frames", path, total)
    return total


def _check_free(folder: Path) -> None:
    """Refuse a folder whose frames would be taken for ours, or ours for its own."""
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.name.isdecimal() or entry.suffix.lower() in IMAGE_SUFFIXES:
            reason = f"holds frames already ({entry.name}): empty it, or name another folder"
            raise FileExistsError(errno.EEXIST, reason, str(folder))


def _write_still(path: Path, frame: np.ndarray) -> None:
    # quality 95, full chroma: frames are training data
    Image.fromarray(frame).save(path, quality=95, subsampling=0)
