"""What shapes a video U-Net, and what follows from it."""

from dataclasses import dataclass
from typing import Literal

from fastvd.config import check_fields, documented
from fastvd.kernels import MAX_FRAMES

Order = Literal["conv-norm-act", "conv-act-norm", "norm-act-conv"]
NormKind = Literal["rms", "layer", "group"]
SpatialKind = Literal["none", "linear", "full", "space_time"]
Layout = Literal["vdm", "plain", "wide"]
FilmPlace = Literal["between", "both"]
TimeLayers = Literal[2, 4]
StagePlan = tuple[int, int, int | None]


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class VideoUNetConfig:
    """Everything that shapes a VideoUNet. The defaults are lucidrains' Unet3D at dim 64."""

    in_channels: int = 3
    """Channels of the clip that comes in."""
    out_channels: int | None = None
    """Channels of the prediction; none: as many as come in."""
    layout: Layout = "vdm"
    """How the parts are joined. vdm: temporal attention behind the stem, blocks widen on the way
    down and narrow on the way up, the stem's output joins again at the end. plain: blocks keep
    their level's width, resampling changes it, the output starts at zero. wide: skips are taken
    behind the down-sampling, so the way up is twice as wide; a bare pair of convolutions at
    each end and in the middle."""
    dim: int = 64
    """Channels that the multiples multiply."""
    mults: tuple[int, ...] = (1, 2, 4, 8)
    """Width of each level, finest first, in multiples of dim."""
    blocks_down: int = 2
    """Residual blocks of a level on the way down."""
    blocks_up: int = 2
    """Residual blocks of a level on the way up."""
    patch_size: int = 1
    """Pixels of a square patch that become one position, with patch_size squared channels."""
    stem_kernel: int = 7
    """Odd width of the first convolution (1, k, k); the wide layout has 3 whatever this says."""
    block: Order = "conv-norm-act"
    """Order within a block."""
    norm: NormKind = "rms"
    """rms, layer: over the channels of a pixel; group: over the clip, `groups` groups."""
    groups: int = 32
    """Groups of a group norm."""
    film: FilmPlace = "between"
    """Where time modulates a residual block: the norm between its convolutions, or both norms."""
    temporal_conv: bool = False
    """A convolution over three frames behind the blocks, before attention."""
    attention: tuple[SpatialKind, ...] = ("linear", "linear", "linear", "linear")
    """Attention over positions, level by level, finest first. linear, full: within a frame;
    space_time: over all positions of all frames."""
    mid_attention: SpatialKind = "full"
    """The same for the middle; the wide layout's middle has none."""
    attend_every_block: bool = False
    """Temporal convolution and attention behind every block, not only behind a level's last."""
    heads: int | None = 8
    """Heads of every attention; none: as many of head_dim as fill the width."""
    head_dim: int | None = 32
    """Width of a spatial head; none: the width divided by the heads."""
    temporal_attention: bool = True
    """Attention over the frames of each position, behind the spatial one."""
    temporal_head_dim: int | None = 32
    """Width of a temporal head; none: the width divided by the heads."""
    rotary: bool = True
    """Rotary angles in temporal attention."""
    relative_bias: bool = True
    """A learned bias for each distance in temporal attention; needs heads."""
    frame_embedding: int = 0
    """Rows of a learned frame embedding in temporal attention; 0: none. More frames than rows
    stretch the rows."""
    time_features: int | None = None
    """Sines and cosines of the timestep, even; none: dim."""
    time_dim: int | None = None
    """Width of the embedded time; none: 4 dim."""
    time_layers: TimeLayers = 2
    """Linear layers of the time embedding: 2 with GELU or 4 with SiLU between."""
    cond_dim: int | None = None
    """Width of the vector that each sample is conditioned on; none: no condition."""
    tanh: bool = False
    """A tanh at the end, for a network that predicts pixels."""
    gradient_checkpointing: bool = False
    """Recompute each stage in the backward pass: less memory, more time, the same result."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("in_channels", "dim", "blocks_down", "blocks_up", "patch_size", "groups"):
            _at_least(1, name, getattr(self, name))
        for name in ("out_channels", "heads", "head_dim", "temporal_head_dim", "time_dim"):
            _at_least(1, name, getattr(self, name))
        _at_least(0, "frame_embedding", self.frame_embedding)
        _at_least(1, "cond_dim", self.cond_dim)
        if not self.mults or min(self.mults) < 1:
            raise ValueError(f"mults must be at least one number of 1 or more, got {self.mults}")
        if len(self.attention) != len(self.mults):
            raise ValueError(
                f"attention must name {len(self.mults)} levels, one for each of mults, "
                f"got {len(self.attention)}: {self.attention}"
            )
        if self.stem_kernel % 2 == 0 or self.stem_kernel < 1:
            raise ValueError(f"stem_kernel must be odd and positive, got {self.stem_kernel}")
        features = self.time_features or self.dim
        if features % 2 or features < 4:
            raise ValueError(f"time_features must be even and at least 4, got {features}")
        self._check_heads()
        if self.norm == "group":
            for width in self.widths():
                if width % self.groups:
                    raise ValueError(f"groups must divide every width, got {self.groups}, {width}")

    def _check_heads(self) -> None:
        if self.heads is None and self.relative_bias and self.temporal_attention:
            raise ValueError("heads must be a number where relative_bias is shared by all levels")
        if self.heads is None and None in (self.head_dim, self.temporal_head_dim):
            raise ValueError("heads and head_dim can't both be none")
        rotary_width = self.temporal_head_dim
        if self.temporal_attention and self.rotary and rotary_width and rotary_width % 2:
            raise ValueError(f"temporal_head_dim must be even for rotary, got {rotary_width}")

    def widths(self) -> list[int]:
        """Channels of each level, finest first."""
        return [self.dim * mult for mult in self.mults]

    def stages(self) -> tuple[list[StagePlan], list[StagePlan]]:
        """Channels of each stage, finest first: (in, out, behind resampling or none) each."""
        widths = self.widths()
        finer: list[int | None] = [None, *widths[:-1]]
        coarser: list[int | None] = [*widths[1:], None]
        if self.layout == "plain":
            downs = [(w, w, c) for w, c in zip(widths, coarser, strict=True)]
            ups = [(2 * w, w, f) for w, f in zip(widths, finer, strict=True)]
        elif self.layout == "wide":
            behind = [*widths[1:], widths[-1]]
            downs = [(w, w, b) for w, b in zip(widths, behind, strict=True)]
            ups = [(2 * b, 2 * b, w) for w, b in zip(widths, behind, strict=True)]
        else:
            before = [self.dim, *widths[:-1]]
            own: list[int | None] = [*widths[:-1], None]
            downs = list(zip(before, widths, own, strict=True))
            ups = [(2 * w, b, f and b) for w, b, f in zip(widths, before, finer, strict=True)]
        return downs, ups

    def max_frames(self) -> int | None:
        """Most frames of a clip; none: any number."""
        return MAX_FRAMES if self.temporal_attention else None

    def divisor(self) -> int:
        """What height and width must be multiples of."""
        halvings = len(self.mults) - (self.layout != "wide")
        return self.patch_size << halvings


def _at_least(low: int, name: str, value: int | None) -> None:
    if value is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
