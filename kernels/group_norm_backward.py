"""Gradients of ``group_norm``, in two passes.

With ``dv = dz * act'(v)`` and ``g = dv * gain``: ``du = rstd * (g - mean(g) - xhat * mean(g *
xhat))``, means over the group. The first pass sums over each part of a sample, the programs of the
second add the parts up in one order, and sum the gradient of conv_bias as they write dx.
"""

from typing import Any

import torch
from torch import Tensor

from .group_statistics import WARPS, cut, from_center, members, place, spread, tile
from .launch import jit, launch, tl
from .modulation import channel_or_zero, modulation, modulation_backward, stride
from .ops import op
from .sigmoid import d_silu, silu

DEEP = 2
"""Rows of a tile that a lane holds."""


@jit
def _center_of(
    stats_ptr, conv_bias, sample, c, inside, C: tl.constexpr, G: tl.constexpr, PRE_ACT: tl.constexpr
):
    """``from_center`` and rstd of each channel."""
    at = stats_ptr + sample * 3 * G + c // (C // G)
    hi = tl.load(at, mask=inside, other=0.0)
    lo = tl.load(at + G, mask=inside, other=0.0)
    center, rest = from_center(hi, lo, conv_bias, PRE_ACT)
    return center, rest, tl.load(at + 2 * G, mask=inside, other=0.0)


@jit
def _gradient(
    dz_ptr,
    x_ptr,
    at,
    mask,
    conv_bias,
    center,
    gain,
    offset,
    PRE_ACT: tl.constexpr,
    ACT: tl.constexpr,
    ACC: tl.constexpr,
):
    """dv, u less its mean, and x + conv_bias."""
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(ACC)
    dv = tl.load(dz_ptr + at, mask=mask, other=0.0).to(ACC)
    y, u = x, x
    if PRE_ACT:
        y += conv_bias[None, None, :]
        u = silu(y)
    u += center[None, None, :]
    if ACT:
        dv *= d_silu(u * gain[None, None, :] + offset[None, None, :])
    return dv, u, y


@jit
def _group_norm_sums_kernel(
    dz_ptr,
    x_ptr,
    stats_ptr,
    conv_bias_ptr,
    w_ptr,
    b_ptr,
    scale_ptr,
    shift_ptr,
    sums_ptr,
    group_sums_ptr,
    scale_stride,
    shift_stride,
    N,
    span,
    parts,
    C: tl.constexpr,
    G: tl.constexpr,
    WIDTH: tl.constexpr,
    COLS: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    DEEP: tl.constexpr,
    PRE_ACT: tl.constexpr,
    ACT: tl.constexpr,
    ACC: tl.constexpr,
):
    """One program per part of a sample and block of channels: sums of dv xhat and dv of each
    channel, of g and g xhat of each group.
    """
    sample, part, block, c, inside = place(parts, C, WIDTH, COLS)
    conv_bias = channel_or_zero(conv_bias_ptr, c, inside, ACC)
    center, rest, rstd = _center_of(stats_ptr, conv_bias, sample, c, inside, C, G, PRE_ACT)
    gain, offset = modulation(
        *(w_ptr, b_ptr, scale_ptr, shift_ptr, scale_stride, shift_stride),
        *(sample, c, C, b_ptr is not None, scale_ptr is not None, ACC),
    )
    offset += rest * rstd * gain
    d_gain = tl.zeros([ROWS, COLS], ACC)
    d_offset = tl.zeros([ROWS, COLS], ACC)
    for first in range(part * span, tl.minimum(N, (part + 1) * span), DEEP * ROWS):
        at, mask = tile(first, sample, N, c, inside, C, DEEP, ROWS)
        dv, u, _ = _gradient(
            dz_ptr, x_ptr, at, mask, conv_bias, center, rstd * gain, offset, PRE_ACT, ACT, ACC
        )
        d_gain += tl.sum(dv * u, axis=0)
        d_offset += tl.sum(dv, axis=0)
    d_offset = tl.sum(d_offset, axis=0)
    d_gain = (tl.sum(d_gain, axis=0) + rest * d_offset) * rstd
    to = sums_ptr + (sample * parts + part) * 2 * C + c
    tl.store(to, d_gain, mask=inside)
    tl.store(to + C, d_offset, mask=inside)
    g, held, of = members(block, c, inside, C, G, WIDTH, GROUPS)
    to = group_sums_ptr + (sample * parts + part) * 2 * G + g
    tl.store(to, tl.sum(tl.where(of, (gain * d_offset)[:, None], 0.0), axis=0), mask=held)
    tl.store(to + G, tl.sum(tl.where(of, (gain * d_gain)[:, None], 0.0), axis=0), mask=held)


@jit
def _group_norm_bwd_kernel(
    dz_ptr,
    x_ptr,
    stats_ptr,
    group_sums_ptr,
    conv_bias_ptr,
    w_ptr,
    b_ptr,
    scale_ptr,
    shift_ptr,
    dx_ptr,
    d_conv_bias_ptr,
    scale_stride,
    shift_stride,
    N,
    span,
    parts,
    C: tl.constexpr,
    G: tl.constexpr,
    WIDTH: tl.constexpr,
    COLS: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    DEEP: tl.constexpr,
    PARTS: tl.constexpr,
    PRE_ACT: tl.constexpr,
    ACT: tl.constexpr,
    ACC: tl.constexpr,
):
    """One program per part of a sample and block of channels, which adds up all parts first."""
    sample, part, block, c, inside = place(parts, C, WIDTH, COLS)
    g, held, of = members(block, c, inside, C, G, WIDTH, GROUPS)
    p = tl.arange(0, PARTS)[:, None]
    there = (p < parts) & held[None, :]
    of_part = group_sums_ptr + (sample * parts + p) * 2 * G + g[None, :]
    count = N * 1.0 * (C // G)
    mean_g = spread(tl.sum(tl.load(of_part, mask=there, other=0.0), axis=0) / count, of)
    mean_gx = spread(tl.sum(tl.load(of_part + G, mask=there, other=0.0), axis=0) / count, of)

    conv_bias = channel_or_zero(conv_bias_ptr, c, inside, ACC)
    center, rest, rstd = _center_of(stats_ptr, conv_bias, sample, c, inside, C, G, PRE_ACT)
    gain, offset = modulation(
        *(w_ptr, b_ptr, scale_ptr, shift_ptr, scale_stride, shift_stride),
        *(sample, c, C, b_ptr is not None, scale_ptr is not None, ACC),
    )
    gain *= rstd
    offset += rest * gain
    # du = gain * dv - slope * (u less its mean) - constant
    slope = rstd * rstd * mean_gx
    constant = rstd * mean_g + slope * rest
    d_conv_bias = tl.zeros([ROWS, COLS], ACC)
    last = tl.cdiv(tl.minimum(N - part * span, span), DEEP * ROWS) - 1
    for i in range(last + 1):
        first = part * span + (last - i) * DEEP * ROWS
        at, mask = tile(first, sample, N, c, inside, C, DEEP, ROWS)
        dv, u, y = _gradient(
            dz_ptr, x_ptr, at, mask, conv_bias, center, gain, offset, PRE_ACT, ACT, ACC
        )
        dx = gain[None, None, :] * dv - slope[None, None, :] * u - constant[None, None, :]
        if PRE_ACT:
            dx *= d_silu(y)
        if conv_bias_ptr is not None:
            d_conv_bias += tl.sum(tl.where(mask, dx, 0.0), axis=0)
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    if conv_bias_ptr is not None:
        to = d_conv_bias_ptr + (sample * parts + part) * C + c
        tl.store(to, tl.sum(d_conv_bias, axis=0), mask=inside)


@op("group_norm_backward")
def group_norm_backward(
    dz: Tensor,
    x: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    stats: Tensor,
    groups: int,
    act: bool,
    pre_act: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, conv_bias, weight, bias, scale and shift; empty where there is none."""
    b, c = x.shape[0], x.shape[-1]
    dx, (work, blocks) = torch.empty_like(x), cut(x, groups, DEEP)
    sums = stats.new_empty(b, work.parts, 2, c)
    group_sums = stats.new_empty(b, work.parts, 2, groups)
    d_conv_bias = stats.new_empty(b, work.parts, 0 if conv_bias is None else c)
    film = (scale, shift)
    given = (conv_bias, weight, bias, *film)
    numbers = (*map(stride, film), work.n, work.span, work.parts)
    options = {**blocks, "PRE_ACT": pre_act, "ACT": act, "warps": WARPS}
    launch(
        _group_norm_sums_kernel,
        work.programs,
        *(dz, x, stats, *given, sums, group_sums, *numbers),
        **options,
    )
    launch(
        _group_norm_bwd_kernel,
        work.programs,
        *(dz, x, stats, group_sums, *given, dx, d_conv_bias, *numbers),
        **options,
        PARTS=work.held,
    )
    d_conv_bias = d_conv_bias.sum(dim=(0, 1))
    if conv_bias is not None:
        d_conv_bias = d_conv_bias.to(conv_bias.dtype)
    return dx, d_conv_bias, *modulation_backward(sums, weight, bias, scale)


@group_norm_backward.register_fake
def _(
    _dz: Tensor,
    x: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    stats: Tensor,
    *_: Any,
) -> tuple[Tensor, ...]:
    like = stats if weight is None else weight
    d_conv_bias = _gradient_of(conv_bias, stats)
    rest = (_gradient_of(t, like) for t in (weight, bias, scale, shift))
    return torch.empty_like(x), d_conv_bias, *rest


def _gradient_of(t: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if t is None else t.new_empty(t.shape)
