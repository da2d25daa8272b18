"""Convolution as a matrix product whose left side is never written: a tile of it in registers.

Rows are positions of the output, columns its channels. The sum runs over the kernel's taps and, for
each, over blocks of input channels; what a tap has outside the clip is zero.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .launch import jit, power_of_2, precision, tl

MAX_COLS = 256
"""Channels of the output that a tile holds: all of them, as the norm behind needs."""
LEAST = 16
"""Rows and columns of the smallest matrix product."""


class Tile(NamedTuple):
    """Rows of a tile, and how it is computed."""

    rows: int
    warps: int
    stages: int
    constants: dict[str, Any]
    """What ``conv_tile`` wants of the shapes."""


def tile_of(x: Tensor, weight: Tensor, stride: int) -> Tile:
    """The tile for x [B, T, H, W, C] and weight [O, C, kt, kh, kw]."""
    c_out, c_in, kt, kh, kw = weight.shape
    cols = max(LEAST, power_of_2(c_out))
    rows, block, warps, stages = 128 if cols <= 128 else 64, 64, 4 if cols <= 64 else 8, 3
    if x.dtype == torch.float32:
        # without tensor cores a product's operands are in registers
        rows, block = 64, 16 if precision() == "ieee" else 32
    channels = {"C_IN": c_in, "C": c_out, "COLS": cols, "KT": kt, "KH": kh, "KW": kw}
    block = min(block, max(LEAST, power_of_2(c_in)))
    constants = {**channels, "STRIDE": stride, "BLOCK": block, "PRECISION": precision()}
    return Tile(rows, warps, stages, {**constants, "ROWS": rows})


def packed(x: Tensor, weight: Tensor) -> Tensor:
    """The weights as the kernel reads them, in the dtype of x: [kt, kh, kw, C_out, C_in]."""
    return weight.permute(2, 3, 4, 0, 1).to(x.dtype).contiguous()


def size_of(x: Tensor, weight: Tensor, stride: int) -> torch.Size:
    """Shape of the output."""
    b, t, h, w = x.shape[:4]
    return torch.Size((b, t, (h - 1) // stride + 1, (w - 1) // stride + 1, weight.shape[0]))


@jit
def conv_tile(
    x_ptr,
    w_ptr,
    sample,
    row,
    end,
    T,
    H,
    W,
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
):
    """Output [ROWS, COLS] of a sample's positions ``row``, zero from ``end`` and C on."""
    CHUNKS: tl.constexpr = (C_IN + BLOCK - 1) // BLOCK
    wide, high = (W - 1) // STRIDE + 1, (H - 1) // STRIDE + 1
    t, h, w = row // wide // high, row // wide % high * STRIDE, row % wide * STRIDE
    at = ((sample * T + t) * H + h) * W + w
    c, k = tl.arange(0, COLS), tl.arange(0, BLOCK)
    from_ptr = x_ptr + at[:, None] * C_IN + k[None, :]
    w_from_ptr = w_ptr + c[:, None] * C_IN + k[None, :]
    total = tl.zeros([ROWS, COLS], tl.float32)
    for step in range(KT * KH * KW * CHUNKS):
        tap, first = step // CHUNKS, step % CHUNKS * BLOCK
        dt, dh, dw = tap // KW // KH - KT // 2, tap // KW % KH - KH // 2, tap % KW - KW // 2
        inside = (h + dh >= 0) & (h + dh < H) & (w + dw >= 0) & (w + dw < W)
        inside &= (t + dt >= 0) & (t + dt < T) & (row < end)
        there = first + k < C_IN
        away = ((dt * H + dh) * W + dw).to(tl.int64) * C_IN + first
        a = tl.load(from_ptr + away, mask=inside[:, None] & there[None, :], other=0.0)
        b_ptr = w_from_ptr + (tap * C * C_IN + first)
        b = tl.load(b_ptr, mask=(c < C)[:, None] & there[None, :], other=0.0)
        total = tl.dot(a, tl.trans(b), total, input_precision=PRECISION)
    return total
