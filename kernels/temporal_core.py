"""Attention over the frames of each pixel, on q, k and v side by side as a projection gives them.

Per pixel and head: ``q, k`` turned by rotary angles, ``p = softmax(q k^T / sqrt(D) + bias)``,
``o = p v``; in a sample with ``focus_present`` a frame sees itself alone.

Backward, p computed anew: with ``dp = do v^T`` and ``ds = p * (dp - rowsum(p * dp))``,
``dq = ds k / sqrt(D)``, ``dk = ds^T q / sqrt(D)``, both turned back, ``dv = p^T do``. The gradient
of the bias is ds, summed over a program's pixels, then over the programs in a fixed order: two runs
are bit-equal.

A tile holds G pairs of a pixel and a head, heads that lie side by side first, with F frames each.
Products are taken pair by pair: nothing passes from one pixel to another, not even a NaN.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .launch import ceil_div, jit, launch, parts_of, power_of_2, precision, tl

LEAST_FRAMES, MAX_FRAMES = 16, 64
LEAST_HEAD_DIM = 16
TILE = 8192
"""Bytes of q in a tile: more would not stay in registers."""
WARPS = 4


@jit
def _places(
    tile,
    heads_before,
    B,
    N,
    T,
    HEADS: tl.constexpr,
    HB: tl.constexpr,
    G: tl.constexpr,
    F: tl.constexpr,
    D: tl.constexpr,
):
    """Token [F, G, 1] and column [1, G, D] of each element, which are real; samples [G]."""
    g, f = tl.arange(0, G), tl.arange(0, F)
    pixel = tile * (G // HB) + g // HB
    head = heads_before + g % HB
    sample = pixel // N
    frame = sample[None, :].to(tl.int64) * T + f[:, None]
    token = frame * N + (pixel % N)[None, :]
    column = head[:, None] * D + tl.arange(0, D)[None, :]
    real = (f < T)[:, None] & ((sample < B) & (head < HEADS))[None, :]
    return token[:, :, None], column[None, :, :], real[:, :, None], sample


@jit
def _angles(cos_ptr, sin_ptr, T, R: tl.constexpr, F: tl.constexpr, D: tl.constexpr):
    """Cosine and sine [F, 1, D / 2] of each pair of channels; pairs from R on are not turned."""
    f, r = tl.arange(0, F)[:, None, None], tl.arange(0, D // 2)[None, None, :]
    mask = (f < T) & (r < R)
    cos = tl.load(cos_ptr + f * R + r, mask=mask, other=1.0)
    return cos, tl.load(sin_ptr + f * R + r, mask=mask, other=0.0)


@jit
def _turn(x, cos, sin, F: tl.constexpr, G: tl.constexpr, D: tl.constexpr):
    """Neighbouring channels of x [F, G, D], turned."""
    even, odd = tl.split(tl.reshape(x.to(tl.float32), [F, G, D // 2, 2]))
    turned = tl.join(even * cos - odd * sin, odd * cos + even * sin)
    return tl.reshape(turned, [F, G, D]).to(x.dtype)


@jit
def _bias_at(
    bias_ptr,
    heads_before,
    T,
    HEADS: tl.constexpr,
    HB: tl.constexpr,
    G: tl.constexpr,
    F: tl.constexpr,
):
    """Place [G, F, F] of each score in the bias, and which are there."""
    head = heads_before + (tl.arange(0, G) % HB)[:, None, None]
    i, j = tl.arange(0, F)[None, :, None], tl.arange(0, F)[None, None, :]
    return bias_ptr + (head * T + i) * T + j, (head < HEADS) & (i < T) & (j < T)


@jit
def _seen(focus_ptr, sample, B, T, F: tl.constexpr, G: tl.constexpr, HAS_FOCUS: tl.constexpr):
    """Which frames [G, F, F] a frame looks at: always itself, so that no row is empty."""
    i, j = tl.arange(0, F)[None, :, None], tl.arange(0, F)[None, None, :]
    others = tl.broadcast_to(j < T, [G, F, F])
    if HAS_FOCUS:
        focus = tl.load(focus_ptr + sample, mask=sample < B, other=0) != 0
        others = others & ~focus[:, None, None]
    return others | (i == j)


@jit
def _product(a, b, PRECISION: tl.constexpr):
    """a b for each pair; a single pair as plain matrices, which all warps share."""
    if a.shape[0] == 1:
        a = tl.reshape(a, [a.shape[1], a.shape[2]])
        b = tl.reshape(b, [b.shape[1], b.shape[2]])
        product = tl.dot(a, b, input_precision=PRECISION)[None, :, :]
    else:
        product = tl.dot(a, b, input_precision=PRECISION)
    return product


@jit
def _base_2(x):
    """What 2 is raised to, to give exp(x)."""
    return x * 1.4426950408889634


@jit
def _softmax(scores, seen):
    """Weights of each row before they are divided by their sum, and that sum; base 2."""
    scores = tl.where(seen, scores, float("-inf"))
    p = tl.exp2(scores - tl.max(scores, axis=2)[:, :, None])
    return p, tl.sum(p, axis=2)[:, :, None]


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
    if R:
        cos, sin = _angles(cos_ptr, sin_ptr, T, R, F, D)
    if HAS_BIAS:
        bias_at, there = _bias_at(bias_ptr, heads_before, T, HEADS, HB, G, F)
        bias = _base_2(tl.load(bias_at, mask=there, other=0.0).to(tl.float32))
    for tile in range(tl.program_id(0) // groups, tl.cdiv(B * N, G // HB), parts):
        token, column, real, sample = _places(tile, heads_before, B, N, T, HEADS, HB, G, F, D)
        at = qkv_ptr + token * (3 * WIDE) + column
        q = tl.load(at, mask=real, other=0.0)
        k = tl.load(at + WIDE, mask=real, other=0.0)
        v = tl.load(at + 2 * WIDE, mask=real, other=0.0)
        if R:
            q, k = _turn(q, cos, sin, F, G, D), _turn(k, cos, sin, F, G, D)
        q, k, v = tl.permute(q, (1, 0, 2)), tl.permute(k, (1, 2, 0)), tl.permute(v, (1, 0, 2))
        scores = _product(q, k, PRECISION) * _base_2(scale)
        if HAS_BIAS:
            scores += bias
        p, total = _softmax(scores, _seen(focus_ptr, sample, B, T, F, G, HAS_FOCUS))
        o = _product(p.to(v.dtype), v, PRECISION) / total
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
    if R:
        cos, sin = _angles(cos_ptr, sin_ptr, T, R, F, D)
    if HAS_BIAS:
        bias_at, there = _bias_at(bias_ptr, heads_before, T, HEADS, HB, G, F)
        bias = _base_2(tl.load(bias_at, mask=there, other=0.0).to(tl.float32))
        dbias = tl.zeros([G, F, F], tl.float32)
    for tile in range(tl.program_id(0) // groups, tl.cdiv(B * N, G // HB), parts):
        token, column, real, sample = _places(tile, heads_before, B, N, T, HEADS, HB, G, F, D)
        at = qkv_ptr + token * (3 * WIDE) + column
        q = tl.load(at, mask=real, other=0.0)
        k = tl.load(at + WIDE, mask=real, other=0.0)
        v = tl.load(at + 2 * WIDE, mask=real, other=0.0)
        do = tl.load(do_ptr + token * WIDE + column, mask=real, other=0.0)
        if R:
            q, k = _turn(q, cos, sin, F, G, D), _turn(k, cos, sin, F, G, D)
        q, k = tl.permute(q, (1, 0, 2)), tl.permute(k, (1, 0, 2))
        v, do = tl.permute(v, (1, 2, 0)), tl.permute(do, (1, 0, 2))
        scores = _product(q, tl.permute(k, (0, 2, 1)), PRECISION)
        scores *= _base_2(scale)
        if HAS_BIAS:
            scores += bias
        seen = _seen(focus_ptr, sample, B, T, F, G, HAS_FOCUS)
        p, total = _softmax(scores, seen)
        p /= total
        dp = _product(do, v, PRECISION)
        ds = p * (dp - tl.sum(p * dp, axis=2)[:, :, None])
        ds = tl.where(seen, ds, 0.0)
        if HAS_BIAS:
            dbias += ds
        ds = ds.to(q.dtype)
        dv = _product(tl.permute(p.to(q.dtype), (0, 2, 1)), do, PRECISION)
        dq = _product(ds, k, PRECISION) * scale
        dk = _product(tl.permute(ds, (0, 2, 1)), q, PRECISION) * scale
        dq, dk = tl.permute(dq, (1, 0, 2)), tl.permute(dk, (1, 0, 2))
        if R:
            dq, dk = _turn(dq, cos, -sin, F, G, D), _turn(dk, cos, -sin, F, G, D)
        at = dqkv_ptr + token * (3 * WIDE) + column
        tl.store(at, dq.to(q.dtype), mask=real)
        tl.store(at + WIDE, dk.to(q.dtype), mask=real)
        tl.store(at + 2 * WIDE, tl.permute(dv, (1, 0, 2)).to(q.dtype), mask=real)
    if HAS_BIAS:
        part = tl.program_id(0) // groups * (G // HB) + tl.arange(0, G) // HB
        dbias_at, _ = _bias_at(dbias_ptr, heads_before, T, HEADS, HB, G, F)
        tl.store(dbias_at + part[:, None, None] * (HEADS * T * T), dbias, mask=there)


class _Launch(NamedTuple):
    """How a kernel is started: programs, their shares of the pixels, warps and constants."""

    programs: int
    parts: int
    pairs: int
    warps: int
    constants: dict[str, Any]


def _launch_of(qkv: Tensor, cos: Tensor | None, heads: int) -> _Launch:
    b, t, h, w, width = qkv.shape
    d = width // (3 * heads)
    f = max(LEAST_FRAMES, power_of_2(t))
    size = f * d * qkv.element_size()
    # a pair among others has one warp, for which more would be too much
    pairs = TILE // size if f == LEAST_FRAMES and size <= TILE // WARPS else 1
    together = min(pairs, power_of_2(heads))
    groups = ceil_div(heads, together)
    parts = parts_of(ceil_div(b * h * w, pairs // together), groups, qkv)
    constants = {
        "HEADS": heads,
        "HB": together,
        "G": pairs,
        "F": f,
        "D": d,
        "R": 0 if cos is None else cos.shape[1],
        "PRECISION": precision(),
    }
    warps = 2 * WARPS if size == TILE else WARPS
    return _Launch(groups * parts, parts, parts * (pairs // together), warps, constants)


@torch.library.custom_op("fastvd::temporal_core", mutates_args=())
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
    b, t, h, w, width = qkv.shape
    o = qkv.new_empty(b, t, h, w, width // 3)
    how = _launch_of(qkv, cos, heads)
    launch(
        _temporal_core_fwd_kernel,
        how.programs,
        *(qkv, cos, sin, bias, focus_present, o, b, h * w, t, how.parts),
        (width // (3 * heads)) ** -0.5,
        warps=how.warps,
        **how.constants,
        HAS_BIAS=bias is not None,
        HAS_FOCUS=focus_present is not None,
    )
    return o


@temporal_core.register_fake
def _(qkv: Tensor, *_: Any) -> Tensor:
    return qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)


@torch.library.custom_op("fastvd::temporal_core_backward", mutates_args=())
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
    b, t, h, w, width = qkv.shape
    dqkv = torch.empty_like(qkv)
    how = _launch_of(qkv, cos, heads)
    rows = 0 if bias is None else how.pairs
    sums = qkv.new_empty(rows, heads, t, t, dtype=torch.float32)
    launch(
        _temporal_core_bwd_kernel,
        how.programs,
        *(do, qkv, cos, sin, bias, focus_present, dqkv, sums, b, h * w, t, how.parts),
        (width // (3 * heads)) ** -0.5,
        warps=how.warps,
        **how.constants,
        HAS_BIAS=bias is not None,
        HAS_FOCUS=focus_present is not None,
    )
    return dqkv, qkv.new_empty(0) if bias is None else sums.sum(dim=0).to(bias.dtype)


@temporal_core_backward.register_fake
def _(
    _do: Tensor,
    qkv: Tensor,
    _cos: Tensor | None,
    _sin: Tensor | None,
    bias: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(qkv), qkv.new_empty(0) if bias is None else torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.heads = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
    dqkv, dbias = temporal_core_backward(do.contiguous(), *ctx.saved_tensors, ctx.heads)
    has_bias = ctx.saved_tensors[3] is not None
    return dqkv, None, None, dbias if has_bias else None, None, None


temporal_core.register_autograd(_gradients, setup_context=_save)


def core_limit(x: Tensor, head_dim: int) -> str:
    """What the kernel does not take of x [B, T, ...], projected to heads of ``head_dim``."""
    frames = x.shape[1]
    if frames > MAX_FRAMES:
        return f"{frames} frames are more than {MAX_FRAMES}"
    most = TILE // (max(LEAST_FRAMES, power_of_2(frames)) * x.element_size())
    if head_dim & (head_dim - 1) or not LEAST_HEAD_DIM <= head_dim <= most:
        return f"heads of {head_dim} channels, not a power of 2 in {LEAST_HEAD_DIM}..{most}"
    return ""
