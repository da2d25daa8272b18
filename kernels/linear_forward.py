"""Forward kernels of the linear attention block.

With ``xhat`` the normed x, whose gain is folded into the weights, and a frame's n tokens:
``p = softmax_n(xhat Wk^T)``, ``G = p^T xhat`` and, per head, ``context = G Wv^T``,
``M = context Wo^T / sqrt(D)``, ``out = x + bias + softmax_D(xhat Wq^T) M``. So values are never
made: the first sweep over x gives G, the second the output.
"""

from .launch import jit, tl
from .rows import center


@jit
def load_rows(x_ptr, row, l, n, C: tl.constexpr, CP: tl.constexpr):
    """Rows of tokens ``l`` of a frame that starts at ``row``; zero behind the last."""
    c = tl.arange(0, CP)
    mask = (l < n)[:, None] & (c < C)[None, :]
    return tl.load(x_ptr + row * C + (l[:, None] * C + c[None, :]), mask=mask, other=0.0)


@jit
def store_rows(x_ptr, x, row, l, n, C: tl.constexpr, CP: tl.constexpr):
    """The inverse of ``load_rows``."""
    c = tl.arange(0, CP)
    mask = (l < n)[:, None] & (c < C)[None, :]
    to = x_ptr + row * C + (l[:, None] * C + c[None, :])
    tl.store(to, x.to(x_ptr.dtype.element_ty), mask=mask)


@jit
def load_cols(w_ptr, d, HD: tl.constexpr, C: tl.constexpr, CP: tl.constexpr):
    """Rows ``d`` of a matrix [HD, C]."""
    c = tl.arange(0, CP)
    mask = (d < HD)[:, None] & (c < C)[None, :]
    return tl.load(w_ptr + d[:, None] * C + c[None, :], mask=mask, other=0.0)


@jit
def load_heads(
    w_ptr,
    d,
    frame,
    frames,
    HD: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
):
    """Columns ``d`` of a frame of a tensor [heads, frames, D, C]."""
    c = tl.arange(0, CP)
    mask = (d < HD)[:, None] & (c < C)[None, :]
    row = d // D * frames * D + d % D
    return tl.load(w_ptr + frame * D * C + (row[:, None] * C + c[None, :]), mask=mask, other=0.0)


@jit
def load_normed(x_ptr, rows_ptr, row, rows, l, n, C: tl.constexpr, CP: tl.constexpr):
    """xhat in float32, from statistics that the forward left, and rstd."""
    x = load_rows(x_ptr, row, l, n, C, CP).to(tl.float32)
    mean = tl.load(rows_ptr + row + l, mask=l < n, other=0.0)
    rest = tl.load(rows_ptr + rows + row + l, mask=l < n, other=0.0)
    rstd = tl.load(rows_ptr + rows + rows + row + l, mask=l < n, other=0.0)
    # a large mean is known to few digits
    xhat = ((x - mean[:, None]) - rest[:, None]) * rstd[:, None]
    if C < CP:
        xhat = tl.where((tl.arange(0, CP) < C)[None, :], xhat, 0.0)
    return xhat, rstd


@jit
def head_softmax(a, D: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Softmax of each row over the D columns of each head."""
    a = tl.reshape(a, [ROWS, COLS // D, D])
    a = tl.exp(a - tl.expand_dims(tl.max(a, axis=2), 2))
    a *= tl.expand_dims(1.0 / tl.sum(a, axis=2), 2)
    return tl.reshape(a, [ROWS, COLS])


@jit
def _context_fwd_kernel(
    x_ptr,
    wk_ptr,
    rows_ptr,
    cols_ptr,
    mixed_ptr,
    frames,
    n,
    rows,
    parts,
    eps,
    HD: tl.constexpr,
    D: tl.constexpr,  # noqa: ARG001
    C: tl.constexpr,
    CP: tl.constexpr,
    TOKENS: tl.constexpr,
    COLS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program per frame, part of its tokens, and COLS columns of k: as flash attention,
    with rows of Wk for queries, and xhat for keys and values."""
    groups: tl.constexpr = (HD + COLS - 1) // COLS
    group, at = tl.program_id(0) % groups, tl.program_id(0) // groups
    frame = (at // parts).to(tl.int64)
    d = group * COLS + tl.arange(0, COLS)
    wk = load_cols(wk_ptr, d, HD, C, CP)
    top = tl.full([COLS], float("-inf"), tl.float32)
    total = tl.zeros([COLS], tl.float32)
    mixed = tl.zeros([COLS, CP], tl.float32)
    for first in range((at % parts) * TOKENS, n, parts * TOKENS):
        l = first + tl.arange(0, TOKENS)
        x = load_rows(x_ptr, frame * n, l, n, C, CP).to(tl.float32)
        x, mean, rest = center(x, C)
        rstd = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / C + eps)
        stored = (l < n) & (group == 0)
        to = rows_ptr + frame * n + l
        tl.store(to, mean, mask=stored)
        tl.store(to + rows, rest, mask=stored)
        tl.store(to + rows + rows, rstd, mask=stored)
        xhat = (x * rstd[:, None]).to(x_ptr.dtype.element_ty)
        k = tl.dot(wk, tl.trans(xhat), input_precision=PRECISION)
        k = tl.where((l < n)[None, :], k, float("-inf"))
        new = tl.maximum(top, tl.max(k, axis=1))
        p = tl.exp(k - new[:, None])
        shrink = tl.exp(top - new)
        total = total * shrink + tl.sum(p, axis=1)
        mixed *= shrink[:, None]
        mixed = tl.dot(p.to(xhat.dtype), xhat, mixed, input_precision=PRECISION)
        top = new
    to = cols_ptr + at * HD + d
    tl.store(to, top, mask=d < HD)
    tl.store(to + frames * parts * HD, total, mask=d < HD)
    c = tl.arange(0, CP)
    to = mixed_ptr + at.to(tl.int64) * HD * C + d[:, None] * C + c[None, :]
    tl.store(to, mixed, mask=(d < HD)[:, None] & (c < C)[None, :])


@jit
def _output_fwd_kernel(
    part_cols_ptr,
    mixes_ptr,
    wv_ptr,
    wo_ptr,
    cols_ptr,
    mixed_ptr,
    context_ptr,
    output_ptr,
    frames,
    parts,
    scale,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program per frame and head: joins its parts, then context and M."""
    HD: tl.constexpr = HEADS * D
    head, frame = tl.program_id(0) % HEADS, (tl.program_id(0) // HEADS).to(tl.int64)
    e, c = tl.arange(0, D), tl.arange(0, CP)
    d = head * D + e
    mask = (e < D)[:, None] & (c < C)[None, :]
    top = tl.full([D], float("-inf"), tl.float32)
    total = tl.zeros([D], tl.float32)
    mixed = tl.zeros([D, CP], tl.float32)
    for part in range(parts):
        row = (frame * parts + part) * HD + d
        part_top = tl.load(part_cols_ptr + row)
        new = tl.maximum(top, part_top)
        shrink, grow = tl.exp(top - new), tl.exp(part_top - new)
        total = total * shrink + tl.load(part_cols_ptr + frames * parts * HD + row) * grow
        part_mixed = tl.load(mixes_ptr + row[:, None] * C + c[None, :], mask=mask, other=0.0)
        mixed = mixed * shrink[:, None] + part_mixed * grow[:, None]
        top = new
    tl.store(cols_ptr + frame * HD + d, top)
    tl.store(cols_ptr + (frames + frame) * HD + d, total)
    mixed = (mixed * (1.0 / total)[:, None]).to(output_ptr.dtype.element_ty)
    row = (head * frames + frame) * D + e
    tl.store(mixed_ptr + row[:, None] * C + c[None, :], mixed, mask=mask)
    wv = load_cols(wv_ptr, d, HD, C, CP)
    wo = tl.load(wo_ptr + c[None, :] * HD + d[:, None], mask=mask, other=0.0)
    context = tl.dot(mixed, tl.trans(wv), input_precision=PRECISION)
    output = tl.dot(context.to(wo.dtype), wo, input_precision=PRECISION) * scale
    tl.store(context_ptr + row[:, None] * D + e[None, :], context)
    tl.store(output_ptr + row[:, None] * C + c[None, :], output.to(wo.dtype), mask=mask)


@jit
def _apply_fwd_kernel(
    x_ptr,
    rows_ptr,
    wq_ptr,
    output_ptr,
    bias_ptr,
    out_ptr,
    frames,
    n,
    rows,
    HD: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    TOKENS: tl.constexpr,
    COLS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program per TOKENS tokens of a frame."""
    tiles = tl.cdiv(n, TOKENS)
    frame = (tl.program_id(0) // tiles).to(tl.int64)
    l = (tl.program_id(0) % tiles) * TOKENS + tl.arange(0, TOKENS)
    xhat, _ = load_normed(x_ptr, rows_ptr, frame * n, rows, l, n, C, CP)
    xhat = xhat.to(x_ptr.dtype.element_ty)
    out = tl.zeros([TOKENS, CP], tl.float32)
    for first in range(0, HD, COLS):
        d = first + tl.arange(0, COLS)
        wq = load_cols(wq_ptr, d, HD, C, CP)
        output = load_heads(output_ptr, d, frame, frames, HD, D, C, CP)
        q = tl.dot(xhat, tl.trans(wq), input_precision=PRECISION)
        q = head_softmax(q, D, TOKENS, COLS).to(xhat.dtype)
        out = tl.dot(q, output, out, input_precision=PRECISION)
    c = tl.arange(0, CP)
    out += tl.load(bias_ptr + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    out += load_rows(x_ptr, frame * n, l, n, C, CP).to(tl.float32)
    store_rows(out_ptr, out, frame * n, l, n, C, CP)
