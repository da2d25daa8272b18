"""Building blocks of the video U-Net: fused kernels on a GPU, plain PyTorch elsewhere."""

from .adamw_checks import AdamState
from .adamw_ema import AdamWEma
from .conv_norm_act import conv_norm_act
from .conv_pair import Conv, conv_pair
from .convolution import conv_frames
from .dispatch import eager
from .group_norm_act import group_norm_act
from .layer_norm_act import layer_norm_act
from .linear_attention import linear_attention
from .rms_norm_act import rms_norm_act
from .temporal_attention import temporal_attention
from .temporal_core import MAX_FRAMES

__all__ = [
    "MAX_FRAMES",
    "AdamState",
    "AdamWEma",
    "Conv",
    "conv_frames",
    "conv_norm_act",
    "conv_pair",
    "eager",
    "group_norm_act",
    "layer_norm_act",
    "linear_attention",
    "rms_norm_act",
    "temporal_attention",
]
