"""Norm of each row over its channels, FiLM, SiLU and a residual, in one pass each way.

``z = act(xhat * gain + offset) + residual``, ``gain = weight * (1 + scale)``,
``offset = bias * (1 + scale) + shift``; ``xhat = x * sqrt(C) / max(|x|, eps)`` (RMS) or, if
``centered``, ``(x - mean) / sqrt(var + eps)`` (layer norm).

Backward, with ``dv = dz * act'(v)`` and ``g = dv * gain``: ``dx = r * (g - xhat *
mean(g * xhat))``, less ``r * mean(g)`` if centred. The gradients of gain and offset are summed over
a program's rows, then over the programs in a fixed order: two runs are bit-equal.
"""

from typing import Any

import torch
from torch import Tensor

from .launch import accumulator, ceil_div, jit, launch, parts_of, power_of_2, tl
from .modulation import modulation, modulation_backward, rows, stride

FORWARD_TILE, BACKWARD_TILE = 4096, 2048
"""Elements of x that a program holds at once: more would leave a processor to few warps."""
MAX_CHANNELS = 8192


@jit
def _normalize(x, mask, eps, C: tl.constexpr, CENTERED: tl.constexpr):
    """xhat, and what x was multiplied with; a NaN reaches all of its row."""
    if CENTERED:
        x = tl.where(mask, x - (tl.sum(x, axis=1) / C)[:, None], 0.0)
        # what the first mean was rounded off by: it shows where rows lie far from zero
        x = tl.where(mask, x - (tl.sum(x, axis=1) / C)[:, None], 0.0)
        r = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / C + eps)
    else:
        mean_square = tl.sum(x * x, axis=1) / C
        r = 1.0 / tl.sqrt(tl.where(mean_square * C < eps * eps, eps * eps / C, mean_square))
    return x * r[:, None], r


@jit
def _row_norm_fwd_kernel(
    x_ptr,
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
    rows, c = first + tl.arange(0, ROWS), tl.arange(0, COLS)
    mask = (rows < N)[:, None] & (c < C)[None, :]
    at = (sample * N + rows)[:, None] * C + c[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(ACC)
    gain, offset = modulation(
        *(w_ptr, b_ptr, scale_ptr, shift_ptr, scale_stride, shift_stride),
        *(sample, c, C, HAS_BIAS, HAS_FILM, ACC),
    )
    xhat, _ = _normalize(x, mask, eps, C, CENTERED)
    z = xhat * gain[None, :] + offset[None, :]
    if ACT:
        z = z * tl.sigmoid(z)
    if HAS_RESIDUAL:
        z += tl.load(residual_ptr + at, mask=mask, other=0.0).to(ACC)
    tl.store(z_ptr + at, z.to(z_ptr.dtype.element_ty), mask=mask)


@jit
def _row_norm_bwd_kernel(
    dz_ptr,
    x_ptr,
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
    d_gain, d_offset = tl.zeros_like(gain), tl.zeros_like(gain)
    for first in range(part * ROWS, N, parts * ROWS):
        rows = first + tl.arange(0, ROWS)
        mask = (rows < N)[:, None] & (c < C)[None, :]
        at = (sample * N + rows)[:, None] * C + c[None, :]
        x = tl.load(x_ptr + at, mask=mask, other=0.0).to(ACC)
        dv = tl.load(dz_ptr + at, mask=mask, other=0.0).to(ACC)
        xhat, r = _normalize(x, mask, eps, C, CENTERED)
        if ACT:
            v = xhat * gain[None, :] + offset[None, :]
            s = tl.sigmoid(v)
            dv *= s * (1.0 + v * (1.0 - s))
        d_gain += tl.sum(dv * xhat, axis=0)
        d_offset += tl.sum(dv, axis=0)
        g = dv * gain[None, :]
        dx = g - xhat * (tl.sum(g * xhat, axis=1) / C)[:, None]
        if CENTERED:
            dx -= (tl.sum(g, axis=1) / C)[:, None]
        dx *= r[:, None]
        tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    to = sums_ptr + (sample * parts + part) * 2 * C + c
    tl.store(to, d_gain, mask=c < C)
    tl.store(to + C, d_offset, mask=c < C)


def _blocks(c: int, tile: int) -> dict[str, int]:
    cols = power_of_2(c)
    return {"C": c, "COLS": cols, "ROWS": max(1, tile // cols)}


@torch.library.custom_op("fastvd::row_norm", mutates_args=())
def row_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    residual: Tensor | None,
    centered: bool,
    act: bool,
    eps: float,
) -> Tensor:
    """The formula above; x, residual: [B, ..., C]; weight, bias: [C]; scale, shift: [B, C]."""
    z = torch.empty_like(x)
    b, c = x.shape[0], x.shape[-1]
    n, blocks = x.numel() // max(1, b * c), _blocks(c, FORWARD_TILE)
    launch(
        _row_norm_fwd_kernel,
        b * ceil_div(n, blocks["ROWS"]),
        *(x, residual, weight, bias, scale, shift, z, stride(scale), stride(shift), n, eps),
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


@torch.library.custom_op("fastvd::row_norm_backward", mutates_args=())
def row_norm_backward(
    dz: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    centered: bool,
    act: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias, scale and shift; empty where there is none."""
    dx = torch.empty_like(x)
    b, c = x.shape[0], x.shape[-1]
    n, blocks, acc = x.numel() // max(1, b * c), _blocks(c, BACKWARD_TILE), accumulator(x)
    parts = parts_of(ceil_div(n, blocks["ROWS"]), b, x)
    sums = x.new_empty(b, parts, 2, c, dtype=torch.float64 if acc is tl.float64 else torch.float32)
    flags = {"HAS_BIAS": bias is not None, "HAS_FILM": scale is not None, "ACC": acc}
    launch(
        _row_norm_bwd_kernel,
        b * parts,
        *(dz, x, weight, bias, scale, shift, dx, sums),
        *(stride(scale), stride(shift), n, eps, parts),
        **blocks,
        **flags,
        CENTERED=centered,
        ACT=act,
    )
    return dx, *modulation_backward(sums, weight, bias, scale)


@row_norm_backward.register_fake
def _(
    _dz: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    _shift: Tensor | None,
    *_: Any,
) -> tuple[Tensor, ...]:
    none = weight.new_empty(0)
    film = (
        (none, none)
        if scale is None
        else (scale.new_empty(scale.shape), scale.new_empty(scale.shape))
    )
    db = none if bias is None else torch.empty_like(bias)
    return torch.empty_like(x), torch.empty_like(weight), db, *film


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, weight, bias, scale, shift, residual, *ctx.options = inputs
    ctx.save_for_backward(x, weight, bias, scale, shift)
    ctx.has_residual = residual is not None


def _gradients(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias, scale, shift = ctx.saved_tensors
    dx, dw, *rest = row_norm_backward(dz.contiguous(), x, weight, bias, scale, shift, *ctx.options)
    db, dscale, dshift = (g if g.numel() else None for g in rest)
    return dx, dw, db, dscale, dshift, dz if ctx.has_residual else None, None, None, None


row_norm.register_autograd(_gradients, setup_context=_save)


def row_norm_act(
    x: Tensor,
    affine: tuple[Tensor, Tensor | None],
    film: tuple[Tensor, Tensor] | None,
    residual: Tensor | None,
    *,
    centered: bool,
    act: bool,
    eps: float,
) -> Tensor:
    """``row_norm`` of tensors in any layout: those that are not contiguous are copied."""
    weight, bias = affine
    scale, shift = map(rows, film or (None, None))
    residual = None if residual is None else residual.to(x.dtype).contiguous()
    bias = None if bias is None else bias.contiguous()
    z: Tensor = row_norm(
        *(x.contiguous(), weight.contiguous(), bias, scale, shift, residual, centered, act, eps)
    )
    return z


def row_limit(x: Tensor) -> str:
    """What of ``x`` the kernel does not take."""
    c = x.shape[-1]
    return f"{c} channels are more than {MAX_CHANNELS}" if c > MAX_CHANNELS else ""
