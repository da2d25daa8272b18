"""Moving shapes: small videos that a tiny network learns in minutes, for the demo and the tests.

Each clip shows one shape on a dark ground, which moves straight on at its own speed and turns back
at the borders. The kind of a shape decides its colour.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastvd.media.gif import write_gif
from fastvd.media.write import write_video

Kind = Literal["square", "disc", "triangle"]

COLOURS: dict[Kind, tuple[int, int, int]] = {
    "square": (235, 60, 50),
    "disc": (50, 200, 80),
    "triangle": (60, 110, 245),
}
"""Every kind of shape, with its colour."""

GROUND = (12, 12, 20)
"""Colour behind the shapes."""

# how far a kind reaches from its centre, in radii: to either side, up, down
_REACHES: dict[Kind, tuple[float, float, float]] = {
    "square": (0.886, 0.886, 0.886),
    "disc": (1.0, 1.0, 1.0),
    "triangle": (1.212, 1.4, 0.7),
}
# of the height of a frame; a disc of 7 pixels in a frame of 32 covers a seventh of it
_RADII = (0.205, 0.25)
# of the height of a frame, from one frame to the next
_SPEEDS = (0.0125, 0.028)
# video quality, 0..100: little is lost, and a file still takes only some kB
_QUALITY = 85


def moving_shapes(
    num_clips: int,
    *,
    frames: int,
    size: int = 32,
    seed: int = 0,
    kinds: Sequence[Kind] = tuple(COLOURS),
) -> NDArray[np.uint8]:
    """Return clips uint8 [N, T, H, W, 3], a pure function of the arguments.

    ``kinds`` take turns. The outermost pixels of a frame are never covered.
    """
    for name, value, lowest in (("num_clips", num_clips, 0), ("frames", frames, 1)):
        if value < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {value}")
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    if not kinds or any(kind not in COLOURS for kind in kinds):
        raise ValueError(f"kinds must be some of {', '.join(COLOURS)}, got {list(kinds)}")
    rng = np.random.default_rng(seed)
    clips = np.empty((num_clips, frames, size, size, 3), np.uint8)
    for i, clip in enumerate(clips):
        kind = kinds[i % len(kinds)]
        radius = size * rng.uniform(*_RADII)
        centres = _path(rng, frames, kind, radius=radius, size=size)
        cover = _cover(kind, centres, radius=radius, size=size)
        ground, colour = np.array(GROUND), np.array(COLOURS[kind])
        clip[:] = np.round(ground + cover[..., None] * (colour - ground))
    return clips


def write_shape_videos(
    folder: Path | str,
    *,
    seed: int = 0,
    num_videos: int = 96,
    frames: int = 96,
    size: int = 32,
    fps: float = 25.0,
) -> list[Path]:
    """Write moving shapes into ``folder``, each eighth video as GIF, the others as mp4.

    Returns the paths in order. The folder is made if need be; files of these names are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, clip in enumerate(moving_shapes(num_videos, frames=frames, size=size, seed=seed)):
        path = folder / f"shape-{i:03d}.{'gif' if i % 8 == 7 else 'mp4'}"
        if path.suffix == ".gif":
            write_gif(path, clip, fps=fps)
        else:
            write_video(path, clip, fps=fps, quality=_QUALITY)
        paths.append(path)
    return paths


def signed_distance(
    kind: Kind, x: NDArray[np.float64], y: NDArray[np.float64], *, radius: float
) -> NDArray[np.float64]:
    """Distance of points from the border of a shape about the origin, below zero inside it.

    The origin is the centre of gravity; y points down, a triangle's tip up. A square has the area
    of the disc, a triangle somewhat less. Beyond corners it is the distance from the nearer side's
    line, which is short of the true distance.
    """
    if kind == "disc":
        distance = np.hypot(x, y) - radius
    elif kind == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - 0.886 * radius
    else:
        # all three sides are 0.7 radii from the centre; the slanted ones' normals point up
        distance = np.maximum(y, np.sqrt(0.75) * np.abs(x) - 0.5 * y) - 0.7 * radius
    return np.asarray(distance, np.float64)


def _path(
    rng: np.random.Generator, frames: int, kind: Kind, *, radius: float, size: int
) -> NDArray[np.float64]:
    """Centres (x, y), [T, 2], that bounce before the shape meets a border pixel."""
    aside, above, below = (radius * reach for reach in _REACHES[kind])
    # pixel centres lie at 0..size - 1; a soft edge reaches up to a pixel beyond a corner
    low = np.array([aside, above]) + 1
    span = size - 2 - np.array([aside, below]) - low
    angle, speed = rng.uniform(0, 2 * np.pi), size * rng.uniform(*_SPEEDS)
    start = span * rng.uniform(size=2)
    unfolded = start + speed * np.arange(frames)[:, None] * np.array([np.cos(angle), np.sin(angle)])
    # a mirror at each border: a triangle wave of period 2 span
    return np.asarray(low + span - np.abs(unfolded % (2 * span) - span), np.float64)


def _cover(
    kind: Kind, centres: NDArray[np.float64], *, radius: float, size: int
) -> NDArray[np.float64]:
    """Share of each pixel that the shape covers, [T, H, W], for centres [T, 2]."""
    pixel = np.arange(size, dtype=np.float64)
    x, y = centres[:, 0, None, None], centres[:, 1, None, None]
    dx, dy = np.broadcast_arrays(pixel - x, pixel[:, None] - y)
    return np.clip(0.5 - signed_distance(kind, dx, dy, radius=radius), 0, 1)
