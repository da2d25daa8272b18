"""Mean and M2 (sum of squared deviations) of groups of channels over the rows of a sample.

Rows are dealt to as many lanes as a program has room for; each lane merges its rows tile by tile,
then lanes, channels and parts of a sample are merged, all as Chan, Golub and LeVeque do (1983).
A mean is two floats, ``hi + lo``: one alone is off by as much as 3e-5 standard deviations where the
mean is a thousand of them.
"""

from typing import Any, NamedTuple

from torch import Tensor

from .launch import accumulator, ceil_div, jit, parts_of, power_of_2, tl
from .modulation import channel_or_zero
from .sigmoid import silu

COLS, MAX_GROUPS = 128, 32
"""Channels and groups that a program has at most, a group of more channels excepted."""
MAX_CHANNELS = 2048
"""Channels of a group."""
WARPS = 8
SLOTS = 2048
"""Lanes times channels of a program: a 16-byte load of each thread in bfloat16."""
MAX_PARTS, MAX_MERGED = 256, 4096
"""Parts of a sample, and parts times groups that a program merges."""


class Work(NamedTuple):
    """How a sample's rows are shared out."""

    n: int
    """Rows of a sample."""
    span: int
    """Rows of a part."""
    parts: int
    programs: int
    held: int
    """Parts that a program has room to merge."""


def cut(x: Tensor, groups: int, deep: int) -> tuple[Work, dict[str, Any]]:
    """How the rows of ``x`` are shared out, and its channels cut into blocks of whole groups."""
    b, c = x.shape[0], x.shape[-1]
    n, per_group = x.numel() // max(1, b * c), c // groups
    held = max(1, min(groups, MAX_GROUPS, COLS // per_group))
    width, blocks = per_group * held, ceil_div(groups, held)
    cols, held = power_of_2(width), power_of_2(held)
    rows = max(1, SLOTS // cols)
    room = min(MAX_PARTS, MAX_MERGED // held)
    tiles = ceil_div(n, deep * rows)
    span = ceil_div(tiles, min(room, parts_of(tiles, b * blocks, x, warps=WARPS))) * deep * rows
    parts = ceil_div(n, max(1, span))
    shape = {"C": c, "G": groups, "WIDTH": width, "COLS": cols, "GROUPS": held, "ROWS": rows}
    work = Work(n, span, parts, b * blocks * parts, room)
    return work, {**shape, "DEEP": deep, "ACC": accumulator(x)}


@jit
def place(parts, C: tl.constexpr, WIDTH: tl.constexpr, COLS: tl.constexpr):
    """Sample, part, block of a program; its channels, and which of them are there."""
    blocks: tl.constexpr = (C + WIDTH - 1) // WIDTH
    program, col = tl.program_id(0), tl.arange(0, COLS)
    block = program % blocks
    part = program // blocks % parts
    sample = (program // blocks // parts).to(tl.int64)
    c = block * WIDTH + col
    return sample, part, block, c, (col < WIDTH) & (c < C)


@jit
def members(
    block, c, inside, C: tl.constexpr, G: tl.constexpr, WIDTH: tl.constexpr, GROUPS: tl.constexpr
):
    """Groups of a block, which of them are there, and which channels [COLS, GROUPS] they have."""
    held: tl.constexpr = WIDTH * G // C
    slot = tl.arange(0, GROUPS)
    g = block * held + slot
    return g, (slot < held) & (g < G), inside[:, None] & ((c // (C // G))[:, None] == g[None, :])


@jit
def spread(values, of):
    """What the group of each channel has; zero for channels of none."""
    return tl.sum(tl.where(of, values[None, :], 0.0), axis=1)


@jit
def tile(first, sample, N, c, inside, C: tl.constexpr, DEEP: tl.constexpr, ROWS: tl.constexpr):
    """Offsets [DEEP, ROWS, COLS] of the rows from ``first``, and what of them is inside.

    A lane's DEEP rows lie in one thread: to add them up is no exchange.
    """
    row = first + tl.arange(0, DEEP)[:, None] * ROWS + tl.arange(0, ROWS)[None, :]
    at = (sample * N + row)[:, :, None] * C + c[None, None, :]
    return at, (row < N)[:, :, None] & inside[None, None, :]


@jit
def two_sum(a, b):
    """a + b, and what rounding took off it (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


@jit
def merge(n, hi, lo, m2):
    """Mean and M2 over axis 0 of sets of n numbers each; a set of none may hold anything."""
    share = n / tl.expand_dims(tl.maximum(tl.sum(n, axis=0), 1.0), 0)
    pivot = tl.sum(tl.where(n > 0, share * hi, 0.0), axis=0)
    # exact where all means lie close together, however far from zero
    off = tl.where(n > 0, hi - tl.expand_dims(pivot, 0) + lo, 0.0)
    mean = tl.sum(share * off, axis=0)
    away = off - tl.expand_dims(mean, 0)
    m2 = tl.sum(tl.where(n > 0, m2 + n * away * away, 0.0), axis=0)
    hi, lo = two_sum(pivot, mean)
    return hi, lo, m2


@jit
def _rows_of_lanes(rows, ROWS: tl.constexpr, ACC: tl.constexpr):
    """How many of the next ``rows`` rows each lane has."""
    return (tl.maximum(rows - tl.arange(0, ROWS) + ROWS - 1, 0) // ROWS).to(ACC)


@jit
def _merge_tile(u, mask, before, rows, mean, m2):
    """Take a tile into the statistics of each lane, all of which have had ``before`` rows."""
    DEEP: tl.constexpr = u.shape[0]
    more = tl.minimum(_rows_of_lanes(rows, u.shape[1], mean.dtype), DEEP)
    tile_mean = tl.sum(u, axis=0) * (1.0 / tl.maximum(more, 1.0))[:, None]
    off = tl.where(mask, u - tile_mean[None, :, :], 0.0)
    step = (tile_mean - mean) * (more / tl.maximum(before + more, 1.0))[:, None]
    m2 += tl.sum(off * off, axis=0) + step * ((tile_mean - mean) * before)
    return mean + step, m2


@jit
def group_statistics_kernel(
    x_ptr,
    conv_bias_ptr,
    partial_ptr,
    N,
    span,
    parts,
    C: tl.constexpr,
    G: tl.constexpr,
    WIDTH: tl.constexpr,
    COLS: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    DEEP: tl.constexpr,
    PRE_ACT: tl.constexpr,
    ACC: tl.constexpr,
):
    """One program per part of a sample and block of channels: (hi, lo, M2) of each group."""
    sample, part, block, c, inside = place(parts, C, WIDTH, COLS)
    bias = channel_or_zero(conv_bias_ptr, c, inside, ACC)
    # less a row of its own, what lies far from zero lies near it
    pivot = tl.load(x_ptr + (sample * N + part * span) * C + c, mask=inside, other=0.0).to(ACC)
    if PRE_ACT:
        pivot = silu(pivot + bias)
    mean = tl.zeros([ROWS, COLS], ACC)
    m2 = tl.zeros_like(mean)
    end = tl.minimum(N, (part + 1) * span)
    for first in range(part * span, end, DEEP * ROWS):
        at, mask = tile(first, sample, N, c, inside, C, DEEP, ROWS)
        u = tl.load(x_ptr + at, mask=mask, other=0.0).to(ACC)
        if PRE_ACT:
            u = silu(u + bias[None, None, :])
        u = tl.where(mask, u - pivot[None, None, :], 0.0)
        before = ((first - part * span) // ROWS).to(ACC)
        mean, m2 = _merge_tile(u, mask, before, end - first, mean, m2)
    n = _rows_of_lanes(end - part * span, ROWS, ACC)
    hi, lo, m2 = merge(n[:, None], pivot[None, :], mean, m2)
    store_groups(
        *(partial_ptr, sample * parts + part, block, end - part * span, hi, lo, m2, bias),
        *(c, inside, C, G, WIDTH, GROUPS, PRE_ACT),
    )


@jit
def store_groups(
    partial_ptr,
    part,
    block,
    rows,
    hi,
    lo,
    m2,
    conv_bias,
    c,
    inside,
    C: tl.constexpr,
    G: tl.constexpr,
    WIDTH: tl.constexpr,
    GROUPS: tl.constexpr,
    PRE_ACT: tl.constexpr,
):
    """Merge the channels of each group, each over so many rows, and add conv_bias to the means."""
    if not PRE_ACT:
        hi, rest = two_sum(hi, conv_bias)
        lo += rest
    g, held, of = members(block, c, inside, C, G, WIDTH, GROUPS)
    count = tl.where(of, rows.to(hi.dtype), 0.0)
    hi, lo, m2 = merge(count, hi[:, None], lo[:, None], m2[:, None])
    to = partial_ptr + part * 3 * G + g
    tl.store(to, hi, mask=held)
    tl.store(to + G, lo, mask=held)
    tl.store(to + 2 * G, m2, mask=held)


@jit
def from_center(hi, lo, conv_bias, PRE_ACT: tl.constexpr):
    """What to add to u, or to x before conv_bias, to center it: in two floats."""
    center, rest = -hi, -lo
    if not PRE_ACT:
        center, off = two_sum(conv_bias, -hi)
        rest += off
    return center, rest
