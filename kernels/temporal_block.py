"""Temporal attention as one kernel: ``x + out(attention(LN(x) + frames))``, heads in a loop.

q, k, v, scores and what they mix never leave the processor: only x is read, only the sum is
written, only x is kept for the backward. The formula is in ``temporal_attention.py``, the backward
in ``temporal_block_backward.py``.
"""

from typing import Any

import torch
from torch import Tensor

from .dispatch import cast, cast_dtype
from .launch import arch, interpreted, jit, launch, tl
from .ops import op
from .rows import turn
from .temporal_block_backward import temporal_block_backward
from .temporal_tile import (
    EPS,
    GROUP,
    HEAD_DIMS,
    MAX_COLS,
    MAX_FRAMES,
    NARROW,
    angles_of,
    block_input,
    geometry,
    groups_nn,
    head_weights,
    in_focus,
    out_weight,
    places,
    scores_table,
    softmax,
)


@jit
def _temporal_block_fwd_kernel(
    x_ptr,
    gain_ptr,
    qkv_ptr,
    out_ptr,
    cos_ptr,
    sin_ptr,
    table_ptr,
    frames_ptr,
    focus_ptr,
    z_ptr,
    N,
    HW,
    T,
    HEADS,
    zero,
    eps,
    scale,
    C: tl.constexpr,
    COLS: tl.constexpr,
    D: tl.constexpr,
    R: tl.constexpr,
    F: tl.constexpr,
    G: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_FRAMES: tl.constexpr,
    HAS_FOCUS: tl.constexpr,
):
    """One program per tile of pixels."""
    token, frame, sample, there = places(tl.program_id(0), 0, N, HW, T, F, ROWS, ROWS)
    c = tl.arange(0, COLS)
    mask = there[:, None] & (c < C)[None, :]
    at = token[:, None] * C + c[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0)
    y = block_input(x, mask, frame, c, gain_ptr, frames_ptr, eps, C, HAS_FRAMES)
    alone = in_focus(focus_ptr, sample, there, ROWS, HAS_FOCUS)
    cos, sin = angles_of(cos_ptr, sin_ptr, frame, T, D, R, ROWS)
    z = tl.zeros([ROWS, COLS], tl.float32)
    for head in range(HEADS):
        wq, wk, wv = head_weights(qkv_ptr, head, HEADS, C, COLS, D)
        q = tl.dot(y, tl.trans(wq))
        q = turn(q, cos, sin, R).to(x.dtype)
        k = tl.dot(y, tl.trans(wk))
        k = turn(k, cos, sin, R).to(x.dtype)
        v = tl.dot(y, tl.trans(wv)).to(x.dtype)
        p = softmax(q, k, table_ptr, head, alone, scale, D, G, ROWS, HAS_FOCUS)
        mixed = groups_nn(p.to(x.dtype), v, G, D, ROWS).to(x.dtype)
        w = out_weight(out_ptr, head, HEADS, C, COLS, D)
        z = tl.dot(mixed, tl.trans(w), z)
    # the same places, but not kept in registers over the loop
    token, frame, sample, there = places(tl.program_id(0), zero, N, HW, T, F, ROWS, ROWS)
    mask = there[:, None] & (c < C)[None, :]
    at = token[:, None] * C + c[None, :]
    z += tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(z_ptr + at, z.to(z_ptr.dtype.element_ty), mask=mask)


@op("temporal_block")
def _temporal_block(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    bias: Tensor | None,
    frames: Tensor | None,
    focus: Tensor | None,
    heads: int,
) -> Tensor:
    z = torch.empty_like(x)
    b, t, h, w, _ = x.shape
    tiles, constants = geometry(x, qkv_weight, cos, heads)
    table = scores_table(bias, heads, constants, x)
    launch(
        _temporal_block_fwd_kernel,
        tiles,
        *(x, norm_weight, qkv_weight, out_weight, cos, sin, table, frames, focus, z),
        *(b * h * w, h * w, t, heads, 0, EPS, constants["D"] ** -0.5),
        **constants,
        HAS_FRAMES=frames is not None,
        HAS_FOCUS=focus is not None,
    )
    return z


@_temporal_block.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    *tensors, ctx.heads = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors  # once: gradient checkpointing makes them anew
    dx, dnorm, dqkv, dout, dbias, dframes = temporal_block_backward(
        dz.contiguous(), *tensors, ctx.heads
    )
    bias = None if tensors[6] is None else dbias
    frames = None if tensors[7] is None else dframes
    return dx, dnorm, dqkv, dout, None, None, bias, frames, None, None


_temporal_block.register_autograd(_gradients, setup_context=_save)


def temporal_block(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    angles: Tensor | None,
    bias: Tensor | None,
    frames: Tensor | None,
    focus_present: Tensor | None,
    *,
    heads: int,
) -> Tensor:
    """``temporal_attention`` in the kernel, of tensors in any layout; autocast's dtype holds."""
    x = cast(x).contiguous()
    cos = sin = None
    if angles is not None:
        turns = angles.detach().float()
        cos, sin = turns.cos().contiguous(), turns.sin().contiguous()
    weights = (
        norm_weight.contiguous(),
        *(w.to(x.dtype).contiguous() for w in (qkv_weight, out_weight)),
    )
    tables = (t if t is None else t.contiguous() for t in (bias, frames, focus_present))
    z: Tensor = _temporal_block(x, *weights, cos, sin, *tables, heads)
    return z


def block_limit(x: Tensor, qkv_weight: Tensor, heads: int) -> str:
    """What of the tensors the kernel does not take."""
    t, c, d = x.shape[1], x.shape[-1], qkv_weight.shape[0] // (3 * heads)
    if c > MAX_COLS:
        return f"{c} channels are more than {MAX_COLS}"
    # on Blackwell the backward of many frames spills
    most = MAX_FRAMES if c <= NARROW and arch() < 100 else GROUP
    if t > most:
        return f"{t} frames of {c} channels are more than {most}"
    if d not in HEAD_DIMS:
        return f"heads of {d} channels are none of {HEAD_DIMS}"
    # the interpreter has registers enough, and float32 shows best what is wrong
    is_wide = cast_dtype(x) == torch.float32 and not interpreted
    return "float32 takes more registers than there are" if is_wide else ""
