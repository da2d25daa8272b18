"""What is timed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Clips, and the network whose levels they pass."""

    dim: int = 64
    """Channels of the finest level."""
    mults: tuple[int, ...] = (1, 2, 4, 8)
    """Width of each level, finest first, in multiples of dim; each halves height and width."""
    batch: int = 4
    """Clips."""
    frames: int = 16
    """Frames of a clip."""
    size: int = 64
    """Height and width at the finest level."""
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"
    """Of activations, and of the weights that a kernel is given."""
    compiled: bool = True
    """Time torch.compile's code too; it takes minutes to make."""
