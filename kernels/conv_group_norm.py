"""Convolution whose kernel takes the statistics of the group norm behind it, then that norm.

``y = conv(x)`` is written, and of each tile of it the mean and M2 of every channel of ``y +
conv_bias``, or of the SiLU of that (``pre_act``). A small kernel merges tiles to parts and channels
to groups, from where ``group_norm``'s kernel goes on: one pass over y less. The backward pass is
that norm's, then cuDNN's.
"""

from typing import Any

import torch
from torch import Tensor

from .conv_tile import conv_tile, packed, size_of, tile_of
from .convolution import conv_gradients
from .group_norm import DEEP, apply_statistics, statistics_of
from .group_norm_backward import group_norm_backward
from .group_statistics import (
    WARPS,
    Work,
    cut,
    merge,
    place,
    store_groups,
    two_sum,
)
from .launch import ceil_div, jit, launch, tl
from .modulation import channel_or_zero
from .ops import op
from .sigmoid import silu

TILES = 32
"""Tiles that a program merges at once."""


@jit
def _conv_statistics_kernel(
    x_ptr,
    kernel_ptr,
    conv_bias_ptr,
    y_ptr,
    tiles_ptr,
    T,
    H,
    W,
    N,
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
    PRE_ACT: tl.constexpr,
):
    """One program per tile of a sample's N positions: y, and (hi, lo, M2) of each channel."""
    tiles = tl.cdiv(N, ROWS)
    sample, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    row, c = tile * ROWS + tl.arange(0, ROWS), tl.arange(0, COLS)
    y = conv_tile(
        *(x_ptr, kernel_ptr, sample, row, N, T, H, W),
        *(C_IN, C, KT, KH, KW, STRIDE, ROWS, COLS, BLOCK, PRECISION),
    ).to(y_ptr.dtype.element_ty)
    at = (sample * N + row)[:, None] * C + c[None, :]
    tl.store(y_ptr + at, y, mask=(row < N)[:, None] & (c < C)[None, :])
    # statistics are of what the norm will read
    u = y.to(tl.float32)
    if PRE_ACT:
        # loaded as a tile, the statistics have its layout: in the product's, columns are in all
        # threads, too many for their registers
        c_of = tl.broadcast_to(c[None, :], [ROWS, COLS])
        u = silu(u + tl.load(conv_bias_ptr + c_of, mask=c_of < C, other=0.0).to(tl.float32))
    hi, lo, m2 = merge((row < N).to(tl.float32)[:, None], u, 0.0, 0.0)
    to = tiles_ptr + (sample * tiles + tile) * 3 * C + c
    tl.store(to, hi, mask=c < C)
    tl.store(to + C, lo, mask=c < C)
    tl.store(to + 2 * C, m2, mask=c < C)


@jit
def _merge_tiles_kernel(
    tiles_ptr,
    conv_bias_ptr,
    partial_ptr,
    N,
    span,
    parts,
    C: tl.constexpr,
    G: tl.constexpr,
    WIDTH: tl.constexpr,
    COLS: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    TILES: tl.constexpr,
    PRE_ACT: tl.constexpr,
):
    """One program per part of a sample and block of channels: (hi, lo, M2) of each group."""
    sample, part, block, c, inside = place(parts, C, WIDTH, COLS)
    hi = tl.zeros([COLS], tl.float32)
    lo, m2 = tl.zeros_like(hi), tl.zeros_like(hi)
    start, end = part * span, tl.minimum(N, (part + 1) * span)
    for first in range(start, end, TILES * ROWS):
        row = first + tl.arange(0, TILES) * ROWS
        at = tiles_ptr + (sample * tl.cdiv(N, ROWS) + row // ROWS)[:, None] * 3 * C + c[None, :]
        mask = (row < end)[:, None] & inside[None, :]
        hi_here, lo_here, m2_here = merge(
            tl.minimum(tl.maximum(end - row, 0), ROWS).to(tl.float32)[:, None],
            tl.load(at, mask=mask, other=0.0),
            tl.load(at + C, mask=mask, other=0.0),
            tl.load(at + 2 * C, mask=mask, other=0.0),
        )
        before, last = first - start, tl.minimum(end, first + TILES * ROWS)
        share = (last - first) / (last - start)
        # the first tiles' mean is the pivot of all
        hi = tl.where(before > 0, hi, hi_here)
        off = hi_here - hi + (lo_here - lo)
        lo += share * off
        m2 += m2_here + before * share * off * off
    hi, lo = two_sum(hi, lo)
    conv_bias = channel_or_zero(conv_bias_ptr, c, inside, tl.float32)
    store_groups(
        *(partial_ptr, sample * parts + part, block, end - start, hi, lo, m2, conv_bias),
        *(c, inside, C, G, WIDTH, GROUPS, PRE_ACT),
    )


@op("conv_group_norm")
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
    tiles = ceil_div(work.n, tile.rows)
    of_tiles, partial = (
        statistics_of(y, tiles, weight.shape[0]),
        statistics_of(y, work.parts, groups),
    )
    launch(
        _conv_statistics_kernel,
        x.shape[0] * tiles,
        *(x, packed(x, weight), conv_bias, y, of_tiles, *x.shape[1:4], work.n),
        **tile.constants,
        PRE_ACT=pre_act,
        warps=tile.warps,
        stages=tile.stages,
    )
    launch(
        _merge_tiles_kernel,
        work.programs,
        *(of_tiles, conv_bias, partial, work.n, work.span, work.parts),
        **{name: blocks[name] for name in ("C", "G", "WIDTH", "COLS", "GROUPS")},
        ROWS=tile.rows,
        TILES=TILES,
        PRE_ACT=pre_act,
        warps=WARPS,
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
    dx, dw = conv_gradients(dy, x, weight, stride=ctx.step)
    grads = (g if g.numel() else None for g in rest)
    return dx, dw, *grads, dz if ctx.has_residual else None, *[None] * 5


conv_group_norm.register_autograd(_gradients, setup_context=_save)
