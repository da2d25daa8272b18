"""Spatial convolution, RMS norm, FiLM and SiLU in one step.

``y = rms_norm_act(conv(x) + bias)``: the (1, k, k) convolution sees each frame alone.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .rms_norm_act import reference as norm_reference
from .rms_norm_act import rms_norm_act


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    norm_weight: Tensor,
    film: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The formula above as a 3-D convolution and the norm's reference."""
    y = F.conv3d(
        rearrange(x, "b t h w c -> b c t h w"),
        rearrange(weight, "o c k l -> o c 1 k l"),
        bias,
        padding=(0, weight.shape[2] // 2, weight.shape[3] // 2),
    )
    return norm_reference(rearrange(y, "b c t h w -> b t h w c"), norm_weight, film)


def conv_frames(
    x: Tensor, weight: Tensor, bias: Tensor, *, stride: int = 1, padding: int | None = None
) -> Tensor:
    """Convolve every frame: x [B, T, H, W, C], weight [O, C, k, k]; padding defaults to k // 2."""
    frames = rearrange(x, "b t h w c -> (b t) c h w")  # a channels-last view, no copy
    padding = weight.shape[-1] // 2 if padding is None else padding
    y = F.conv2d(frames, weight, bias, stride, padding)
    return rearrange(y, "(b t) c h w -> b t h w c", b=x.shape[0])


def conv_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    norm_weight: Tensor,
    film: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Convolve each frame of ``x``, normalise, modulate and activate.

    x: [B, T, H, W, C]; weight: [O, C, k, k], k odd; bias, norm_weight: [O]; film: (scale, shift),
    each [B, O]. Returns [B, T, H, W, O]. Differentiable in all.
    """
    if weight.shape[1] != x.shape[-1]:
        raise ValueError(f"weight must take {x.shape[-1]} channels, got {weight.shape[1]}")
    return rms_norm_act(conv_frames(x, weight, bias), norm_weight, film)
