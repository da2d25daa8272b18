"""The Rust core, as built from rust/py; ``fastvd.native`` is the only importer."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

__version__: str

def decode_gif(
    path: Path,
) -> tuple[npt.NDArray[np.uint8], list[int], int | None]:
    """Return frames [T, H, W, 3], delays in hundredths of a second, and the repeat count."""

def encode_gif(
    frames: npt.NDArray[np.uint8],
    *,
    delays: list[int],
    colors: int,
    dither: bool,
    local: bool,
    repeat: int | None,
) -> bytes:
    """Return a GIF file of C-contiguous [T, H, W, C]; ``delays`` in hundredths of a second."""
