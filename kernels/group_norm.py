"""Group norm over a sample, FiLM, SiLU and a residual, in two passes.

``z = act(xhat * gain + offset) + residual``, ``gain = weight * (1 + scale)``,
``offset = bias * (1 + scale) + shift``, ``xhat = (u - mean) * rstd``, ``rstd = 1 / sqrt(var +
eps)`` over all rows of a sample and the channels of a group; ``u = x + conv_bias``, or the SiLU of
that (``pre_act``).

The first pass takes the statistics of each part of a sample, the programs of the second merge them
in one order: two runs are bit-equal.
"""

from typing import Any

import torch
from torch import Tensor

from .checks import Film
from .group_norm_backward import group_norm_backward
from .group_statistics import (
    MAX_CHANNELS,
    WARPS,
    Work,
    cut,
    from_center,
    group_statistics_kernel,
    members,
    merge,
    place,
    spread,
    tile,
)
from .launch import jit, launch, tl
from .modulation import channel_or_zero, modulation, rows, stride
from .ops import op
from .sigmoid import silu

DEEP = 4
"""Rows of a tile that a lane holds."""


@jit
def _group_norm_fwd_kernel(
    x_ptr,
    partial_ptr,
    conv_bias_ptr,
    residual_ptr,
    w_ptr,
    b_ptr,
    scale_ptr,
    shift_ptr,
    z_ptr,
    stats_ptr,
    scale_stride,
    shift_stride,
    N,
    span,
    parts,
    eps,
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
    """One program per part of a sample and block of channels, which merges all parts first."""
    sample, part, block, c, inside = place(parts, C, WIDTH, COLS)
    g, held, of = members(block, c, inside, C, G, WIDTH, GROUPS)
    p = tl.arange(0, PARTS)[:, None]
    there = (p < parts) & held[None, :]
    of_part = partial_ptr + (sample * parts + p) * 3 * G + g[None, :]
    hi = tl.load(of_part, mask=there, other=0.0)
    lo = tl.load(of_part + G, mask=there, other=0.0)
    m2 = tl.load(of_part + 2 * G, mask=there, other=0.0)
    count = tl.where(p < parts, tl.minimum(N - p * span, span), 0).to(ACC) * (C // G)
    hi, lo, m2 = merge(count, hi, lo, m2)
    rstd = 1.0 / tl.sqrt(m2 / tl.maximum(tl.sum(count), 1.0) + eps)
    to = stats_ptr + sample * 3 * G + g
    tl.store(to, hi, mask=held & (part == 0))
    tl.store(to + G, lo, mask=held & (part == 0))
    tl.store(to + 2 * G, rstd, mask=held & (part == 0))

    conv_bias = channel_or_zero(conv_bias_ptr, c, inside, ACC)
    center, rest = from_center(spread(hi, of), spread(lo, of), conv_bias, PRE_ACT)
    gain, offset = modulation(
        *(w_ptr, b_ptr, scale_ptr, shift_ptr, scale_stride, shift_stride),
        *(sample, c, C, b_ptr is not None, scale_ptr is not None, ACC),
    )
    gain *= spread(rstd, of)
    offset += rest * gain
    # backwards: what the pass before has read last is still in the cache
    last = tl.cdiv(tl.minimum(N - part * span, span), DEEP * ROWS) - 1
    for i in range(last + 1):
        first = part * span + (last - i) * DEEP * ROWS
        at, mask = tile(first, sample, N, c, inside, C, DEEP, ROWS)
        u = tl.load(x_ptr + at, mask=mask, other=0.0).to(ACC)
        if PRE_ACT:
            u = silu(u + conv_bias[None, None, :])
        z = (u + center[None, None, :]) * gain[None, None, :] + offset[None, None, :]
        if ACT:
            z = silu(z)
        if residual_ptr is not None:
            z += tl.load(residual_ptr + at, mask=mask, other=0.0).to(ACC)
        tl.store(z_ptr + at, z.to(z_ptr.dtype.element_ty), mask=mask)


@op("group_norm")
def group_norm(
    x: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    groups: int,
    act: bool,
    pre_act: bool,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The formula above, and (mean, what rounding took off it, rstd) [B, 3, groups].

    x, residual: [B, ..., C]; scale, shift: [B, C]; the others: [C].
    """
    work, blocks = cut(x, groups, DEEP)
    partial = statistics_of(x, work.parts, groups)
    launch(
        group_statistics_kernel,
        work.programs,
        *(x, conv_bias, partial, work.n, work.span, work.parts),
        **blocks,
        PRE_ACT=pre_act,
        warps=WARPS,
    )
    given = (conv_bias, weight, bias, scale, shift, residual)
    return apply_statistics(x, partial, *given, work, blocks, act=act, pre_act=pre_act, eps=eps)


def apply_statistics(
    x: Tensor,
    partial: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    work: Work,
    blocks: dict[str, Any],
    *,
    act: bool,
    pre_act: bool,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The second pass: what ``group_norm`` returns, from (hi, lo, M2) of each part."""
    z, stats = torch.empty_like(x), partial.new_empty(partial.shape[0], *partial.shape[2:])
    launch(
        _group_norm_fwd_kernel,
        work.programs,
        *(x, partial, conv_bias, residual, weight, bias, scale, shift, z, stats),
        *(stride(scale), stride(shift), work.n, work.span, work.parts, eps),
        **blocks,
        PRE_ACT=pre_act,
        PARTS=work.held,
        ACT=act,
        warps=WARPS,
    )
    return z, stats


def statistics_of(x: Tensor, *sizes: int) -> Tensor:
    """Room for statistics [B, 3, groups], or [B, parts, 3, groups]."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(x.shape[0], *sizes[:-1], 3, sizes[-1], dtype=dtype)


@group_norm.register_fake
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), statistics_of(x, rest[6])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, residual, groups, act, pre_act, _ = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.has_residual, ctx.options = residual is not None, (groups, act, pre_act)


def _gradients(ctx: Any, dz: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *tensors, stats = ctx.saved_tensors
    dx, *rest = group_norm_backward(dz.contiguous(), *tensors, stats, *ctx.options)
    given = (g if g.numel() else None for g in rest)
    return dx, *given, dz if ctx.has_residual else None, None, None, None, None


group_norm.register_autograd(_gradients, setup_context=_save)


def group_norm_fused(
    x: Tensor,
    conv_bias: Tensor | None,
    affine: tuple[Tensor, Tensor | None] | None,
    film: Film | None,
    residual: Tensor | None,
    *,
    groups: int,
    act: bool,
    pre_act: bool,
    eps: float,
) -> Tensor:
    """``group_norm`` of tensors in any layout: those that are not contiguous are copied."""
    per_channel = (conv_bias, *(affine or (None, None)))
    vectors = (t if t is None else t.contiguous() for t in per_channel)
    film_rows = map(rows, film or (None, None))
    residual = None if residual is None else residual.to(x.dtype).contiguous()
    z: Tensor
    z, _ = group_norm(x.contiguous(), *vectors, *film_rows, residual, groups, act, pre_act, eps)
    return z


def group_limit(channels: int, groups: int) -> str:
    """What of the groups the kernel does not take."""
    c = channels // groups
    return f"groups of {c} channels have more than {MAX_CHANNELS}" if c > MAX_CHANNELS else ""
