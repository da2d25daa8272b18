"""Random changes of a clip: a pure function of (seed, epoch, index)."""

import numpy as np
from numpy.typing import NDArray

from fastvd.data.config import AugmentConfig
from fastvd.data.order import random_bits
from fastvd.media.resize import make_view, resize, to_grey

Frames = NDArray[np.uint8]

# the counter that tells these draws from those of the order, which use small ones
_AUGMENT = 1 << 32


def augmented(
    clip: Frames, config: AugmentConfig, *, size: int, seed: int, counters: tuple[int, ...]
) -> Frames:
    """Vary ``clip`` [T, H, W, C], square and at least ``size``, and bring it to ``size``.

    Each change has draws of its own, so turning one on or off leaves the others as they were.
    """
    draws = (_uniform(seed, (*counters, _AUGMENT, i)) for i in range(7))
    is_flipped, side, top, left, brightness, contrast, saturation = draws
    clip = _cropped(clip, config.crop, size=size, draws=(side, top, left))
    if is_flipped < config.flip:
        clip = np.ascontiguousarray(clip[:, :, ::-1])
    if config.saturation and clip.shape[-1] == 3:
        factor = _factor(saturation, config.saturation)
        clip = _spread(clip, to_grey(clip).astype(np.float32), factor)
    if config.contrast:
        mean = to_grey(clip).mean() if clip.shape[-1] == 3 else clip.mean()
        clip = _spread(clip, np.float32(mean), _factor(contrast, config.contrast))
    if config.brightness:
        clip = _spread(clip, np.float32(0), _factor(brightness, config.brightness))
    return clip


def whole(clip: Frames, *, size: int) -> Frames:
    """The clip without any change, at ``size``."""
    return _cropped(clip, (1.0, 1.0), size=size, draws=(0.0, 0.0, 0.0))


def _cropped(
    clip: Frames,
    shares: tuple[float, float],
    *,
    size: int,
    draws: tuple[float, float, float],
) -> Frames:
    decoded = clip.shape[1]
    low, high = (max(1, round(share * decoded)) for share in shares)
    side, top, left = draws
    side = low + int(side * (high - low + 1))
    if side == decoded == size:
        return clip
    place = int(top * (decoded - side + 1)), int(left * (decoded - side + 1))
    view = make_view(size, (*place, side, side), fit="stretch", resample="bilinear", grey=False)
    if clip.shape[-1] == 3:
        return resize(clip, view)
    # the resize knows three channels; luma of equal ones is what they are
    return resize(np.repeat(clip, 3, axis=-1), view)[..., :1].copy()


def _spread(clip: Frames, centre: NDArray[np.float32] | np.float32, factor: float) -> Frames:
    """Multiply the distance from ``centre``, rounded and clamped."""
    moved = (clip - centre) * np.float32(factor) + centre
    rounded: Frames = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return rounded


def _factor(draw: float, reach: float) -> float:
    return 1 + reach * (2 * draw - 1)


def _uniform(seed: int, counters: tuple[int, ...]) -> float:
    """A number in 0..1, below 1."""
    return (random_bits(seed, *counters) >> 11) / 2**53
