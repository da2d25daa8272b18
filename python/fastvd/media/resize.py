"""Crop, pad, resize and grey of uint8 frames: Rust where it is there, else the NumPy twin.

The filters are those of Pillow in fixed point: two passes, rows first, weights of 14 bits, 15-bit
samples between the passes. Rust and the twin give the same bytes; Pillow's BILINEAR is within one
level.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from einops import rearrange

from fastvd import limits, native
from fastvd.arguments import whole_numbers

Fit = Literal["crop", "pad", "stretch"]
Resample = Literal["bilinear", "area"]

WEIGHT_BITS = 14
POINT = 7
"""Bits behind the point between the passes."""


class View(NamedTuple):
    """How a source frame becomes a clip's frame; see ``read_clip`` for the fields."""

    size: tuple[int, int] | None
    crop: tuple[int, int, int, int] | None
    fit: Fit
    resample: Resample
    grey: bool


class Plan(NamedTuple):
    """A view worked out for one source size, in pixels.

    The source's rows ``top : top + height`` and columns ``left : left + width`` are put at
    ``pad_top``, ``pad_left`` of a black canvas, which is resized to ``size``.
    """

    top: int
    left: int
    height: int
    width: int
    canvas: tuple[int, int]
    pad_top: int
    pad_left: int
    size: tuple[int, int]


def make_view(
    size: int | tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
    *,
    fit: str = "crop",
    resample: str = "bilinear",
    grey: bool = False,
) -> View:
    """Check the arguments that need no source frame. Raises ValueError."""
    if fit not in ("crop", "pad", "stretch"):
        raise ValueError(f"fit must be 'crop', 'pad' or 'stretch', got {fit!r}")
    if resample not in ("bilinear", "area"):
        raise ValueError(f"resample must be 'bilinear' or 'area', got {resample!r}")
    if not isinstance(grey, bool | np.bool_):
        raise TypeError(f"grey must be True or False, got {grey!r}")
    sides = (size, size) if isinstance(size, int | np.integer) else size
    what, edges = "a whole number or (height, width)", "(top, left, height, width)"
    pair = None if sides is None else whole_numbers("size", sides, wanted=what)
    part = None if crop is None else whole_numbers("crop", crop, wanted=edges)
    most = limits.get_limits().max_side
    if pair is not None and (len(pair) != 2 or not all(1 <= s <= most for s in pair)):
        raise ValueError(f"size must be 1 to {most} or (height, width), got {size}")
    if part is not None and (len(part) != 4 or min(part[:2]) < 0 or min(part[2:]) < 1):
        raise ValueError(f"crop must be {edges} inside the frame, got {crop}")
    return View(pair, part, fit, resample, grey)  # type: ignore[arg-type]


def make_plan(view: View, height: int, width: int) -> Plan:
    """Work out a view for source frames of [height, width]. Raises ValueError."""
    top, left, h, w = view.crop or (0, 0, height, width)
    if top + h > height or left + w > width:
        allowed = f"the frame is {height} high and {width} wide"
        raise ValueError(f"crop {view.crop} (top, left, height, width) is outside: {allowed}")
    if view.size is None or view.fit == "stretch":
        return Plan(top, left, h, w, (h, w), 0, 0, view.size or (h, w))
    out_h, out_w = view.size
    if view.fit == "crop":
        new_h = h if w * out_h >= h * out_w else max(1, _round_ratio(w * out_h, out_w))
        new_w = max(1, _round_ratio(h * out_w, out_h)) if w * out_h > h * out_w else w
        top, left = top + (h - new_h) // 2, left + (w - new_w) // 2
        return Plan(top, left, new_h, new_w, (new_h, new_w), 0, 0, view.size)
    canvas_h = max(h, _round_ratio(w * out_h, out_w))
    canvas_w = max(w, _round_ratio(h * out_w, out_h))
    most = limits.get_limits().max_side
    if max(canvas_h, canvas_w) > most:
        padded = f"{h}x{w} padded to the aspect of {view.size} is {canvas_h}x{canvas_w}"
        raise ValueError(f"{padded}: a side may have {most} pixels")
    pad_top, pad_left = (canvas_h - h) // 2, (canvas_w - w) // 2
    return Plan(top, left, h, w, (canvas_h, canvas_w), pad_top, pad_left, view.size)


def resize(frames: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
    """Frames [T, H, W, 3] as ``view`` shows them: [T, h, w, 3], or [T, h, w, 1] in grey."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames.dtype} {frames.shape}")
    plan = make_plan(view, *frames.shape[1:3])
    limits.check_clip(len(frames), *plan.size, 1 if view.grey else 3)
    if native.available:
        source = np.ascontiguousarray(frames)
        return native.core.resize(source, *view)
    return resize_twin(frames, view, plan)


def resize_twin(frames: npt.NDArray[np.uint8], view: View, plan: Plan) -> npt.NDArray[np.uint8]:
    """NumPy twin of the Rust resize."""
    t, l, h, w = plan.top, plan.left, plan.height, plan.width
    part = frames[:, t : t + h, l : l + w]
    rows = _weights(plan.canvas[0], plan.pad_top, h, plan.size[0], view.resample)  # [out_h, h]
    cols = _weights(plan.canvas[1], plan.pad_left, w, plan.size[1], view.resample)  # [out_w, w]
    out = np.empty((len(part), *plan.size, part.shape[-1]), np.uint8)
    for i, frame in enumerate(part):
        mixed = _shift(
            rows @ rearrange(frame.astype(float), "h w c -> h (w c)"), WEIGHT_BITS - POINT
        )
        mixed = rearrange(mixed, "h (w c) -> w (h c)", w=w)
        low = _shift(_shift(cols @ mixed, WEIGHT_BITS), POINT)
        out[i] = rearrange(low, "w (h c) -> h w c", h=plan.size[0])
    return to_grey(out) if view.grey else out


def to_grey(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Luma of BT.601 of [..., 3] as [..., 1], with Pillow's rounding."""
    r, g, b = (frames[..., c : c + 1].astype(np.uint32) for c in range(3))
    return ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16).astype(np.uint8)


def over_black(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Lay [..., 4] over black: [..., 3]."""
    wide = rgba.astype(np.uint16)
    return ((wide[..., :3] * wide[..., 3:] + 127) // 255).astype(np.uint8)


def shown_shape(view: View, height: int, width: int) -> tuple[int, int, int]:
    """H, W, C of what ``view`` makes of a source frame of [height, width]."""
    h, w = view.size or (view.crop or (0, 0, height, width))[2:]
    return h, w, 1 if view.grey else 3


def check_clip(view: View, frames: int, height: int, width: int) -> None:
    """Raise ValueError if ``frames`` source frames of [height, width] make too large a clip."""
    limits.check_clip(frames, *shown_shape(view, height, width))


def check_path_plan(path: Path | str, view: View, height: int, width: int) -> None:
    """Raise for a source frame that can't be shown: too large, or the crop is outside."""
    limits.check_frame(path, width, height)
    try:
        make_plan(view, height, width)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _round_ratio(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _shift(sums: npt.NDArray[np.float64], bits: int) -> npt.NDArray[np.float64]:
    # the sums are integers below 2^53, which float64 holds exactly whatever their order
    return np.floor((sums + (1 << (bits - 1))) / (1 << bits))


@lru_cache(maxsize=64)
def _weights(
    canvas: int, pad: int, real: int, out: int, resample: Resample
) -> npt.NDArray[np.float64]:
    """Fixed-point weights [out, real] of a resize from ``canvas`` to ``out`` pixels.

    Pixels ``pad : pad + real`` of the canvas are real, the others black, so they have no column.
    """
    scale = canvas / out
    pixel = np.arange(canvas)  # [canvas]
    first = np.arange(out)[:, None] * scale  # [out, 1]
    if resample == "area":
        # how much of the pixel lies below the output pixel
        lo, hi = np.maximum(pixel, first), np.minimum(pixel + 1.0, first + scale)
        weight = np.maximum(hi - lo, 0.0)
    else:
        distance = np.abs(pixel + 0.5 - (first + 0.5 * scale)) / max(scale, 1.0)
        weight = np.maximum(1.0 - distance, 0.0)
    # summed up one by one, as Rust does; pairwise sums differ in the last bit
    weight /= np.cumsum(weight, axis=1)[:, -1:]
    # rounding the running total spreads the rounding errors: the weights add up to one
    total = np.cumsum(weight[:, pad : pad + real], axis=1)
    fixed = np.floor(total * (1 << WEIGHT_BITS) + 0.5)
    return np.diff(fixed, axis=1, prepend=0.0)
