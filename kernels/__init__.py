"""Building blocks of the video U-Net, each with a plain PyTorch reference."""

from .conv_norm_act import conv_frames, conv_norm_act
from .group_norm_act import group_norm_act
from .layer_norm_act import layer_norm_act
from .linear_attention import linear_attention
from .rms_norm_act import rms_norm_act
from .temporal_attention import temporal_attention

__all__ = [
    "conv_frames",
    "conv_norm_act",
    "group_norm_act",
    "layer_norm_act",
    "linear_attention",
    "rms_norm_act",
    "temporal_attention",
]
