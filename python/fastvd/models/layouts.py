"""The networks that fastvd is known to train, each a function that returns its config."""

from typing import Literal

from fastvd.models.config import VideoUNetConfig


def vdm(dim: int = 64) -> VideoUNetConfig:
    """lucidrains/video-diffusion-pytorch 0.7.0's Unet3D: 35,706,259 parameters at dim 64."""
    return VideoUNetConfig(dim=dim)


def two_stage(stage: Literal["base", "interpolator"]) -> VideoUNetConfig:
    """The U-Net of system 0, both of whose stages mix time in full space-time attention alone.

    Its two faults are mended: the shift of the adaptive norm has weights of its own, and attention
    weighs keys. The norm before attention, which system 0 builds and never calls, is called.
    """
    if stage not in ("base", "interpolator"):
        raise ValueError(f"stage must be base or interpolator, got {stage!r}")
    is_base = stage == "base"
    return VideoUNetConfig(
        layout="wide",
        dim=256 if is_base else 128,
        mults=(1, 2, 2, 2) if is_base else (1, 2, 4, 4),
        blocks_down=1,
        blocks_up=1,
        block="conv-act-norm",
        norm="group",
        groups=32,
        film="both",
        attention=("none", "none", "space_time", "space_time"),
        mid_attention="none",
        heads=1,
        head_dim=None,
        temporal_attention=False,
        time_features=512,
        time_dim=512,
        time_layers=4,
        tanh=not is_base,
    )


def tiny() -> VideoUNetConfig:
    """A network for 32 x 32 clips that learns moving shapes in minutes on two CPU cores."""
    return VideoUNetConfig(
        layout="plain",
        dim=32,
        mults=(1, 2),
        blocks_down=1,
        blocks_up=2,
        patch_size=4,
        stem_kernel=3,
        block="norm-act-conv",
        norm="layer",
        temporal_conv=True,
        attention=("none", "none"),
        mid_attention="full",
        attend_every_block=True,
        heads=None,
        head_dim=32,
        temporal_head_dim=32,
        rotary=False,
        relative_bias=False,
        frame_embedding=9,
        time_features=64,
        time_dim=128,
    )
