"""The Rust core, as built from rust/py; ``fastvd.native`` is the only importer."""

from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "GifEncoder",
    "__version__",
    "choose_clips",
    "decode_gif",
    "fill_batch",
    "force_panic",
    "map_file",
    "open_ffmpeg",
    "probe_video",
    "read_clip",
    "read_frames",
    "resize",
    "set_limits",
    "set_table_folder",
    "starts_of_video",
]

__version__: str

def choose_clips(
    seed: int,
    first: int,
    count: int,
    ends: npt.NDArray[np.uint64],
    starts: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return video and first frame of clips from number ``first`` on, counted across epochs."""

def fill_batch(
    videos: list[npt.NDArray[np.uint8]],
    numbers: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    kind: str,
    threads: int,
) -> None:
    """Gather frames ``numbers`` [B, T] of ``videos``, one [F, H, W, C] a clip, into ``out``."""

def map_file(path: Path, offset: int, length: int) -> npt.NDArray[np.uint8]:
    """Map a part of a file, read-only."""

def open_ffmpeg(folder: str | None) -> str | None:
    """Open FFmpeg from ``folder``, else from the system; return why there is none, or None."""

def force_panic() -> None:
    """Raise RuntimeError as a bug in Rust would; for the tests."""

def set_table_folder(folder: str | None) -> None:
    """Keep frame tables in ``folder`` from now on, or in none."""

def probe_video(
    path: Path, stream: int | None
) -> tuple[npt.NDArray[np.float64], float, tuple[int, int], int, str, bool]:
    """Return times in seconds, end, (height, width), rotation, codec, whether there is sound."""

def starts_of_video(path: Path, stream: int | None) -> list[int]:
    """Return the frames where decoding may start; none if it may only at the file's start."""

def read_clip(
    path: Path,
    stream: int | None,
    start: int,
    frames: int | None,
    stride: int,
    size: tuple[int, int] | None,
    crop: tuple[int, int, int, int] | None,
    fit: str,
    resample: str,
    grey: bool,
    threads: int,
) -> npt.NDArray[np.uint8]:
    """Decode frames ``stride`` apart as [T, H, W, C]; ``frames=None`` reads to the end."""

def read_frames(
    path: Path,
    stream: int | None,
    indices: list[int],
    size: tuple[int, int] | None,
    crop: tuple[int, int, int, int] | None,
    fit: str,
    resample: str,
    grey: bool,
) -> npt.NDArray[np.uint8]:
    """Decode frames by number as [T, H, W, C]."""

def resize(
    frames: npt.NDArray[np.uint8],
    size: tuple[int, int] | None,
    crop: tuple[int, int, int, int] | None,
    fit: str,
    resample: str,
    grey: bool,
) -> npt.NDArray[np.uint8]:
    """Crop, fit and resize C-contiguous frames [T, H, W, 3]."""

def set_limits(
    *,
    max_side: int,
    max_pixels: int,
    max_frames: int,
    max_clip_bytes: int,
    max_gif_frames: int,
    max_gif_bytes: int,
    open_timeout_s: float,
) -> None:
    """Refuse larger frames, clips and files from now on; before the first call all are."""

def decode_gif(
    path: Path,
) -> tuple[npt.NDArray[np.uint8], list[int], int | None]:
    """Return frames [T, H, W, 3], delays in hundredths of a second, and the repeat count."""

@final
class GifEncoder:
    """Makes a GIF of frames that come in pieces: all of them to scan, then again to write."""

    def __new__(
        cls,
        width: int,
        height: int,
        *,
        quality: str,
        colors: int,
        dither: str,
        palette: str,
        lossy: int,
        repeat: int | None,
        threads: int | None = None,
    ) -> GifEncoder: ...
    def scan(self, frames: npt.NDArray[np.uint8]) -> None:
        """Look at C-contiguous frames [T, H, W, C] to choose colours."""

    def write(self, frames: npt.NDArray[np.uint8], delays: list[int]) -> bytes:
        """Return the bytes that frames make; ``delays`` in hundredths of a second."""

    def finish(self) -> bytes:
        """Return what ends the file; the encoder is spent."""
