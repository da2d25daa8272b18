"""What a clip is: how long, how large, and how it is varied."""

import math
from dataclasses import dataclass, field
from typing import Literal

from fastvd.config import check_fields, documented


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """How clips are varied at random; all frames of a clip alike. By default not at all."""

    flip: float = 0.0
    "probability of a mirror image, left and right swapped"
    crop: tuple[float, float] = (1.0, 1.0)
    "smallest and largest side of a square cut out at a random place, as a share of the frame's"
    brightness: float = 0.0
    "levels times a factor of 1 - this to 1 + this"
    contrast: float = 0.0
    "the same for the distance from the clip's mean grey"
    saturation: float = 0.0
    "the same for the distance of colours from their grey"

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must be in 0..1, got {self.flip}")
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop must be two shares in 0..1, smaller first, got {self.crop}")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, got {getattr(self, name)}")


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """What a clip is: how many frames, how far apart, and how they are brought to size."""

    frames: int = 16
    "frames of a clip"
    stride: int = 1
    "source frames from one frame of the clip to the next"
    fps: float | None = None
    "take frames this many a second by their times, in place of a stride"
    size: int = 64
    "height and width in pixels"
    fit: Literal["crop", "pad", "stretch"] = "crop"
    "how a frame becomes square: cut its centre, add black, or change its aspect"
    resample: Literal["bilinear", "area"] = "bilinear"
    "filter of the resize; both look at every source pixel"
    grey: bool = False
    "one channel in place of three"
    stream: int | None = None
    "which video of a file, from 0 and without covers; by default the best one"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    "how clips are varied at random"

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("frames", "stride", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.stream is not None and self.stream < 0:
            raise ValueError(f"stream must be at least 0, got {self.stream}")
        if self.fps is not None and not (0 < self.fps < math.inf):
            raise ValueError(f"fps must be above 0 and finite, got {self.fps}")
        if self.fps is not None and self.stride != 1:
            raise ValueError(f"give stride or fps, not both: got {self.stride} and {self.fps}")

    @property
    def channels(self) -> int:
        """1 for grey clips, else 3."""
        return 1 if self.grey else 3

    @property
    def decoded_size(self) -> int:
        """Side of the frames as decoded and cached: the smallest random crop is not enlarged."""
        return round(self.size / self.augment.crop[0])

    @property
    def length(self) -> str:
        """How much of a video a clip spans, in words."""
        if self.fps is not None:
            return (
                f"{(self.frames - 1) / self.fps:.2f} s for {self.frames} frames at {self.fps:g} fps"
            )
        return f"{(self.frames - 1) * self.stride + 1} frames"
