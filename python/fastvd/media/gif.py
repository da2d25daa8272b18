"""Clips to GIF files and back, by the Rust core or its twin."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fastvd import limits, native
from fastvd.arguments import local_path
from fastvd.media import gif_twin
from fastvd.media.whole import (
    check_suffix,
    checked_clip,
    checked_fps,
    checked_loop,
    ticks,
    whole_file,
)

MAX_FPS = 50
"""Browsers slow frames below two hundredths of a second down to ten."""
MAX_SIDE = 65535
"""Sides and delays of a GIF are 16-bit numbers."""
MAX_LOSSY = 200
"""Above that hardly anything of a picture is left."""

Quality = Literal["fast", "good", "best"]
PaletteScope = Literal["global", "scene", "local"]
Dither = Literal["diffusion", "ordered", "blue_noise", "none"]

_PIECE = 64
"""Frames of a clip that are encoded at a time."""
_CHOICES = {
    "quality": ("fast", "good", "best"),
    "palette": ("global", "scene", "local"),
    "dither": ("diffusion", "ordered", "blue_noise", "none"),
}


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
    fps: float | Fraction | None = None,
    delays_s: Sequence[float] | npt.NDArray[np.float64] | None = None,
    loop: int | None = 0,
    quality: Quality = "good",
    palette: PaletteScope = "global",
    dither: Dither | bool = True,
    lossy: int = 0,
    colors: int = 256,
) -> None:
    """Write uint8 [T, H, W, C], C = 1, 3 or 4, whole or not at all; alpha below 128 is transparent.

    Either ``fps``, at most 50 because browsers slow quicker GIFs down, or ``delays_s``, how long
    each frame is shown; times are rounded to hundredths of a second without adding up. ``loop``: 0
    repeats for ever, n repeats n times, None plays once.

    Frames are kept exactly where their palette has room for all their colours: ``colors`` for the
    clip, from cut to cut ("scene") or for each frame ("local"). Elsewhere errors that show are
    diffused ("diffusion"), or two colours are mixed by a mask ("ordered", "blue_noise"), which does
    not move, or the nearest colour is taken ("none"). True is "diffusion", but "none" for
    ``quality="fast"``; False is "none". ``quality`` is how much time goes into the choice of
    colours. ``lossy`` in 0..200 lets colours be off to make the file smaller, about as in gifsicle:
    10 is hardly seen, 80 is plain to see.
    """
    check_suffix(path, ".gif")
    clip = checked_clip(frames, channels=(1, 3, 4))
    write_pieces(
        path,
        # in pieces, between which Ctrl-C is heard
        lambda: (clip[i : i + _PIECE] for i in range(0, len(clip), _PIECE)),
        size=(clip.shape[1], clip.shape[2]),
        delays=_delays(len(clip), fps, delays_s),
        loop=loop,
        quality=quality,
        palette=palette,
        dither=dither,
        lossy=lossy,
        colors=colors,
    )


def write_pieces(
    path: Path | str,
    pieces: Callable[[], Iterable[npt.NDArray[np.uint8]]],
    *,
    size: tuple[int, int],
    delays: Sequence[int],
    loop: int | None,
    quality: Quality,
    palette: PaletteScope,
    dither: Dither | bool,
    lossy: int,
    colors: int,
) -> None:
    """Write a GIF of clips [T, H, W, C] of one ``size``, which ``pieces`` gives twice, in order.

    ``delays`` of all frames in hundredths of a second; all else as in ``write_gif``.
    """
    if isinstance(dither, bool):
        # the one step that takes longer than Pillow's quickest way as a whole
        dither = "diffusion" if dither and quality != "fast" else "none"
    _check_choices({"quality": quality, "palette": palette, "dither": dither})
    _check_numbers(size, colors, lossy)
    encoder = (native.core.GifEncoder if native.available else gif_twin.GifEncoder)(
        size[1],
        size[0],
        quality=quality,
        colors=colors,
        dither=dither,
        palette=palette,
        lossy=lossy,
        repeat=checked_loop(loop),
    )
    for piece in pieces():
        encoder.scan(piece)
    with whole_file(path) as part, part.open("wb") as file:
        done = 0
        for piece in pieces():
            file.write(encoder.write(piece, delays=list(delays[done : done + len(piece)])))
            done += len(piece)
        file.write(encoder.finish())


def read_gif(path: Path | str) -> Gif:
    """Decode all frames of a GIF file.

    Raises MediaError, naming file and reason, for what is empty, cut short, malformed or larger
    than ``get_limits`` allows.
    """
    file = local_path(path)
    decode = native.core.decode_gif if native.available else gif_twin.decode
    frames, delays, loop = decode(file)
    limits.note_ratio(file, frames.nbytes)
    return Gif(frames, np.asarray(delays, dtype=np.float64) / 100, loop)


def delays_between(ends_s: npt.NDArray[np.float64]) -> list[int]:
    """Hundredths of a second from each of the rising times to the next, not adding up errors."""
    return [int(n) for n in np.diff(np.rint(ends_s * 100).astype(np.int64))]


def _check_choices(given: dict[str, str]) -> None:
    for name, value in given.items():
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}, got {value!r}")


def _check_numbers(size: tuple[int, int], colors: int, lossy: int) -> None:
    if max(size) > MAX_SIDE:
        raise ValueError(f"a GIF is at most {MAX_SIDE} wide and high, got {list(size)}")
    if not 2 <= colors <= 256:
        raise ValueError(f"colors must be in 2..256, got {colors}")
    if not 0 <= lossy <= MAX_LOSSY:
        raise ValueError(f"lossy must be in 0..{MAX_LOSSY}, got {lossy}")


def _delays(
    count: int,
    fps: float | Fraction | None,
    delays_s: Sequence[float] | npt.NDArray[np.float64] | None,
) -> list[int]:
    if (fps is None) == (delays_s is None):
        raise ValueError("give either fps or delays_s")
    if fps is not None:
        return fps_delays(count, fps)
    shown = np.asarray(delays_s, dtype=np.float64)
    if shown.shape != (count,):
        raise ValueError(f"delays_s must hold {count} numbers, got {list(shown.shape)}")
    if not np.all((shown >= 0) & (shown <= MAX_SIDE / 100)):
        raise ValueError(f"delays_s must be in 0..{MAX_SIDE / 100}, got {shown}")
    return delays_between(np.concatenate([[0.0], np.cumsum(shown)]))


def fps_delays(count: int, fps: float | Fraction) -> list[int]:
    """How long each of ``count`` frames is shown, in hundredths of a second."""
    rate = checked_fps(fps)
    if rate > MAX_FPS:
        raise ValueError(
            f"a GIF shows at most {MAX_FPS} frames a second, got fps={float(fps):g}: "
            "take every second frame, or write a .mp4 or .webp"
        )
    if 100 / rate > MAX_SIDE:
        raise ValueError(f"a GIF shows a frame for at most {MAX_SIDE / 100} s, got fps={fps}")
    return ticks(count, rate, second=100)
