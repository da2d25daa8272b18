"""Backward kernels of the linear attention block; letters as in linear_forward.py.

With ``s = softmax_D(xhat Wq^T)``: ``dM = s^T dout`` and ``dq = s (dout M^T - sum_D)``; per head
``dcontext = dM Wo / sqrt(D)``, ``dG = dcontext Wv``; then ``dk = p (xhat dG^T - delta)``, where the
sum over the tokens that softmax asks for is ``delta = sum_D(dcontext * context)``, and
``dxhat = dq Wq + dk Wk + p dG``. Weights: ``dWq = dq^T xhat``, ``dWk = dk^T xhat``, and frame by
frame ``dWv = dcontext^T G``, ``dWo = dM^T context / sqrt(D)``. All of q, k, p are made again.
"""

from .launch import jit, tl
from .linear_forward import (
    head_softmax,
    load_cols,
    load_heads,
    load_normed,
    load_rows,
    store_rows,
)


@jit
def head_softmax_bwd(s, ds, D: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Gradient of what ``head_softmax`` took."""
    along = tl.sum(tl.reshape(s * ds, [ROWS, COLS // D, D]), axis=2)
    along = tl.broadcast_to(tl.expand_dims(along, 2), [ROWS, COLS // D, D])
    return s * (ds - tl.reshape(along, [ROWS, COLS]))


@jit
def _query_bwd_kernel(
    x_ptr,
    dout_ptr,
    rows_ptr,
    wq_ptr,
    output_ptr,
    doutput_ptr,
    dwq_ptr,
    frames,
    n,
    rows,
    parts,
    HD: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    TOKENS: tl.constexpr,
    COLS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program per frame, part of its tokens, and COLS columns of q: its share of dM and dWq."""
    groups: tl.constexpr = (HD + COLS - 1) // COLS
    group, at = tl.program_id(0) % groups, tl.program_id(0) // groups
    frame = (at // parts).to(tl.int64)
    d, c = group * COLS + tl.arange(0, COLS), tl.arange(0, CP)
    wq = load_cols(wq_ptr, d, HD, C, CP)
    output = load_heads(output_ptr, d, frame, frames, HD, D, C, CP)
    doutput = tl.zeros([CP, COLS], tl.float32)
    dwq = tl.zeros([CP, COLS], tl.float32)
    for first in range((at % parts) * TOKENS, n, parts * TOKENS):
        l = first + tl.arange(0, TOKENS)
        dout = load_rows(dout_ptr, frame * n, l, n, C, CP)
        xhat, _ = load_normed(x_ptr, rows_ptr, frame * n, rows, l, n, C, CP)
        xhat = xhat.to(dout.dtype)
        s = tl.dot(xhat, tl.trans(wq), input_precision=PRECISION)
        s = head_softmax(s, D, TOKENS, COLS)
        ds = tl.dot(dout, tl.trans(output), input_precision=PRECISION)
        doutput = tl.dot(tl.trans(dout), s.to(dout.dtype), doutput, input_precision=PRECISION)
        dq = head_softmax_bwd(s, ds, D, TOKENS, COLS).to(dout.dtype)
        dwq = tl.dot(tl.trans(xhat), dq, dwq, input_precision=PRECISION)
    to = at.to(tl.int64) * HD * C + d[None, :] * C + c[:, None]
    mask = (d < HD)[None, :] & (c < C)[:, None]
    tl.store(doutput_ptr + to, doutput, mask=mask)
    tl.store(dwq_ptr + to, dwq, mask=mask)


@jit
def _context_bwd_kernel(
    doutputs_ptr,
    context_ptr,
    wv_ptr,
    wo_ptr,
    doutput_ptr,
    dcontext_ptr,
    delta_ptr,
    dmixed_ptr,
    frames,
    parts,
    scale,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program per frame and head: joins the parts of dM, then dcontext, delta and dG."""
    HD: tl.constexpr = HEADS * D
    head, frame = tl.program_id(0) % HEADS, (tl.program_id(0) // HEADS).to(tl.int64)
    e, c = tl.arange(0, D), tl.arange(0, CP)
    d = head * D + e
    mask = (e < D)[:, None] & (c < C)[None, :]
    doutput = tl.zeros([D, CP], tl.float32)
    for part in range(parts):
        row = (frame * parts + part) * HD + d
        doutput += tl.load(doutputs_ptr + row[:, None] * C + c[None, :], mask=mask, other=0.0)
    row = (head * frames + frame) * D + e
    tl.store(doutput_ptr + row[:, None] * C + c[None, :], doutput, mask=mask)
    wv = load_cols(wv_ptr, d, HD, C, CP)
    wo = tl.load(wo_ptr + c[None, :] * HD + d[:, None], mask=mask, other=0.0)
    dcontext = tl.dot(doutput.to(wo.dtype), tl.trans(wo), input_precision=PRECISION) * scale
    square = row[:, None] * D + e[None, :]
    tl.store(dcontext_ptr + square, dcontext)
    tl.store(delta_ptr + frame * HD + d, tl.sum(dcontext * tl.load(context_ptr + square), axis=1))
    dmixed = tl.dot(dcontext.to(wv.dtype), wv, input_precision=PRECISION)
    tl.store(dmixed_ptr + row[:, None] * C + c[None, :], dmixed.to(wv.dtype), mask=mask)


@jit
def _key_bwd_kernel(
    x_ptr,
    rows_ptr,
    wk_ptr,
    dmixed_ptr,
    cols_ptr,
    delta_ptr,
    dwk_ptr,
    frames,
    n,
    rows,
    parts,
    HD: tl.constexpr,
    D: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    TOKENS: tl.constexpr,
    COLS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One program per frame, part of its tokens, and COLS columns of k: its share of dWk."""
    groups: tl.constexpr = (HD + COLS - 1) // COLS
    group, at = tl.program_id(0) % groups, tl.program_id(0) // groups
    frame = (at // parts).to(tl.int64)
    d, c = group * COLS + tl.arange(0, COLS), tl.arange(0, CP)
    wk = load_cols(wk_ptr, d, HD, C, CP)
    dmixed = load_heads(dmixed_ptr, d, frame, frames, HD, D, C, CP)
    top = tl.load(cols_ptr + frame * HD + d, mask=d < HD, other=0.0)
    share = 1.0 / tl.load(cols_ptr + (frames + frame) * HD + d, mask=d < HD, other=1.0)
    delta = tl.load(delta_ptr + frame * HD + d, mask=d < HD, other=0.0)
    dwk = tl.zeros([COLS, CP], tl.float32)
    for first in range((at % parts) * TOKENS, n, parts * TOKENS):
        l = first + tl.arange(0, TOKENS)
        xhat, _ = load_normed(x_ptr, rows_ptr, frame * n, rows, l, n, C, CP)
        xhat = xhat.to(x_ptr.dtype.element_ty)
        k = tl.dot(wk, tl.trans(xhat), input_precision=PRECISION)
        p = tl.exp(k - top[:, None]) * share[:, None]
        dp = tl.dot(dmixed, tl.trans(xhat), input_precision=PRECISION)
        dk = tl.where((l < n)[None, :], p * (dp - delta[:, None]), 0.0)
        dwk = tl.dot(dk.to(xhat.dtype), xhat, dwk, input_precision=PRECISION)
    to = at.to(tl.int64) * HD * C + d[:, None] * C + c[None, :]
    tl.store(dwk_ptr + to, dwk, mask=(d < HD)[:, None] & (c < C)[None, :])


@jit
def _input_bwd_kernel(
    x_ptr,
    dout_ptr,
    rows_ptr,
    wq_ptr,
    output_ptr,
    wk_ptr,
    dmixed_ptr,
    cols_ptr,
    delta_ptr,
    dx_ptr,
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
    """One program per TOKENS tokens of a frame: dxhat over all columns, then dx."""
    tiles = tl.cdiv(n, TOKENS)
    frame = (tl.program_id(0) // tiles).to(tl.int64)
    l = (tl.program_id(0) % tiles) * TOKENS + tl.arange(0, TOKENS)
    dout = load_rows(dout_ptr, frame * n, l, n, C, CP)
    xhat, rstd = load_normed(x_ptr, rows_ptr, frame * n, rows, l, n, C, CP)
    xhat = xhat.to(dout.dtype)
    dxhat = tl.zeros([TOKENS, CP], tl.float32)
    for first in range(0, HD, COLS):
        d = first + tl.arange(0, COLS)
        wq = load_cols(wq_ptr, d, HD, C, CP)
        output = load_heads(output_ptr, d, frame, frames, HD, D, C, CP)
        s = tl.dot(xhat, tl.trans(wq), input_precision=PRECISION)
        s = head_softmax(s, D, TOKENS, COLS)
        ds = tl.dot(dout, tl.trans(output), input_precision=PRECISION)
        dq = head_softmax_bwd(s, ds, D, TOKENS, COLS).to(dout.dtype)
        dxhat = tl.dot(dq, wq, dxhat, input_precision=PRECISION)
    for first in range(0, HD, COLS):
        d = first + tl.arange(0, COLS)
        wk = load_cols(wk_ptr, d, HD, C, CP)
        dmixed = load_heads(dmixed_ptr, d, frame, frames, HD, D, C, CP)
        top = tl.load(cols_ptr + frame * HD + d, mask=d < HD, other=0.0)
        total = tl.load(cols_ptr + (frames + frame) * HD + d, mask=d < HD, other=1.0)
        delta = tl.load(delta_ptr + frame * HD + d, mask=d < HD, other=0.0)
        k = tl.dot(xhat, tl.trans(wk), input_precision=PRECISION)
        p = tl.exp(k - top[None, :]) * (1.0 / total)[None, :]
        # tokens behind the last are not in the sum that total is
        p = tl.where((l < n)[:, None], p, 0.0)
        dp = tl.dot(xhat, tl.trans(dmixed), input_precision=PRECISION)
        dk = (p * (dp - delta[None, :])).to(xhat.dtype)
        dxhat = tl.dot(dk, wk, dxhat, input_precision=PRECISION)
        dxhat = tl.dot(p.to(xhat.dtype), dmixed, dxhat, input_precision=PRECISION)
    # one sum each, before xhat is wide again: fewer registers
    mean = tl.sum(dxhat, axis=1) / C
    along = tl.sum(dxhat * xhat.to(tl.float32), axis=1) / C
    dx = (dxhat - mean[:, None] - xhat.to(tl.float32) * along[:, None]) * rstd[:, None]
    # read again, not kept in registers over the loops: the barrier makes the compiler do so
    tl.debug_barrier()
    dx += load_rows(dout_ptr, frame * n, l, n, C, CP).to(tl.float32)
    store_rows(dx_ptr, dx, frame * n, l, n, C, CP)
