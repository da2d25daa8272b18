"""Many clips in one: a grid that moves, a strip of frames that stands."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from einops import rearrange


def tile(clips: npt.NDArray[np.uint8], *, columns: int, gap: int = 2) -> npt.NDArray[np.uint8]:
    """Return clips uint8 [N, T, H, W, C] side by side as [T, H', W', C], row by row.

    ``gap`` black pixels lie between them; cells after the last clip are black.
    """
    if clips.ndim != 5 or clips.size == 0:
        raise ValueError(f"clips must be [N, T, H, W, C], none empty, got {list(clips.shape)}")
    if columns < 1 or gap < 0:
        raise ValueError(f"columns must be >= 1 and gap >= 0, got {columns} and {gap}")
    columns = min(columns, len(clips))
    spare = -len(clips) % columns
    # each cell brings its gap along; the last row and column lose theirs at the end
    cells = np.pad(clips, [(0, spare), (0, 0), (0, gap), (0, gap), (0, 0)])
    grid: npt.NDArray[np.uint8] = rearrange(
        cells, "(row column) t h w c -> t (row h) (column w) c", column=columns
    )
    return grid[:, : grid.shape[1] - gap, : grid.shape[2] - gap]


def strip(clips: Sequence[npt.NDArray[np.uint8]], *, gap: int = 2) -> npt.NDArray[np.uint8]:
    """Return clips uint8 [T, H, W, C] as one picture [H', W', C]: a row each, frames left to right.

    Clips may differ in T; the rest of a shorter row is black.
    """
    shapes = [list(clip.shape) for clip in clips]
    if not shapes or any(len(s) != 4 or s[1:] != shapes[0][1:] for s in shapes):
        raise ValueError(f"clips must be [T, H, W, C], alike in H, W and C, got {shapes}")
    longest = max(len(clip) for clip in clips)
    rows = [np.pad(clip, [(0, longest - len(clip)), (0, 0), (0, 0), (0, 0)]) for clip in clips]
    frames = rearrange(np.stack(rows), "n t h w c -> (n t) 1 h w c")
    picture: npt.NDArray[np.uint8] = tile(frames, columns=longest, gap=gap)[0]
    return picture
