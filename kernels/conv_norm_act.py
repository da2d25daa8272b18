"""Spatial convolution, RMS norm, FiLM, SiLU and a residual in one step.

``y = rms_norm_act(conv(x) + bias)``: the (1, k, k) convolution sees each frame alone.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .checks import Film, check_norm
from .dispatch import fused
from .rms_norm_act import EPS, rms_norm_act
from .rms_norm_act import reference as norm_reference
from .row_norm import row_limit, row_norm_act


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    norm_weight: Tensor,
    film: Film | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """The formula above as a 3-D convolution and the norm's reference."""
    y = F.conv3d(
        rearrange(x, "b t h w c -> b c t h w"),
        rearrange(weight, "o c k l -> o c 1 k l"),
        bias,
        padding=(0, weight.shape[2] // 2, weight.shape[3] // 2),
    )
    y = rearrange(y, "b c t h w -> b t h w c")
    return norm_reference(y, norm_weight, film, residual=residual)


def conv_frames(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: int | None = None,
) -> Tensor:
    """Convolve every frame: x [B, T, H, W, C], weight [O, C, k, k]; padding defaults to k // 2."""
    frames = rearrange(x, "b t h w c -> (b t) c h w")  # a channels-last view, no copy
    padding = weight.shape[-1] // 2 if padding is None else padding
    y = F.conv2d(frames, weight, bias, stride, padding)
    return rearrange(y, "(b t) c h w -> b t h w c", t=x.shape[1])


def conv_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    norm_weight: Tensor,
    film: Film | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Convolve each frame of ``x``, normalise, modulate, activate, add ``residual``.

    x: [B, T, H, W, C]; weight: [O, C, k, k], k odd; bias, norm_weight: [O]; film: (scale, shift),
    each [B, O]; residual: as the output. Returns [B, T, H, W, O]. Differentiable in all. Raises
    ValueError where shapes, devices or dtypes do not go together.
    """
    if x.ndim != 5 or weight.shape[1] != x.shape[-1]:
        wanted = f"[B, T, H, W, {weight.shape[1]}]"
        raise ValueError(f"conv_norm_act takes x {wanted}, got {list(x.shape)}")
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"conv_norm_act takes bias [{len(weight)}], got {list(bias.shape)}")
    given = (x, weight, bias, norm_weight, *(film or ()), residual)
    if not fused("conv_norm_act", *given, limit=row_limit(len(weight))):
        y = conv_frames(x, weight, bias)
        return rms_norm_act(y, norm_weight, film, residual=residual)
    y = conv_frames(x, weight, None)
    check_norm("conv_norm_act", y, film, residual, norm_weight=norm_weight)
    # the norm adds the bias, and its backward pass sums the bias's gradient
    affine = (norm_weight, None)
    return row_norm_act(
        y, affine, film, residual, centered=False, act=True, eps=EPS, conv_bias=bias
    )
