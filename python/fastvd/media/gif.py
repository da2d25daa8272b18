"""Clips to GIF files and back, by the Rust core or its twin."""

from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fastvd import native
from fastvd.media import gif_twin
from fastvd.media.whole import (
    check_suffix,
    checked_clip,
    checked_fps,
    checked_loop,
    ticks,
    write_bytes,
)

MAX_FPS = 50
"""Browsers slow frames below two hundredths of a second down to ten."""
MAX_SIDE = 65535
"""Sides and delays of a GIF are 16-bit numbers."""


class Gif(NamedTuple):
    """A decoded GIF."""

    frames: npt.NDArray[np.uint8]
    """[T, H, W, 3], transparent pixels black."""
    delays_s: npt.NDArray[np.float64]
    """How long each frame is shown, as the file says it (viewers show 0 as 0.1 s)."""
    loop: int | None
    """How often the clip is repeated: 0 for ever, None not at all."""


def write_gif(
    path: Path | str,
    frames: npt.NDArray[np.uint8],
    *,
    fps: float | Fraction,
    loop: int | None = 0,
    colors: int = 256,
    dither: bool = True,
    palette: Literal["global", "local"] = "global",
) -> None:
    """Write uint8 [T, H, W, C], C = 1, 3 or 4, whole or not at all; alpha below 128 is transparent.

    A clip of at most ``colors`` colours is kept exactly; others get one palette, or with
    ``palette="local"`` one for each frame, and errors that show are diffused if ``dither``. Frame
    times are rounded to hundredths of a second without adding up; ``fps`` is at most 50, because
    browsers slow quicker GIFs down. ``loop``: 0 repeats for ever, n repeats n times, None plays
    once.
    """
    check_suffix(path, ".gif")
    clip = checked_clip(frames, channels=(1, 3, 4))
    if max(clip.shape[1:3]) > MAX_SIDE:
        raise ValueError(f"a GIF is at most {MAX_SIDE} wide and high, got {list(clip.shape)}")
    if not 2 <= colors <= 256:
        raise ValueError(f"colors must be in 2..256, got {colors}")
    if palette not in ("global", "local"):
        raise ValueError(f"palette must be 'global' or 'local', got {palette!r}")
    encode = native.core.encode_gif if native.available else gif_twin.encode
    content = encode(
        clip,
        delays=_delays(len(clip), fps),
        colors=colors,
        dither=dither,
        local=palette == "local",
        repeat=checked_loop(loop),
    )
    write_bytes(path, content)


def read_gif(path: Path | str) -> Gif:
    """Decode all frames of a GIF file.

    Raises MediaError, naming file and reason, for what is empty, cut short, malformed or too large
    (side above 8192, decoded size above 2 GiB).
    """
    decode = native.core.decode_gif if native.available else gif_twin.decode
    frames, delays, loop = decode(Path(path))
    return Gif(frames, np.asarray(delays, dtype=np.float64) / 100, loop)


def _delays(count: int, fps: float | Fraction) -> list[int]:
    rate = checked_fps(fps)
    if rate > MAX_FPS:
        raise ValueError(
            f"a GIF shows at most {MAX_FPS} frames a second, got fps={float(fps):g}: "
            "take every second frame, or write a .mp4 or .webp"
        )
    if 100 / rate > MAX_SIDE:
        raise ValueError(f"a GIF shows a frame for at most {MAX_SIDE / 100} s, got fps={fps}")
    return ticks(count, rate, second=100)
