"""Layer norm over channels, FiLM, SiLU and a residual in one step."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import (
    AFFINE,
    FLAG,
    MAYBE_PAIR,
    MAYBE_TENSOR,
    TENSOR,
    Film,
    check_kinds,
    check_norm,
)
from .dispatch import fused
from .rms_norm_act import finished, spread
from .row_norm import row_limit, row_norm_act

EPS = 1e-5


def reference(
    x: Tensor,
    affine: tuple[Tensor, Tensor | None],
    film: Film | None = None,
    *,
    residual: Tensor | None = None,
    act: bool = True,
) -> Tensor:
    """The formula of ``layer_norm_act``, step by step."""
    var, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    y = (x - mean) * (var + EPS).rsqrt() * affine[0]
    if affine[1] is not None:
        y = y + affine[1]
    if film is not None:
        y = y * (1 + spread(film[0], y)) + spread(film[1], y)
    y = F.silu(y) if act else y
    return y if residual is None else y + residual


def layer_norm_act(
    x: Tensor,
    affine: tuple[Tensor, Tensor | None],
    film: Film | None = None,
    *,
    residual: Tensor | None = None,
    act: bool = True,
) -> Tensor:
    """Normalise each row of ``x``, modulate, activate if ``act``, add ``residual``.

    ``y = act(norm(x) * (1 + scale) + shift) + residual``, ``norm(x) = (x - mean) / sqrt(var + eps)
    * weight + bias``, mean and variance over the channels of a row, eps 1e-5, act SiLU: layer
    norm (1607.06450, eq. 3), FiLM (1709.07871, eq. 2).
    x: [B, ..., C], residual too; affine: (weight, bias), each [C], or None for no bias; film:
    (scale, shift), each [B, C]. Differentiable in all. Raises TypeError for another kind of
    argument, ValueError where shapes, devices or dtypes do not go together.
    """
    check_kinds(
        "layer_norm_act",
        (
            ("x", x, TENSOR),
            ("affine", affine, AFFINE),
            ("film", film, MAYBE_PAIR),
            ("residual", residual, MAYBE_TENSOR),
            ("act", act, FLAG),
        ),
    )
    weight, bias = affine
    check_norm("layer_norm_act", x.shape, film, residual, weight=weight, bias=bias)
    given = (x, weight, bias, *(film or ()), residual)
    if fused("layer_norm_act", *given, limit=row_limit(x.shape[-1])):
        return row_norm_act(x, affine, film, residual, centered=True, act=act, eps=EPS)
    y = layer_norm(x, weight, bias)
    if film is not None:
        y = torch.addcmul(spread(film[1], y), y, spread(1 + film[0], y))
    return finished(y, x.dtype, act, residual)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """torch's, its sums over rows in float32 at least: on a CPU those are in x's own dtype."""
    if x.is_cuda:
        return F.layer_norm(x, x.shape[-1:], weight, bias, EPS).to(x.dtype)
    wide = torch.promote_types(x.dtype, torch.float32)
    offset = None if bias is None else bias.to(wide)
    return F.layer_norm(x.to(wide), x.shape[-1:], weight.to(wide), offset, EPS).to(x.dtype)
