"""Convolution, norm, FiLM, SiLU and a residual in one step; ``conv_choice`` says by what."""

from typing import Any, NamedTuple, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .checks import (
    FLAG,
    MAYBE_PAIR,
    MAYBE_TENSOR,
    TENSOR,
    WHOLE,
    Film,
    check_clip,
    check_groups,
    check_kinds,
    check_norm,
    check_shapes,
)
from .conv_choice import Implementation, Norm, choose, refusal
from .conv_group_norm import conv_group_norm
from .conv_row_norm import conv_row_norm
from .conv_tile import size_of
from .convolution import as_3d, convolve, is_flat
from .dispatch import cast, fused
from .empty import empty
from .group_norm import group_limit, group_norm_fused
from .group_norm_act import EPS as GROUP_EPS
from .group_norm_act import group_norm_act
from .group_norm_act import reference as group_reference
from .layer_norm_act import EPS as LAYER_EPS
from .layer_norm_act import layer_norm_act
from .layer_norm_act import reference as layer_reference
from .modulation import rows
from .rms_norm_act import EPS as RMS_EPS
from .rms_norm_act import reference as rms_reference
from .rms_norm_act import rms_norm_act
from .row_norm import row_limit, row_norm_act

EPS = {"rms": RMS_EPS, "layer": LAYER_EPS, "group": GROUP_EPS}


class _Behind(NamedTuple):
    """What follows the convolution; ``conv_norm_act`` explains the fields."""

    norm: Norm
    weight: Tensor | None
    bias: Tensor | None
    groups: int
    film: Film | None
    residual: Tensor | None
    act: bool
    pre_act: bool


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    norm: Norm = "rms",
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    groups: int = 1,
    film: Film | None = None,
    residual: Tensor | None = None,
    act: bool = True,
    pre_act: bool = False,
    stride: int = 1,
) -> Tensor:
    """The formula of ``conv_norm_act`` as a 3-D convolution and the norm's reference."""
    kernel = as_3d(weight)
    padding = [k // 2 for k in kernel.shape[2:]]
    y = F.conv3d(rearrange(x, "b t h w c -> b c t h w"), kernel, bias, (1, stride, stride), padding)
    y = F.silu(y) if pre_act else y
    y = rearrange(y, "b c t h w -> b t h w c")
    options: dict[str, Any] = {"film": film, "residual": residual, "act": act}
    if norm == "group" or norm_weight is None:
        affine = None if norm_weight is None else (norm_weight, norm_bias)
        return group_reference(y, affine, groups=groups, **options)
    if norm == "rms":
        return rms_reference(y, norm_weight, **options)
    return layer_reference(y, (norm_weight, norm_bias), **options)


def conv_norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    norm: Norm = "rms",
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    groups: int = 1,
    film: Film | None = None,
    residual: Tensor | None = None,
    act: bool = True,
    pre_act: bool = False,
    stride: int = 1,
    implementation: Implementation | None = None,
) -> Tensor:
    """Convolve ``x``, normalise, modulate, activate if ``act``, add ``residual``.

    ``y = norm_act(conv(x) + bias)``, the convolution padded by half a kernel, ``norm_act`` one of
    ``rms_norm_act``, ``layer_norm_act`` and ``group_norm_act``.
    x: [B, T, H, W, C]; weight: [O, C, k, k], for each frame, or [O, C, kt, kh, kw], all odd;
    bias: [O]; stride: in height and width; norm: over channels (rms, layer) or over the clip
    and the channels of each of ``groups``; norm_weight, norm_bias: [O] (group: or none; rms: no
    bias); film: (scale, shift), each [B, O]; residual: as the output; pre_act: SiLU before the
    norm. implementation: none for the quickest known. Returns [B, T, H', W', O], H' = ceil(H /
    stride), in the clip's dtype, or autocast's. Differentiable in all. Raises TypeError for
    another kind of argument, ValueError where shapes, devices or dtypes do not go together, and
    for an implementation that does not take them.
    """
    behind = _Behind(norm, norm_weight, norm_bias, groups, film, residual, act, pre_act)
    _check_kinds(x, weight, bias, stride, behind)
    weight = as_3d(weight)
    size = _check(x, weight, bias, stride, behind)
    how = implementation or choose(weight, stride, norm)
    if reason := refusal(how, weight, stride, norm, pre_act=pre_act):
        raise ValueError(f"conv_norm_act does not run as {how}: {reason}")
    given = (x, weight, bias, norm_weight, norm_bias, *(film or ()), residual)
    channels = len(weight)
    limit = group_limit(channels, groups) if norm == "group" else row_limit(channels)
    is_fused = fused("conv_norm_act", *given, limit=limit)
    if not x.numel():
        return empty(cast(x), size, *given)
    if not is_fused:
        y = convolve(x, weight, bias, stride=stride, flat=is_flat(weight, stride))
        return _eager_norm(y, behind)
    if how == "gemm":
        return _gemm(cast(x), weight, bias, stride, behind)
    # the norm adds the bias, and its backward pass sums the bias's gradient
    row_pre_act = pre_act and norm != "group"
    in_conv, in_norm = (bias, None) if row_pre_act else (None, bias)
    y = convolve(x, weight, in_conv, stride=stride, flat=how == "conv2d")
    return _fused_norm(F.silu(y) if row_pre_act else y, in_norm, behind)


def _check_kinds(x: object, weight: object, bias: object, stride: object, behind: _Behind) -> None:
    norm_weight, norm_bias, groups, film, residual, act, pre_act = behind[1:]
    check_kinds(
        "conv_norm_act",
        (
            ("x", x, TENSOR),
            ("weight", weight, TENSOR),
            ("bias", bias, TENSOR),
            ("norm_weight", norm_weight, MAYBE_TENSOR),
            ("norm_bias", norm_bias, MAYBE_TENSOR),
            ("groups", groups, WHOLE),
            ("film", film, MAYBE_PAIR),
            ("residual", residual, MAYBE_TENSOR),
            ("act", act, FLAG),
            ("pre_act", pre_act, FLAG),
            ("stride", stride, WHOLE),
        ),
    )


def _check(x: Tensor, weight: Tensor, bias: Tensor, stride: int, behind: _Behind) -> torch.Size:
    """Raise ValueError for what does not go together; returns the shape of the output."""
    op = "conv_norm_act"
    check_clip(op, x)
    if weight.ndim != 5 or not all(k % 2 for k in weight.shape[2:]):
        got = list(weight.shape)
        raise ValueError(f"{op} takes weight [O, C, k, k] or 5-D, k odd, got {got}")
    if weight.shape[1] != x.shape[-1]:
        wanted = f"[B, T, H, W, {weight.shape[1]}]"
        raise ValueError(f"{op} takes x {wanted}, got {list(x.shape)}")
    check_shapes(op, (("bias", bias, weight.shape[:1]),))
    if stride < 1:
        raise ValueError(f"{op} takes a stride of at least 1, got {stride}")
    norm, norm_weight, norm_bias, groups = behind[:4]
    if norm not in get_args(Norm):
        raise ValueError(f"{op} takes a norm of {', '.join(get_args(Norm))}, got {norm!r}")
    if norm == "rms" and norm_bias is not None:
        raise ValueError(f"{op} takes no norm_bias with rms norm, got {list(norm_bias.shape)}")
    if norm_weight is None and norm != "group":
        raise ValueError(f"{op} takes norm_weight [{len(weight)}] with {norm} norm, got None")
    if norm_weight is None and norm_bias is not None:
        raise ValueError(
            f"{op} takes no norm_bias without norm_weight, got {list(norm_bias.shape)}"
        )
    if norm == "group":
        check_groups(op, groups, len(weight))
    size = size_of(x, weight, stride)
    per_channel = {"norm_weight": norm_weight, "norm_bias": norm_bias}
    check_norm(op, size, behind.film, behind.residual, **per_channel)
    return size


def _eager_norm(y: Tensor, behind: _Behind) -> Tensor:
    norm, weight, bias, groups, film, residual, act, pre_act = behind
    options: dict[str, Any] = {"film": film, "residual": residual, "act": act}
    if norm == "group" or weight is None:
        affine = None if weight is None else (weight, bias)
        return group_norm_act(y, affine, groups=groups, pre_act=pre_act, **options)
    y = F.silu(y) if pre_act else y
    if norm == "rms":
        return rms_norm_act(y, weight, **options)
    return layer_norm_act(y, (weight, bias), **options)


def _fused_norm(y: Tensor, conv_bias: Tensor | None, behind: _Behind) -> Tensor:
    norm, weight, bias, groups, film, residual, act, pre_act = behind
    options: dict[str, Any] = {"act": act, "eps": EPS[norm]}
    if norm == "group" or weight is None:
        affine = None if weight is None else (weight, bias)
        options |= {"groups": groups, "pre_act": pre_act}
        return group_norm_fused(y, conv_bias, affine, film, residual, **options)
    options |= {"centered": norm == "layer", "conv_bias": conv_bias}
    return row_norm_act(y, (weight, bias), film, residual, **options)


def _gemm(x: Tensor, weight: Tensor, bias: Tensor, stride: int, behind: _Behind) -> Tensor:
    norm, norm_weight, norm_bias, groups, film, residual, act, pre_act = behind
    vectors = [t if t is None else t.contiguous() for t in (bias, norm_weight, norm_bias)]
    film_rows = map(rows, film or (None, None))
    residual = None if residual is None else residual.to(x.dtype).contiguous()
    given = (x.contiguous(), weight, *vectors, *film_rows, residual)
    z: Tensor
    if norm == "group":
        z, _, _ = conv_group_norm(*given, stride, groups, act, pre_act, EPS[norm])
        return z
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)
    z, _ = conv_row_norm(*given, stride, norm == "layer", act, EPS[norm], keep)
    return z
