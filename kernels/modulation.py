"""Gain and offset of each channel of a sample: ``gain = weight * (1 + scale)``,
``offset = bias * (1 + scale) + shift``; without FiLM the weight and the bias themselves.
"""

from torch import Tensor

from .launch import MOST_REGISTERS, accumulator, ceil_div, jit, launch, tl

COLS = 32
ROWS = 16


@jit
def _weight(w_ptr, c, C: tl.constexpr, ACC: tl.constexpr):
    """Weights of the channels ``c``, 1 where there are none."""
    weight = tl.full(c.shape, 1.0, ACC)
    if w_ptr is not None:
        weight = tl.load(w_ptr + c, mask=c < C, other=0.0).to(ACC)
    return weight


@jit
def channel_or_zero(ptr, c, inside, ACC: tl.constexpr):
    """A number for each channel, zero where no tensor is given."""
    values = tl.zeros_like(c).to(ACC)
    if ptr is not None:
        values += tl.load(ptr + c, mask=inside, other=0.0).to(ACC)
    return values


@jit
def modulation(
    w_ptr,
    b_ptr,
    scale_ptr,
    shift_ptr,
    scale_stride,
    shift_stride,
    sample,
    c,
    C: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_FILM: tl.constexpr,
    ACC: tl.constexpr,
):
    """Gain and offset of the channels ``c`` of a sample."""
    gain = _weight(w_ptr, c, C, ACC)
    offset = tl.zeros_like(gain)
    if HAS_BIAS:
        offset = tl.load(b_ptr + c, mask=c < C, other=0.0).to(ACC)
    if HAS_FILM:
        scale = 1.0 + tl.load(scale_ptr + sample * scale_stride + c, mask=c < C, other=0.0).to(ACC)
        shift = tl.load(shift_ptr + sample * shift_stride + c, mask=c < C, other=0.0).to(ACC)
        gain, offset = gain * scale, offset * scale + shift
    return gain, offset


@jit
def _modulation_bwd_kernel(
    sums_ptr,
    w_ptr,
    b_ptr,
    scale_ptr,
    dw_ptr,
    db_ptr,
    dscale_ptr,
    dshift_ptr,
    scale_stride,
    samples,
    parts,
    KINDS: tl.constexpr,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_FILM: tl.constexpr,
    ACC: tl.constexpr,
):
    """From sums [samples, parts, KINDS, C] to the gradients of weights and FiLM."""
    c = tl.program_id(0) * COLS + tl.arange(0, COLS)
    w = _weight(w_ptr, c, C, ACC)
    dw, db = tl.zeros_like(w), tl.zeros_like(w)
    for sample in range(samples):
        d_gain = tl.zeros([ROWS, COLS], ACC)
        d_offset = tl.zeros([ROWS, COLS], ACC)
        for first in range(0, parts, ROWS):
            rows = first + tl.arange(0, ROWS)
            mask = (rows < parts)[:, None] & (c < C)[None, :]
            at = sums_ptr + (sample * parts + rows)[:, None] * KINDS * C + c[None, :]
            d_gain += tl.load(at, mask=mask, other=0.0)
            d_offset += tl.load(at + C, mask=mask, other=0.0)
        gain, offset = tl.sum(d_gain, axis=0), tl.sum(d_offset, axis=0)
        if HAS_FILM:
            at = sample * C + c
            dscale = w * gain
            if HAS_BIAS:
                dscale += tl.load(b_ptr + c, mask=c < C, other=0.0).to(ACC) * offset
            tl.store(dscale_ptr + at, dscale.to(dscale_ptr.dtype.element_ty), mask=c < C)
            tl.store(dshift_ptr + at, offset.to(dshift_ptr.dtype.element_ty), mask=c < C)
            scale = 1.0 + tl.load(scale_ptr + sample * scale_stride + c, mask=c < C, other=0.0).to(
                ACC
            )
            gain, offset = gain * scale, offset * scale
        dw += gain
        db += offset
    if w_ptr is not None:
        tl.store(dw_ptr + c, dw.to(dw_ptr.dtype.element_ty), mask=c < C)
    if HAS_BIAS:
        tl.store(db_ptr + c, db.to(db_ptr.dtype.element_ty), mask=c < C)


def rows(film: Tensor | None) -> Tensor | None:
    """``film`` as it is if its rows are contiguous: halves of a projection are read in place."""
    return film if film is None or film.stride(-1) == 1 else film.contiguous()


def stride(film: Tensor | None) -> int:
    """Elements from one sample's row to the next."""
    return 0 if film is None else film.stride(0)


def modulation_backward(
    sums: Tensor, weight: Tensor | None, bias: Tensor | None, scale: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of weight, bias, scale and shift; empty where there is none.

    sums: [B, parts, 2 or more, C], what each part of a sample gives to the gradients of gain and
    offset, and what is not for here.
    """
    b, parts, kinds, c = sums.shape
    like = sums if weight is None else weight
    dw, db, dscale, dshift = (
        like.new_empty(0) if t is None else t.new_empty(t.shape)
        for t in (weight, bias, scale, scale)
    )
    launch(
        _modulation_bwd_kernel,
        ceil_div(c, COLS),
        *(sums, weight, bias, scale, dw, db, dscale, dshift, stride(scale), b, parts),
        KINDS=kinds,
        C=c,
        ROWS=ROWS,
        COLS=COLS,
        HAS_BIAS=bias is not None,
        HAS_FILM=scale is not None,
        ACC=accumulator(sums),
        registers=MOST_REGISTERS,
    )
    return dw, db, dscale, dshift
