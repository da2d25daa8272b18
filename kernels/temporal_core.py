"""Attention over the frames of each pixel, on q, k and v side by side as a projection gives them.

Per pixel and head: ``q, k`` turned by rotary angles, ``p = softmax(q k^T / sqrt(D) + bias)``,
``o = p v``; in a sample with ``focus_present`` a frame sees itself alone.

Backward, p computed anew: with ``dp = do v^T`` and ``ds = p * (dp - rowsum(p * dp))``,
``dq = ds k / sqrt(D)``, ``dk = ds^T q / sqrt(D)``, both turned back, ``dv = p^T do``. The gradient
of the bias is ds, summed over a program's pixels, then over the programs in a fixed order: two runs
are bit-equal.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .launch import MOST_REGISTERS, arch, ceil_div, jit, launch, parts_of, power_of_2, precision, tl
from .ops import op
from .rows import turn
from .temporal_pairs import (
    angles,
    base_2,
    bias_places,
    load_turned,
    pair_product,
    places,
    seen_frames,
    softmax_rows,
)

LEAST_FRAMES, MAX_FRAMES = 16, 64
LEAST_HEAD_DIM = 16
TILE = 8192
"""Bytes of q in a tile, at most: more would not stay in registers."""
WARPS = 4
BLACKWELL = 100


@jit
def _temporal_core_fwd_kernel(
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    bias_ptr,
    focus_ptr,
    o_ptr,
    B,
    N,
    T,
    parts,
    scale,
    HEADS: tl.constexpr,
    HB: tl.constexpr,
    G: tl.constexpr,
    F: tl.constexpr,
    D: tl.constexpr,
    R: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_FOCUS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program for HB heads of every ``parts``-th tile."""
    groups: tl.constexpr = (HEADS + HB - 1) // HB
    heads_before = tl.program_id(0) % groups * HB
    WIDE: tl.constexpr = HEADS * D
    cos, sin = angles(cos_ptr, sin_ptr, T, R, F, D)
    if HAS_BIAS:
        bias_at, there = bias_places(bias_ptr, heads_before, T, HEADS, HB, G, F)
        bias = base_2(tl.load(bias_at, mask=there, other=0.0).to(tl.float32))
    for tile in range(tl.program_id(0) // groups, tl.cdiv(B * N, G // HB), parts):
        token, column, real, sample = places(tile, heads_before, B, N, T, HEADS, HB, G, F, D)
        at = qkv_ptr + token * (3 * WIDE) + column
        q, k, v = load_turned(at, real, cos, sin, WIDE, R)
        scores = pair_product(q, tl.permute(k, (0, 2, 1)), PRECISION) * base_2(scale)
        if HAS_BIAS:
            scores += bias
        p, total = softmax_rows(scores, seen_frames(focus_ptr, sample, B, T, F, G, HAS_FOCUS))
        o = pair_product(p.to(v.dtype), v, PRECISION) * (1.0 / total)
        o = tl.permute(o, (1, 0, 2)).to(o_ptr.dtype.element_ty)
        tl.store(o_ptr + token * WIDE + column, o, mask=real)


@jit
def _temporal_core_bwd_kernel(
    do_ptr,
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    bias_ptr,
    focus_ptr,
    dqkv_ptr,
    dbias_ptr,
    B,
    N,
    T,
    parts,
    scale,
    HEADS: tl.constexpr,
    HB: tl.constexpr,
    G: tl.constexpr,
    F: tl.constexpr,
    D: tl.constexpr,
    R: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_FOCUS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program for HB heads of every ``parts``-th tile; dbias: [parts * G / HB, HEADS, T, T]."""
    groups: tl.constexpr = (HEADS + HB - 1) // HB
    heads_before = tl.program_id(0) % groups * HB
    WIDE: tl.constexpr = HEADS * D
    cos, sin = angles(cos_ptr, sin_ptr, T, R, F, D)
    if HAS_BIAS:
        bias_at, there = bias_places(bias_ptr, heads_before, T, HEADS, HB, G, F)
        bias = base_2(tl.load(bias_at, mask=there, other=0.0).to(tl.float32))
        dbias = tl.zeros([G, F, F], tl.float32)
    for tile in range(tl.program_id(0) // groups, tl.cdiv(B * N, G // HB), parts):
        token, column, real, sample = places(tile, heads_before, B, N, T, HEADS, HB, G, F, D)
        at = qkv_ptr + token * (3 * WIDE) + column
        q, k, v = load_turned(at, real, cos, sin, WIDE, R)
        do = tl.load(do_ptr + token * WIDE + column, mask=real, other=0.0)
        do = tl.permute(do, (1, 0, 2))
        scores = pair_product(q, tl.permute(k, (0, 2, 1)), PRECISION) * base_2(scale)
        if HAS_BIAS:
            scores += bias
        seen = seen_frames(focus_ptr, sample, B, T, F, G, HAS_FOCUS)
        p, total = softmax_rows(scores, seen)
        p *= 1.0 / total
        dp = pair_product(do, tl.permute(v, (0, 2, 1)), PRECISION)
        ds = p * (dp - tl.sum(p * dp, axis=2)[:, :, None])
        # an infinite v makes NaN of padding's zeros
        ds = tl.where(seen & (tl.arange(0, F) < T)[None, :, None], ds, 0.0)
        if HAS_BIAS:
            dbias += ds
        ds = ds.to(q.dtype)
        at = dqkv_ptr + token * (3 * WIDE) + column
        # one gradient after another: all three would take too many registers
        dv = pair_product(tl.permute(p.to(q.dtype), (0, 2, 1)), do, PRECISION)
        tl.store(at + 2 * WIDE, tl.permute(dv, (1, 0, 2)).to(q.dtype), mask=real)
        dq = tl.permute(pair_product(ds, k, PRECISION) * scale, (1, 0, 2))
        tl.store(at, turn(dq, cos, -sin, R).to(q.dtype), mask=real)
        dk = pair_product(tl.permute(ds, (0, 2, 1)), q, PRECISION) * scale
        dk = turn(tl.permute(dk, (1, 0, 2)), cos, -sin, R)
        tl.store(at + WIDE, dk.to(q.dtype), mask=real)
    if HAS_BIAS:
        part = tl.program_id(0) // groups * (G // HB) + tl.arange(0, G) // HB
        dbias_at, _ = bias_places(dbias_ptr, heads_before, T, HEADS, HB, G, F)
        tl.store(dbias_at + part[:, None, None] * (HEADS * T * T), dbias, mask=there)


class _Plan(NamedTuple):
    """How a kernel is started."""

    programs: int
    shares: int
    "shares that a gradient of the bias is the sum of"
    sizes: tuple[int | float, ...]
    constants: dict[str, Any]


def _plan(qkv: Tensor, cos: Tensor | None, has_bias: bool, has_focus: bool, heads: int) -> _Plan:
    b, t, h, w, width = qkv.shape
    d, f = width // (3 * heads), max(LEAST_FRAMES, power_of_2(t))
    size = f * d * qkv.element_size()
    # a pair a warp: two would leave a processor to few warps
    pairs = WARPS if f == LEAST_FRAMES and size <= TILE // WARPS else 1
    together = min(pairs, power_of_2(heads))
    groups, pixels = ceil_div(heads, together), pairs // together
    parts = parts_of(ceil_div(b * h * w, pixels), groups, qkv)
    constants = {
        "warps": 2 * WARPS if f == MAX_FRAMES or size == TILE else WARPS,
        "HEADS": heads,
        "HB": together,
        "G": pairs,
        "F": f,
        "D": d,
        "R": 0 if cos is None else cos.shape[1],
        "HAS_BIAS": has_bias,
        "HAS_FOCUS": has_focus,
        "PRECISION": precision(),
    }
    return _Plan(groups * parts, parts * pixels, (b, h * w, t, parts, d**-0.5), constants)


@op("temporal_core")
def temporal_core(
    qkv: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    bias: Tensor | None,
    focus_present: Tensor | None,
    heads: int,
) -> Tensor:
    """The formula above, o [B, T, H, W, heads * D].

    qkv: [B, T, H, W, 3 * heads * D]; cos, sin: float32 [T, R], R <= D / 2; bias: [heads, T, T];
    focus_present: bool [B]; all contiguous. Differentiable in qkv and bias.
    """
    o = qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)
    plan = _plan(qkv, cos, bias is not None, focus_present is not None, heads)
    tensors = (qkv, cos, sin, bias, focus_present, o)
    # on Blackwell it spills otherwise, to fit programs in that the others don't have
    registers = MOST_REGISTERS if arch() >= BLACKWELL else None
    launch(
        *(_temporal_core_fwd_kernel, plan.programs, *tensors, *plan.sizes),
        registers=registers,
        **plan.constants,
    )
    return o


@temporal_core.register_fake
def _(qkv: Tensor, *_: Any) -> Tensor:
    return qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)


@op("temporal_core_backward")
def temporal_core_backward(
    do: Tensor,
    qkv: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    bias: Tensor | None,
    focus_present: Tensor | None,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Gradients of qkv and bias; empty where there is no bias."""
    dqkv, t = torch.empty_like(qkv), qkv.shape[1]
    plan = _plan(qkv, cos, bias is not None, focus_present is not None, heads)
    shares = 0 if bias is None else plan.shares
    dbias = qkv.new_empty(shares, heads, t, t, dtype=torch.float32)
    tensors = (do, qkv, cos, sin, bias, focus_present, dqkv, dbias)
    launch(_temporal_core_bwd_kernel, plan.programs, *tensors, *plan.sizes, **plan.constants)
    return dqkv, qkv.new_empty(0) if bias is None else dbias.sum(dim=0).to(bias.dtype)


@temporal_core_backward.register_fake
def _(
    _do: Tensor, qkv: Tensor, _cos: Tensor | None, _sin: Tensor | None, bias: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(qkv), qkv.new_empty(0) if bias is None else torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.heads = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors  # once: gradient checkpointing makes them anew
    dqkv, dbias = temporal_core_backward(do.contiguous(), *tensors, ctx.heads)
    return dqkv, None, None, None if tensors[3] is None else dbias, None, None


temporal_core.register_autograd(_gradients, setup_context=_save)


def core_limit(frames: int, head_dim: int, dtype: torch.dtype) -> str:
    """What the kernel does not take of q, k and v in ``dtype``."""
    most = TILE // (max(LEAST_FRAMES, power_of_2(frames)) * dtype.itemsize)
    if head_dim & (head_dim - 1) or not LEAST_HEAD_DIM <= head_dim <= most:
        return f"heads of {head_dim} channels, not a power of 2 in {LEAST_HEAD_DIM}..{most}"
    return ""
