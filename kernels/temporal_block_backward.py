"""Backward of ``temporal_block``: dx in one kernel that starts from x and dz again.

Per head: ``do = dz Wo``, ``dv = p^T do``, ``dp = do v^T``, ``ds = p * (dp - rowsum(p * dp))``,
``dq = ds k``, ``dk = ds^T q``, both turned back; ``dy = dq Wq + dk Wk + dv Wv``, then the norm's.
dq, dk, dv, o and y are written: the weights' gradients are matrix products of them. Those of gain,
bias and frames are summed over each tile, then over the tiles: two runs are bit-equal.
"""

from typing import Any

import torch
from torch import Tensor

from .launch import arch, jit, launch, tl
from .ops import op
from .rows import standardize, turn
from .temporal_tile import (
    EPS,
    GROUP,
    NARROW,
    angles_of,
    block_input,
    geometry,
    groups_nn,
    groups_nt,
    groups_tn,
    head_weights,
    in_focus,
    out_weight,
    places,
    scores_table,
    softmax,
)

HOPPER = 90
DEPTH = 64
"""Columns of dq, dk and dv that are multiplied at once."""
PART = 16
"""Rows whose norm goes back at once: more would take the loop over heads its registers."""


@jit
def _norm_backward(
    dz_ptr,
    x_ptr,
    gain_ptr,
    dx_ptr,
    tile,
    part,
    N,
    HW,
    T,
    eps,
    C: tl.constexpr,
    COLS: tl.constexpr,
    F: tl.constexpr,
    ROWS: tl.constexpr,
    PART: tl.constexpr,
):
    """From dy, which lies where dx goes, to dx of PART rows; and what they give to the gain's."""
    token, _, _, there = places(tile, part, N, HW, T, F, ROWS, PART)
    c = tl.arange(0, COLS)
    mask = there[:, None] & (c < C)[None, :]
    at = token[:, None] * C + c[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    xhat, r = standardize(x, eps, C)
    dy = tl.load(dx_ptr + at, mask=mask, other=0.0).to(tl.float32)
    g = dy * tl.load(gain_ptr + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    dx = g - xhat * (tl.sum(g * xhat, axis=1) / C)[:, None] - (tl.sum(g, axis=1) / C)[:, None]
    dx = dx * r[:, None] + tl.load(dz_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=mask)
    return tl.sum(dy * xhat, axis=0)


@jit
def _project_back(
    dqkv_ptr,
    qkv_ptr,
    token,
    there,
    width,
    C: tl.constexpr,
    COLS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """dy of a tile, from dq, dk and dv as its program has written them."""
    c = tl.arange(0, COLS)
    dy = tl.zeros([ROWS, COLS], tl.float32)
    for first in range(0, 3 * width, DEPTH):
        k = first + tl.arange(0, DEPTH)
        mask = there[:, None] & (k < 3 * width)[None, :]
        d = tl.load(dqkv_ptr + token[:, None] * (3 * width) + k[None, :], mask=mask, other=0.0)
        mask = (k < 3 * width)[:, None] & (c < C)[None, :]
        w = tl.load(qkv_ptr + k[:, None] * C + c[None, :], mask=mask, other=0.0)
        dy = tl.dot(d, w, dy)
    return dy


@jit
def _temporal_block_bwd_kernel(
    dz_ptr,
    x_ptr,
    gain_ptr,
    qkv_ptr,
    out_ptr,
    cos_ptr,
    sin_ptr,
    table_ptr,
    frames_ptr,
    focus_ptr,
    dx_ptr,
    dqkv_ptr,
    o_ptr,
    y_ptr,
    dnorm_ptr,
    dbias_ptr,
    dframes_ptr,
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
    HAS_BIAS: tl.constexpr,
    HAS_FRAMES: tl.constexpr,
    HAS_FOCUS: tl.constexpr,
    PART: tl.constexpr,
    DEPTH: tl.constexpr,
    TWO_SWEEPS: tl.constexpr,
):
    """One program per tile of pixels."""
    tile = tl.program_id(0)
    token, frame, sample, there = places(tile, 0, N, HW, T, F, ROWS, ROWS)
    c, d, f = tl.arange(0, COLS), tl.arange(0, D), tl.arange(0, F)
    mask = there[:, None] & (c < C)[None, :]
    at = token[:, None] * C + c[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0)
    dz = tl.load(dz_ptr + at, mask=mask, other=0.0)
    y = block_input(x, mask, frame, c, gain_ptr, frames_ptr, eps, C, HAS_FRAMES)
    tl.store(y_ptr + at, y, mask=mask)
    alone = in_focus(focus_ptr, sample, there, ROWS, HAS_FOCUS)
    cos, sin = angles_of(cos_ptr, sin_ptr, frame, T, D, R, ROWS)
    dy = tl.zeros([ROWS, COLS], tl.float32)
    for head in range(HEADS):
        wq, wk, wv = head_weights(qkv_ptr, head, HEADS, C, COLS, D)
        q = tl.dot(y, tl.trans(wq))
        q = turn(q, cos, sin, R).to(x.dtype)
        k = tl.dot(y, tl.trans(wk))
        k = turn(k, cos, sin, R).to(x.dtype)
        v = tl.dot(y, tl.trans(wv)).to(x.dtype)
        p = softmax(q, k, table_ptr, head, alone, scale, D, G, ROWS, HAS_FOCUS)
        wo = out_weight(out_ptr, head, HEADS, C, COLS, D)
        do = tl.dot(dz, wo).to(x.dtype)
        dp = groups_nt(do, v, G, D, ROWS)
        ds = p * (dp - tl.sum(p * dp, axis=1)[:, None])
        if HAS_BIAS:
            pairs = tl.sum(tl.sum(tl.reshape(ds, [ROWS // F, F, G // F, F]), axis=2), axis=0)
            to = ((tile.to(tl.int64) * HEADS + head) * F + f[:, None]) * F + f[None, :]
            tl.store(dbias_ptr + to, pairs)
        ds, p = (ds * scale).to(x.dtype), p.to(x.dtype)
        o = groups_nn(p, v, G, D, ROWS).to(x.dtype)
        dq = turn(groups_nn(ds, k, G, D, ROWS), cos, -sin, R).to(x.dtype)
        dk = turn(groups_tn(ds, q, G, D, ROWS), cos, -sin, R).to(x.dtype)
        dv = groups_tn(p, do, G, D, ROWS).to(x.dtype)
        if not TWO_SWEEPS:
            dy = tl.dot(dq, wq, dy)
            dy = tl.dot(dk, wk, dy)
            dy = tl.dot(dv, wv, dy)
        to = token[:, None] * (HEADS * D) + head * D + d[None, :]
        tl.store(o_ptr + to, o, mask=there[:, None])
        to = token[:, None] * (3 * HEADS * D) + head * D + d[None, :]
        tl.store(dqkv_ptr + to, dq, mask=there[:, None])
        tl.store(dqkv_ptr + to + HEADS * D, dk, mask=there[:, None])
        tl.store(dqkv_ptr + to + 2 * HEADS * D, dv, mask=there[:, None])
    # the same places, but not kept in registers over the loop
    token, _, _, there = places(tile, zero, N, HW, T, F, ROWS, ROWS)
    mask = there[:, None] & (c < C)[None, :]
    if TWO_SWEEPS:
        tl.debug_barrier()
        dy = _project_back(dqkv_ptr, qkv_ptr, token, there, HEADS * D, C, COLS, ROWS, DEPTH)
    if HAS_FRAMES:
        to = (tile.to(tl.int64) * F + f[:, None]) * COLS + c[None, :]
        tl.store(dframes_ptr + to, tl.sum(tl.reshape(dy, [ROWS // F, F, COLS]), axis=0))
    tl.store(dx_ptr + token[:, None] * C + c[None, :], dy.to(dx_ptr.dtype.element_ty), mask=mask)
    tl.debug_barrier()
    dgain = tl.zeros([COLS], tl.float32)
    for first in range(0, ROWS, PART):
        dgain += _norm_backward(
            *(dz_ptr, x_ptr, gain_ptr, dx_ptr, tile, first, N, HW, T, eps),
            *(C, COLS, F, ROWS, PART),
        )
    tl.store(dnorm_ptr + tile.to(tl.int64) * C + c, dgain, mask=c < C)


@op("temporal_block_backward")
def temporal_block_backward(
    dz: Tensor,
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, the three weights, bias and frames; empty where there is none."""
    b, t, h, w, c = x.shape
    tiles, constants = geometry(x, qkv_weight, cos, heads)
    table = scores_table(bias, heads, constants, x)
    f, tokens, width = constants["F"], b * t * h * w, heads * constants["D"]
    dx, y = torch.empty_like(x), torch.empty_like(x)
    dqkv, o = x.new_empty(tokens, 3 * width), x.new_empty(tokens, width)
    # what each tile gives to the gradients of norm_weight, bias and frames
    dnorm = x.new_empty(tiles, c, dtype=torch.float32)
    dbias = dnorm.new_empty(0 if bias is None else (tiles, heads, f, f))
    dframes = dnorm.new_empty(0 if frames is None else (tiles, f, constants["COLS"]))
    launch(
        _temporal_block_bwd_kernel,
        tiles,
        *(dz, x, norm_weight, qkv_weight, out_weight, cos, sin, table, frames, focus),
        *(dx, dqkv, o, y, dnorm, dbias, dframes),
        *(b * h * w, h * w, t, heads, 0, EPS, constants["D"] ** -0.5),
        **constants,
        HAS_BIAS=bias is not None,
        HAS_FRAMES=frames is not None,
        HAS_FOCUS=focus is not None,
        PART=PART,
        DEPTH=DEPTH,
        TWO_SWEEPS=_two_sweeps(constants),
    )
    if bias is not None:
        dbias = dbias.sum(0)[:, :t, :t].to(bias.dtype, memory_format=torch.contiguous_format)
    if frames is not None:
        dframes = dframes.sum(0)[:t, :c].to(frames.dtype, memory_format=torch.contiguous_format)
    dqkv_weight, dout_weight = dqkv.t() @ y.view(tokens, c), dz.view(tokens, c).t() @ o
    return dx, dnorm.sum(0).to(norm_weight.dtype), dqkv_weight, dout_weight, dbias, dframes


def _two_sweeps(constants: dict[str, Any]) -> bool:
    """Whether dy is made after the loop over heads, from memory: in it, registers would spill."""
    if constants["G"] > GROUP or arch() < HOPPER:
        return True
    return arch() > HOPPER and constants["COLS"] > NARROW


@temporal_block_backward.register_fake
def _(
    _dz: Tensor,
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    _cos: Tensor | None,
    _sin: Tensor | None,
    bias: Tensor | None,
    frames: Tensor | None,
    *_: Any,
) -> tuple[Tensor, ...]:
    like = (x, norm_weight, qkv_weight, out_weight)
    none = x.new_empty(0, dtype=torch.float32)
    options = (none if t is None else torch.empty_like(t) for t in (bias, frames))
    return *(torch.empty_like(t) for t in like), *options
