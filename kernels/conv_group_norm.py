"""Convolution whose kernel takes the statistics of the group norm behind it, then that norm.

``y = conv(x)`` is written, and of each part of a sample the mean and M2 of every group of ``y +
conv_bias``, or of the SiLU of that: one pass over y less than ``group_norm`` of it, whose kernel
goes on from there. The backward pass is that norm's, then cuDNN's.
"""

from typing import Any

import torch
from torch import Tensor

from .conv_tile import conv_tile, packed, size_of, tile_of
from .convolution import conv_gradients
from .group_norm import DEEP, apply_statistics, statistics_of
from .group_norm_backward import group_norm_backward
from .group_statistics import Work, channel_or_zero, cut, members, merge, two_sum
from .launch import ceil_div, jit, launch, power_of_2, tl
from .sigmoid import silu

MAX_GROUPS = 32


@jit
def _conv_statistics_kernel(
    x_ptr,
    kernel_ptr,
    conv_bias_ptr,
    y_ptr,
    partial_ptr,
    T,
    H,
    W,
    N,
    span,
    parts,
    C_IN: tl.constexpr,
    C: tl.constexpr,
    KT: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
    G: tl.constexpr,
    GROUPS: tl.constexpr,
    PRE_ACT: tl.constexpr,
):
    """One program per part of a sample: y, and (hi, lo, M2) of each group of channels."""
    sample, part = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts
    c = tl.arange(0, COLS)
    conv_bias = channel_or_zero(conv_bias_ptr, c, c < C, tl.float32)
    hi = tl.zeros([COLS], tl.float32)
    lo, m2 = tl.zeros_like(hi), tl.zeros_like(hi)
    start, end = part * span, tl.minimum(N, (part + 1) * span)
    for first in range(start, end, ROWS):
        row = first + tl.arange(0, ROWS)
        y = conv_tile(
            *(x_ptr, kernel_ptr, sample, row, end, T, H, W),
            *(C_IN, C, KT, KH, KW, STRIDE, ROWS, COLS, BLOCK, PRECISION),
        ).to(y_ptr.dtype.element_ty)
        at = (sample * N + row)[:, None] * C + c[None, :]
        tl.store(y_ptr + at, y, mask=(row < end)[:, None] & (c < C)[None, :])
        # statistics are of what the norm will read
        u = y.to(tl.float32)
        if PRE_ACT:
            u = silu(u + conv_bias[None, :])
        hi_here, lo_here, m2_here = merge((row < end).to(tl.float32)[:, None], u, 0.0, 0.0)
        before = (first - start).to(tl.float32)
        share = tl.minimum(end - first, ROWS) / (tl.minimum(end, first + ROWS) - start)
        hi = tl.where(before > 0, hi, hi_here)
        off = hi_here - hi + (lo_here - lo)
        lo += share * off
        m2 += m2_here + before * share * off * off
    hi, lo = two_sum(hi, lo)
    if not PRE_ACT:
        hi, rest = two_sum(hi, conv_bias)
        lo += rest
    g, held, of = members(0, c, c < C, C, G, C, GROUPS)
    count = tl.where(of, (end - start).to(tl.float32), 0.0)
    hi, lo, m2 = merge(count, hi[:, None], lo[:, None], m2[:, None])
    to = partial_ptr + (sample * parts + part) * 3 * G + g
    tl.store(to, hi, mask=held)
    tl.store(to + G, lo, mask=held)
    tl.store(to + 2 * G, m2, mask=held)


@torch.library.custom_op("fastvd::conv_group_norm", mutates_args=())
def conv_group_norm(
    x: Tensor,
    weight: Tensor,
    conv_bias: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    step: int,
    groups: int,
    act: bool,
    pre_act: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``group_norm`` of the convolution, the convolution without its bias, and ``group_norm``'s
    statistics.

    x: [B, T, H, W, C]; weight: [O, C, kt, kh, kw]; step: pixels from one output to the next.
    """
    y, tile = x.new_empty(size_of(x, weight, step)), tile_of(x, weight, step)
    work, blocks = cut(y, groups, DEEP)
    work = _whole_tiles(work, tile.rows)
    partial = statistics_of(y, work.parts, groups)
    launch(
        _conv_statistics_kernel,
        x.shape[0] * work.parts,
        *(x, packed(x, weight), conv_bias, y, partial, *x.shape[1:4]),
        *(work.n, work.span, work.parts),
        **tile.constants,
        G=groups,
        GROUPS=power_of_2(groups),
        PRE_ACT=pre_act,
        warps=tile.warps,
        stages=tile.stages,
    )
    given = (conv_bias, norm_weight, norm_bias, scale, shift, residual)
    z, stats = apply_statistics(y, partial, *given, work, blocks, act=act, pre_act=pre_act, eps=eps)
    return z, y, stats


def _whole_tiles(work: Work, rows: int) -> Work:
    """Parts of whole tiles: both tiles here and the norm's are powers of two."""
    span = ceil_div(work.span, rows) * rows
    parts = ceil_div(work.n, max(1, span))
    blocks = work.programs // max(1, work.parts)
    return work._replace(span=span, parts=parts, programs=blocks * parts)


@conv_group_norm.register_fake
def _(x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    y = x.new_empty(size_of(x, weight, rest[6]))
    return torch.empty_like(y), y, statistics_of(y, rest[7])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, residual, ctx.step, groups, act, pre_act, _ = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.has_residual, ctx.options = residual is not None, (groups, act, pre_act)


def _gradients(ctx: Any, dz: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *given, y, stats = ctx.saved_tensors
    dy, *rest = group_norm_backward(dz.contiguous(), y, *given, stats, *ctx.options)
    needed = ctx.needs_input_grad[:2]
    dx, dw = conv_gradients(dy, x, weight, stride=ctx.step, needed=needed)
    grads = (g if g.numel() else None for g in rest)
    return dx, dw, *grads, dz if ctx.has_residual else None, *[None] * 5


conv_group_norm.register_autograd(_gradients, setup_context=_save)
