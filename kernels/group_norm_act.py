"""Group norm, FiLM and SiLU in one step.

``y = act(norm(x) * (1 + scale) + shift)``, ``norm(x) = (x - mean) / sqrt(var + eps) * weight +
bias``: mean and variance over all positions of a sample and the channels of a group.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .rms_norm_act import spread

EPS = 1e-5


def reference(
    x: Tensor,
    affine: tuple[Tensor, Tensor] | None = None,
    film: tuple[Tensor, Tensor] | None = None,
    *,
    groups: int,
    act: bool = True,
) -> Tensor:
    """The formula above, step by step."""
    grouped = rearrange(x, "b ... (g c) -> b g (...) c", g=groups)
    var, mean = torch.var_mean(grouped, dim=(2, 3), keepdim=True, correction=0)
    y = rearrange((grouped - mean) * (var + EPS).rsqrt(), "b g n c -> b n (g c)").reshape(x.shape)
    if affine is not None:
        y = y * affine[0] + affine[1]
    if film is not None:
        y = y * (1 + spread(film[0], y)) + spread(film[1], y)
    return F.silu(y) if act else y


def group_norm_act(
    x: Tensor,
    affine: tuple[Tensor, Tensor] | None = None,
    film: tuple[Tensor, Tensor] | None = None,
    *,
    groups: int,
    act: bool = True,
) -> Tensor:
    """Normalise groups of channels over a sample, modulate, and activate if ``act``.

    x: [B, ..., C]; affine: (weight, bias), each [C]; film: (scale, shift), each [B, C].
    Differentiable in all. Raises ValueError if ``groups`` does not divide C.
    """
    if x.shape[-1] % groups:
        raise ValueError(f"groups must divide the {x.shape[-1]} channels, got {groups}")
    weight, bias = affine or (None, None)
    # a view with channels-last strides, which the norm reads in place
    y = F.group_norm(rearrange(x, "b ... c -> b c ..."), groups, weight, bias, EPS)
    y = rearrange(y, "b c ... -> b ... c")
    if film is not None:
        y = torch.addcmul(spread(film[1], y), y, spread(1 + film[0], y))
    return F.silu(y) if act else y
