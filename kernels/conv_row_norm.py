"""Convolution, norm of each row over its channels, FiLM, SiLU and a residual in one kernel.

``z = act(norm(conv(x) + conv_bias) * gain + offset) + residual``, the norm as in ``row_norm``. A
program has all channels of its rows, so that the convolution's output need not leave it; for the
backward pass it is written too, without its bias. That pass is ``row_norm``'s, then cuDNN's.
"""

from typing import Any

import torch
from torch import Tensor

from .conv_tile import conv_tile, packed, size_of, tile_of
from .convolution import conv_gradients
from .launch import ceil_div, jit, launch, tl
from .modulation import channel_or_zero, modulation, stride
from .ops import op
from .row_norm import row_norm_backward
from .rows import normalize
from .sigmoid import silu


@jit
def _conv_row_norm_kernel(
    x_ptr,
    kernel_ptr,
    conv_bias_ptr,
    residual_ptr,
    w_ptr,
    b_ptr,
    scale_ptr,
    shift_ptr,
    z_ptr,
    y_ptr,
    scale_stride,
    shift_stride,
    T,
    H,
    W,
    N,
    eps,
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
    CENTERED: tl.constexpr,
    ACT: tl.constexpr,
):
    """One program per tile of a sample's N positions."""
    tiles = tl.cdiv(N, ROWS)
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    row, c = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS), tl.arange(0, COLS)
    y = conv_tile(
        *(x_ptr, kernel_ptr, sample, row, N, T, H, W),
        *(C_IN, C, KT, KH, KW, STRIDE, ROWS, COLS, BLOCK, PRECISION),
    )
    mask = (row < N)[:, None] & (c < C)[None, :]
    at = (sample * N + row)[:, None] * C + c[None, :]
    if y_ptr is not None:
        tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=mask)
    y += channel_or_zero(conv_bias_ptr, c, c < C, tl.float32)[None, :]
    xhat, _ = normalize(y, eps, C, CENTERED)
    gain, offset = modulation(
        *(w_ptr, b_ptr, scale_ptr, shift_ptr, scale_stride, shift_stride),
        *(sample, c, C, b_ptr is not None, scale_ptr is not None, tl.float32),
    )
    z = xhat * gain[None, :] + offset[None, :]
    if ACT:
        z = silu(z)
    if residual_ptr is not None:
        z += tl.load(residual_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(z_ptr + at, z.to(z_ptr.dtype.element_ty), mask=mask)


@op("conv_row_norm")
def conv_row_norm(
    x: Tensor,
    weight: Tensor,
    conv_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    step: int,
    centered: bool,
    act: bool,
    eps: float,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """The formula above, and ``conv(x)`` where it is to be kept for the backward pass, else empty.

    x: [B, T, H, W, C]; weight: [O, C, kt, kh, kw]; step: pixels from one output to the next.
    """
    z = x.new_empty(size_of(x, weight, step))
    y = torch.empty_like(z) if keep else z.new_empty(0)
    n, tile = z.shape[1:-1].numel(), tile_of(x, weight, step)
    launch(
        _conv_row_norm_kernel,
        x.shape[0] * ceil_div(n, tile.rows),
        *(x, packed(x, weight), conv_bias, residual, norm_weight, norm_bias, scale, shift),
        *(z, y if keep else None, stride(scale), stride(shift), *x.shape[1:4], n, eps),
        **tile.constants,
        CENTERED=centered,
        ACT=act,
        warps=tile.warps,
        stages=tile.stages,
    )
    return z, y


@conv_row_norm.register_fake
def _(x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    z = x.new_empty(size_of(x, weight, rest[6]))
    return z, torch.empty_like(z) if rest[-1] else z.new_empty(0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, residual, ctx.step, centered, act, eps, _ = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.has_residual, ctx.options = residual is not None, (centered, act, eps)


def _gradients(ctx: Any, dz: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *given, y = ctx.saved_tensors
    dy, *rest = row_norm_backward(dz.contiguous(), y, *given, *ctx.options)
    dx, dw = conv_gradients(dy, x, weight, stride=ctx.step)
    grads = (g if g.numel() else None for g in rest)
    return dx, dw, *grads, dz if ctx.has_residual else None, *[None] * 5


conv_row_norm.register_autograd(_gradients, setup_context=_save)
