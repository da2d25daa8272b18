"""What the kernels of ``temporal_block`` share: a tile's rows, norm, projections and softmax.

A tile is ROWS rows: the T frames of some pixels, padded to F frames, row = pixel * F + frame. Rows
attend inside groups of G rows, one matrix product each, pairs of different pixels hidden: where
G > F, what is not a number in one pixel reaches the others of its group.
"""

from typing import Any

import torch
from torch import Tensor

from .launch import ceil_div, jit, launch, power_of_2, tl
from .rows import standardize

EPS = 1e-5
ROWS = 64
"""Rows of a tile: what one warp group multiplies at once."""
GROUP = 16
"""Rows of the smallest matrix product."""
NARROW = 64
"""Most channels of which more frames than GROUP fit into registers."""
MAX_COLS, MAX_FRAMES, HEAD_DIMS = 128, ROWS, (16, 32)


@jit
def places(tile, first, N, HW, T, F: tl.constexpr, ROWS: tl.constexpr, COUNT: tl.constexpr):
    """Of COUNT rows of a tile: token in x, frame, sample and whether each is there at all."""
    row = first + tl.arange(0, COUNT)
    frame, pixel = row % F, tile * (ROWS // F) + row // F
    sample = pixel // HW
    token = (sample.to(tl.int64) * T + frame) * HW + pixel % HW
    return token, frame, sample, (frame < T) & (pixel < N)


@jit
def block_input(
    x, mask, frame, c, gain_ptr, frames_ptr, eps, C: tl.constexpr, HAS_FRAMES: tl.constexpr
):
    """Layer norm of the rows plus their frames' embedding, in the dtype of x."""
    y, _ = standardize(x.to(tl.float32), eps, C)
    y *= tl.load(gain_ptr + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    if HAS_FRAMES:
        at = frames_ptr + frame[:, None] * C + c[None, :]
        y += tl.load(at, mask=mask, other=0.0).to(tl.float32)
    return y.to(x.dtype)


@jit
def _scores_kernel(
    table_ptr,
    bias_ptr,
    T,
    F: tl.constexpr,
    G: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """What a head adds to the scores of any group; one program a head.

    -inf hides pairs of different pixels and frames of padding, which see themselves: no row sees
    nothing.
    """
    head = tl.program_id(0)
    row, col = tl.arange(0, G)[:, None], tl.arange(0, G)[None, :]
    i, j = row % F, col % F
    seen = (row // F == col // F) & ((row == col) | (j < T))
    bias = tl.zeros([G, G], tl.float32)
    if HAS_BIAS:
        at = bias_ptr + (head * T + i) * T + j
        bias += tl.load(at, mask=seen & (i < T) & (j < T), other=0.0).to(tl.float32)
    tl.store(table_ptr + (head * G + row) * G + col, tl.where(seen, bias, float("-inf")))


@jit
def angles_of(cos_ptr, sin_ptr, frame, T, D: tl.constexpr, R: tl.constexpr, ROWS: tl.constexpr):
    """Cosine and sine by which each row's pairs of columns turn; pairs beyond R do not."""
    cos, sin = tl.full([ROWS, D // 2], 1.0, tl.float32), tl.zeros([ROWS, D // 2], tl.float32)
    # no return in here: what stands behind one is compiled all the same, without pointers too
    if R:
        pair = tl.arange(0, D // 2)[None, :]
        at, mask = frame[:, None] * R + pair, (frame < T)[:, None] & (pair < R)
        cos = tl.load(cos_ptr + at, mask=mask, other=1.0)
        sin = tl.load(sin_ptr + at, mask=mask, other=0.0)
    return cos, sin


@jit
def head_weights(qkv_ptr, head, HEADS, C: tl.constexpr, COLS: tl.constexpr, D: tl.constexpr):
    """What one head's q, k and v are made with, each [D, COLS]."""
    c, d = tl.arange(0, COLS), tl.arange(0, D)
    at = qkv_ptr + head * (D * C) + (d[:, None] * C + c[None, :])
    mask = (c < C)[None, :]
    wq = tl.load(at, mask=mask, other=0.0)
    wk = tl.load(at + HEADS * D * C, mask=mask, other=0.0)
    return wq, wk, tl.load(at + 2 * HEADS * D * C, mask=mask, other=0.0)


@jit
def out_weight(out_ptr, head, HEADS, C: tl.constexpr, COLS: tl.constexpr, D: tl.constexpr):
    """What maps one head's values to the output, [COLS, D]."""
    c, d = tl.arange(0, COLS), tl.arange(0, D)
    at = out_ptr + c[:, None] * (HEADS * D) + head * D + d[None, :]
    return tl.load(at, mask=(c < C)[:, None], other=0.0)


@jit
def groups_nt(a, b, G: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr):
    """a b^T inside each group: [ROWS, K], [ROWS, K] to [ROWS, G]."""
    if G == ROWS:
        return tl.dot(a, tl.trans(b))
    a, b = tl.reshape(a, [ROWS // G, G, K]), tl.reshape(b, [ROWS // G, G, K])
    s = tl.dot(a, tl.permute(b, (0, 2, 1)))
    return tl.reshape(s, [ROWS, G])


@jit
def groups_nn(p, b, G: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr):
    """p b inside each group: [ROWS, G], [ROWS, K] to [ROWS, K]."""
    if G == ROWS:
        return tl.dot(p, b)
    p, b = tl.reshape(p, [ROWS // G, G, G]), tl.reshape(b, [ROWS // G, G, K])
    return tl.reshape(tl.dot(p, b), [ROWS, K])


@jit
def groups_tn(p, b, G: tl.constexpr, K: tl.constexpr, ROWS: tl.constexpr):
    """p^T b inside each group: [ROWS, G], [ROWS, K] to [ROWS, K]."""
    if G == ROWS:
        return tl.dot(tl.trans(p), b)
    p, b = tl.reshape(p, [ROWS // G, G, G]), tl.reshape(b, [ROWS // G, G, K])
    product = tl.dot(tl.permute(p, (0, 2, 1)), b)
    return tl.reshape(product, [ROWS, K])


@jit
def softmax(
    q,
    k,
    table_ptr,
    head,
    alone,
    scale,
    D: tl.constexpr,
    G: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_FOCUS: tl.constexpr,
):
    """How each row weighs the rows of its group, [ROWS, G]; one that is ``alone`` only itself."""
    row, col = (tl.arange(0, ROWS) % G)[:, None], tl.arange(0, G)[None, :]
    s = groups_nt(q, k, G, D, ROWS) * scale
    s += tl.load(table_ptr + (head * G + row) * G + col)
    if HAS_FOCUS:
        s = tl.where(alone[:, None] & (row != col), float("-inf"), s)
    e = tl.exp(s - tl.max(s, axis=1)[:, None])
    return e / tl.sum(e, axis=1)[:, None]


@jit
def in_focus(focus_ptr, sample, there, ROWS: tl.constexpr, HAS_FOCUS: tl.constexpr):
    """Whether a row's sample attends to its own frames alone."""
    if HAS_FOCUS:
        return tl.load(focus_ptr + sample, mask=there, other=0) != 0
    return tl.zeros([ROWS], tl.int1)


def geometry(
    x: Tensor, qkv_weight: Tensor, cos: Tensor | None, heads: int
) -> tuple[int, dict[str, Any]]:
    """Number of tiles in x, and what a kernel is compiled for."""
    b, t, h, w, c = x.shape
    frames = power_of_2(t)
    constants = {
        "C": c,
        "COLS": max(GROUP, power_of_2(c)),
        "D": qkv_weight.shape[0] // (3 * heads),
        "R": 0 if cos is None else cos.shape[1],
        "F": frames,
        "G": GROUP if frames <= GROUP else ROWS,
        "ROWS": ROWS,
    }
    return ceil_div(b * h * w, ROWS // frames) if x.numel() else 0, constants


def scores_table(bias: Tensor | None, heads: int, constants: dict[str, Any], x: Tensor) -> Tensor:
    """[heads, G, G] in float32, what is added to the scores of each head's groups."""
    group = constants["G"]
    table = x.new_empty(heads, group, group, dtype=torch.float32)
    launch(
        _scores_kernel,
        heads,
        *(table, bias, x.shape[1]),
        F=constants["F"],
        G=group,
        HAS_BIAS=bias is not None,
    )
    return table
