"""Group norm, FiLM, SiLU and a residual in one step."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .checks import (
    FLAG,
    MAYBE_AFFINE,
    MAYBE_PAIR,
    MAYBE_TENSOR,
    TENSOR,
    WHOLE,
    Film,
    check_groups,
    check_kinds,
    check_norm,
)
from .dispatch import fused
from .empty import empty
from .group_norm import group_limit, group_norm_fused
from .rms_norm_act import finished, spread

EPS = 1e-5


def reference(
    x: Tensor,
    affine: tuple[Tensor, Tensor | None] | None = None,
    film: Film | None = None,
    *,
    groups: int,
    residual: Tensor | None = None,
    act: bool = True,
    pre_act: bool = False,
    conv_bias: Tensor | None = None,
) -> Tensor:
    """The formula of ``group_norm_act``, step by step."""
    u = x if conv_bias is None else x + conv_bias
    u = F.silu(u) if pre_act else u
    grouped = rearrange(u, "b ... (g c) -> b g (...) c", g=groups)
    var, mean = torch.var_mean(grouped, dim=(2, 3), keepdim=True, correction=0)
    y = rearrange((grouped - mean) * (var + EPS).rsqrt(), "b g n c -> b n (g c)").reshape(x.shape)
    if affine is not None:
        y = y * affine[0]
        y = y if affine[1] is None else y + affine[1]
    if film is not None:
        y = y * (1 + spread(film[0], y)) + spread(film[1], y)
    y = F.silu(y) if act else y
    return y if residual is None else y + residual


def group_norm_act(
    x: Tensor,
    affine: tuple[Tensor, Tensor | None] | None = None,
    film: Film | None = None,
    *,
    groups: int,
    residual: Tensor | None = None,
    act: bool = True,
    pre_act: bool = False,
    conv_bias: Tensor | None = None,
) -> Tensor:
    """Normalise groups of channels over a sample, modulate, activate if ``act``, add ``residual``.

    ``y = act(norm(u) * (1 + scale) + shift) + residual``, ``norm(u) = (u - mean) / sqrt(var + eps)
    * weight + bias``, mean and variance over all positions of a sample and the channels of a group,
    eps 1e-5, act SiLU; ``u = x + conv_bias``, the bias of the convolution that made x, or the SiLU
    of that (``pre_act``): group norm (1803.08494, eq. 7), FiLM (1709.07871, eq. 2).
    x: [B, ..., C], residual too; affine: (weight, bias), each [C], or None for no bias; film:
    (scale, shift), each [B, C]; conv_bias: [C], added to x first; pre_act: SiLU before the
    norm. Differentiable in all. Raises TypeError for another kind of argument, ValueError where
    ``groups`` does not divide C, or shapes, devices or dtypes do not go together.
    """
    op = "group_norm_act"
    check_kinds(
        op,
        (
            ("x", x, TENSOR),
            ("affine", affine, MAYBE_AFFINE),
            ("film", film, MAYBE_PAIR),
            ("groups", groups, WHOLE),
            ("residual", residual, MAYBE_TENSOR),
            ("act", act, FLAG),
            ("pre_act", pre_act, FLAG),
            ("conv_bias", conv_bias, MAYBE_TENSOR),
        ),
    )
    weight, bias = affine or (None, None)
    check_norm(op, x.shape, film, residual, weight=weight, bias=bias, conv_bias=conv_bias)
    check_groups(op, groups, x.shape[-1])
    given = (x, conv_bias, weight, bias, *(film or ()), residual)
    is_fused = fused(op, *given, limit=group_limit(x.shape[-1], groups))
    if not x.numel():
        return empty(x, x.shape, *given)
    if is_fused:
        return group_norm_fused(
            *(x, conv_bias, affine, film, residual),
            groups=groups,
            act=act,
            pre_act=pre_act,
            eps=EPS,
        )
    return _eager(
        x, conv_bias, weight, bias, film, residual, groups=groups, act=act, pre_act=pre_act
    )


def _eager(
    x: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    film: Film | None,
    residual: Tensor | None,
    *,
    groups: int,
    act: bool,
    pre_act: bool,
) -> Tensor:
    u = x if conv_bias is None else x + conv_bias
    u = F.silu(u) if pre_act else u
    # torch takes parameters in its input's dtype, or in float32 beside 16 bits
    dtype = torch.float32 if u.dtype.itemsize == 2 else u.dtype
    weight, bias = (t if t is None else t.to(dtype) for t in (weight, bias))
    # a view with channels-last strides, which the norm reads in place
    y = torch.group_norm(rearrange(u, "b ... c -> b c ..."), groups, weight, bias, EPS)
    y = rearrange(y, "b c ... -> b ... c")
    if film is not None:
        y = torch.addcmul(spread(film[1], y), y, spread(1 + film[0], y))
    return finished(y, x.dtype, act, residual)
