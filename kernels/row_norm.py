"""Norm of each row over its channels, FiLM, SiLU and a residual, in one pass each way.

``z = act(xhat * gain + offset) + residual``, ``gain = weight * (1 + scale)``,
``offset = bias * (1 + scale) + shift``; ``xhat = x * sqrt(C) / max(|x|, eps)`` (RMS) or, if
``centered``, ``(x - mean) / sqrt(var + eps)`` (layer norm). First of all, the bias of the
convolution that made x is added to it.

Backward, with ``dv = dz * act'(v)`` and ``g = dv * gain``: ``dx = r * (g - xhat *
mean(g * xhat))``, less ``r * mean(g)`` if centred. The gradients of gain and offset are summed over
a program's rows, then over the programs in a fixed order: two runs are bit-equal.
"""

from typing import Any

import torch
from torch import Tensor

from .checks import Film
from .launch import accumulator, ceil_div, jit, launch, parts_of, power_of_2, tl
from .modulation import channel_or_zero, modulation, modulation_backward, rows, stride
from .ops import op
from .rows import normalize
from .sigmoid import d_silu, silu

FORWARD_TILE, BACKWARD_TILE = 4096, 2048
"""Elements of x that a program holds at once: more would leave a processor to few warps."""
MAX_CHANNELS = 8192


@jit
def _load_tile(
    x_ptr,
    conv_bias,
    first,
    sample,
    N,
    c,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    ACC: tl.constexpr,
):
    """Rows of a sample from ``first``, where they lie, and which of them are there."""
    rows = first + tl.arange(0, ROWS)
    mask = (rows < N)[:, None] & (c < C)[None, :]
    at = (sample * N + rows)[:, None] * C + c[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(ACC) + conv_bias[None, :]
    return x, at, mask


@jit
def _row_norm_fwd_kernel(
    x_ptr,
    conv_bias_ptr,
    residual_ptr,
    w_ptr,
    b_ptr,
    scale_ptr,
    shift_ptr,
    z_ptr,
    scale_stride,
    shift_stride,
    N,
    eps,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    CENTERED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_FILM: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    ACT: tl.constexpr,
    ACC: tl.constexpr,
):
    tiles = tl.cdiv(N, ROWS)
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    first = (tl.program_id(0) % tiles) * ROWS
    c = tl.arange(0, COLS)
    conv_bias = channel_or_zero(conv_bias_ptr, c, c < C, ACC)
    x, at, mask = _load_tile(x_ptr, conv_bias, first, sample, N, c, C, ROWS, ACC)
    gain, offset = modulation(
        *(w_ptr, b_ptr, scale_ptr, shift_ptr, scale_stride, shift_stride),
        *(sample, c, C, HAS_BIAS, HAS_FILM, ACC),
    )
    xhat, _ = normalize(x, eps, C, CENTERED)
    z = xhat * gain[None, :] + offset[None, :]
    if ACT:
        z = silu(z)
    if HAS_RESIDUAL:
        z += tl.load(residual_ptr + at, mask=mask, other=0.0).to(ACC)
    tl.store(z_ptr + at, z.to(z_ptr.dtype.element_ty), mask=mask)


@jit
def _row_norm_bwd_kernel(
    dz_ptr,
    x_ptr,
    conv_bias_ptr,
    w_ptr,
    b_ptr,
    scale_ptr,
    shift_ptr,
    dx_ptr,
    sums_ptr,
    scale_stride,
    shift_stride,
    N,
    eps,
    parts,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    CENTERED: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_FILM: tl.constexpr,
    ACT: tl.constexpr,
    ACC: tl.constexpr,
):
    sample = (tl.program_id(0) // parts).to(tl.int64)
    part = tl.program_id(0) % parts
    c = tl.arange(0, COLS)
    gain, offset = modulation(
        *(w_ptr, b_ptr, scale_ptr, shift_ptr, scale_stride, shift_stride),
        *(sample, c, C, HAS_BIAS, HAS_FILM, ACC),
    )
    d_gain, d_offset, d_conv_bias = tl.zeros_like(gain), tl.zeros_like(gain), tl.zeros_like(gain)
    conv_bias = channel_or_zero(conv_bias_ptr, c, c < C, ACC)
    for first in range(part * ROWS, N, parts * ROWS):
        x, at, mask = _load_tile(x_ptr, conv_bias, first, sample, N, c, C, ROWS, ACC)
        dv = tl.load(dz_ptr + at, mask=mask, other=0.0).to(ACC)
        xhat, r = normalize(x, eps, C, CENTERED)
        if ACT:
            dv *= d_silu(xhat * gain[None, :] + offset[None, :])
        share = dv * xhat
        d_gain += tl.sum(share, axis=0)
        d_offset += tl.sum(dv, axis=0)
        g = dv * gain[None, :]
        # the same numbers: each norm stays in registers by one of these
        along = g * xhat if CENTERED else share * gain[None, :]
        dx = g - xhat * (tl.sum(along, axis=1) / C)[:, None]
        if CENTERED:
            dx -= (tl.sum(g, axis=1) / C)[:, None]
        dx *= r[:, None]
        if conv_bias_ptr is not None:
            d_conv_bias += tl.sum(dx, axis=0)
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    to = sums_ptr + (sample * parts + part) * (2 if conv_bias_ptr is None else 3) * C + c
    tl.store(to, d_gain, mask=c < C)
    tl.store(to + C, d_offset, mask=c < C)
    if conv_bias_ptr is not None:
        tl.store(to + 2 * C, d_conv_bias, mask=c < C)


def _blocks(c: int, tile: int) -> dict[str, int]:
    cols = power_of_2(c)
    return {"C": c, "COLS": cols, "ROWS": max(1, tile // cols)}


@op("row_norm")
def row_norm(
    x: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    centered: bool,
    act: bool,
    eps: float,
) -> Tensor:
    """The formula above; x, residual: [B, ..., C]; scale, shift: [B, C]; the others: [C]."""
    z = torch.empty_like(x)
    b, c = x.shape[0], x.shape[-1]
    n, blocks = x.numel() // max(1, b * c), _blocks(c, FORWARD_TILE)
    launch(
        _row_norm_fwd_kernel,
        b * ceil_div(n, blocks["ROWS"]),
        *(x, conv_bias, residual, weight, bias, scale, shift, z),
        *(stride(scale), stride(shift), n, eps),
        **blocks,
        CENTERED=centered,
        HAS_BIAS=bias is not None,
        HAS_FILM=scale is not None,
        HAS_RESIDUAL=residual is not None,
        ACT=act,
        ACC=accumulator(x),
    )
    return z


@row_norm.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


@op("row_norm_backward")
def row_norm_backward(
    dz: Tensor,
    x: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    centered: bool,
    act: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, conv_bias, weight, bias, scale and shift; empty where there is none."""
    dx = torch.empty_like(x)
    b, c = x.shape[0], x.shape[-1]
    n, blocks, acc = x.numel() // max(1, b * c), _blocks(c, BACKWARD_TILE), accumulator(x)
    parts = parts_of(ceil_div(n, blocks["ROWS"]), b, x)
    kinds = 2 if conv_bias is None else 3
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    sums = x.new_empty(b, parts, kinds, c, dtype=dtype)
    launch(
        _row_norm_bwd_kernel,
        b * parts,
        *(dz, x, conv_bias, weight, bias, scale, shift, dx, sums),
        *(stride(scale), stride(shift), n, eps, parts),
        **blocks,
        CENTERED=centered,
        HAS_BIAS=bias is not None,
        HAS_FILM=scale is not None,
        ACT=act,
        ACC=acc,
    )
    if conv_bias is None:
        d_conv_bias = weight.new_empty(0)
    else:
        d_conv_bias = sums[:, :, 2].sum(dim=(0, 1)).to(conv_bias.dtype)
    return dx, d_conv_bias, *modulation_backward(sums, weight, bias, scale)


@row_norm_backward.register_fake
def _(
    _dz: Tensor,
    x: Tensor,
    conv_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    _shift: Tensor | None,
    *_: Any,
) -> tuple[Tensor, ...]:
    none = weight.new_empty(0)
    per_channel = (none if t is None else t.new_empty(t.shape) for t in (conv_bias, weight, bias))
    rows = none if scale is None else scale.new_empty(scale.shape)
    return torch.empty_like(x), *per_channel, rows, torch.empty_like(rows)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, residual, centered, act, eps = inputs
    ctx.save_for_backward(*tensors)
    ctx.has_residual, ctx.options = residual is not None, (centered, act, eps)


def _gradients(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors  # once: gradient checkpointing makes them anew
    dx, *rest = row_norm_backward(dz.contiguous(), *tensors, *ctx.options)
    given = (None if t is None else g for t, g in zip(tensors[1:], rest, strict=True))
    return dx, *given, dz if ctx.has_residual else None, None, None, None


row_norm.register_autograd(_gradients, setup_context=_save)


def row_norm_act(
    x: Tensor,
    affine: tuple[Tensor, Tensor | None],
    film: Film | None,
    residual: Tensor | None,
    *,
    centered: bool,
    act: bool,
    eps: float,
    conv_bias: Tensor | None = None,
) -> Tensor:
    """``row_norm`` of tensors in any layout: those that are not contiguous are copied."""
    per_channel = (t if t is None else t.contiguous() for t in (conv_bias, *affine))
    film_rows = map(rows, film or (None, None))
    residual = None if residual is None else residual.to(x.dtype).contiguous()
    z: Tensor = row_norm(x.contiguous(), *per_channel, *film_rows, residual, centered, act, eps)
    return z


def row_limit(c: int) -> str:
    """What of rows of ``c`` channels the kernel does not take."""
    return f"{c} channels are more than {MAX_CHANNELS}" if c > MAX_CHANNELS else ""
