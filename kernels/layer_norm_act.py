"""Layer norm over channels, FiLM and SiLU in one step.

``y = act(norm(x) * (1 + scale) + shift)``, ``norm(x) = (x - mean) / sqrt(var + eps) * weight +
bias``, mean and variance over the channels of a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .rms_norm_act import spread

EPS = 1e-5


def reference(
    x: Tensor,
    affine: tuple[Tensor, Tensor],
    film: tuple[Tensor, Tensor] | None = None,
    *,
    act: bool = True,
) -> Tensor:
    """The formula above, step by step."""
    var, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    y = (x - mean) * (var + EPS).rsqrt() * affine[0] + affine[1]
    if film is not None:
        y = y * (1 + spread(film[0], y)) + spread(film[1], y)
    return F.silu(y) if act else y


def layer_norm_act(
    x: Tensor,
    affine: tuple[Tensor, Tensor],
    film: tuple[Tensor, Tensor] | None = None,
    *,
    act: bool = True,
) -> Tensor:
    """Normalise each row of ``x``, modulate, and activate if ``act``.

    x: [B, ..., C]; affine: (weight, bias), each [C]; film: (scale, shift), each [B, C].
    Differentiable in all.
    """
    y = F.layer_norm(x, x.shape[-1:], *affine, EPS)
    if film is not None:
        y = torch.addcmul(spread(film[1], y), y, spread(1 + film[0], y))
    return F.silu(y) if act else y
