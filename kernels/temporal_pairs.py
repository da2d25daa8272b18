"""Tiles of temporal attention: G pairs of a pixel and a head with F frames of D channels each.

Heads that lie side by side come first, so that a tile's rows are long; F is a power of two of 16 or
more, what is not there is zero. Products are taken pair by pair: nothing passes from one pixel to
another, not even a NaN.
"""

from .launch import jit, tl
from .rows import turn


@jit
def places(
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
def angles(cos_ptr, sin_ptr, T, R: tl.constexpr, F: tl.constexpr, D: tl.constexpr):
    """Cosine and sine [F, 1, D / 2] of each pair of channels; zero from pair R on."""
    f, r = tl.arange(0, F)[:, None, None], tl.arange(0, D // 2)[None, None, :]
    cos, sin = 0.0, 0.0
    if R:
        cos = tl.load(cos_ptr + f * R + r, mask=(f < T) & (r < R), other=0.0)
        sin = tl.load(sin_ptr + f * R + r, mask=(f < T) & (r < R), other=0.0)
    return cos, sin


@jit
def load_turned(
    at,
    real,
    cos,
    sin,
    WIDE: tl.constexpr,
    R: tl.constexpr,
):
    """q, k and v [G, F, D], q and k turned."""
    q = turn(tl.load(at, mask=real, other=0.0), cos, sin, R)
    k = turn(tl.load(at + WIDE, mask=real, other=0.0), cos, sin, R)
    v = tl.load(at + 2 * WIDE, mask=real, other=0.0)
    return tl.permute(q, (1, 0, 2)), tl.permute(k, (1, 0, 2)), tl.permute(v, (1, 0, 2))


@jit
def bias_places(
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
def seen_frames(focus_ptr, sample, B, T, F: tl.constexpr, G: tl.constexpr, HAS_FOCUS: tl.constexpr):
    """Which frames [G, F, F] a frame looks at: always itself, so that no row is empty."""
    i, j = tl.arange(0, F)[None, :, None], tl.arange(0, F)[None, None, :]
    others = tl.broadcast_to(j < T, [G, F, F])
    if HAS_FOCUS:
        focus = tl.load(focus_ptr + sample, mask=sample < B, other=0) != 0
        others = others & ~focus[:, None, None]
    return others | (i == j)


@jit
def pair_product(a, b, PRECISION: tl.constexpr):
    """a b for each pair; a single pair as plain matrices, which all warps share."""
    if a.shape[0] == 1:
        a = tl.reshape(a, [a.shape[1], a.shape[2]])
        b = tl.reshape(b, [b.shape[1], b.shape[2]])
        product = tl.dot(a, b, input_precision=PRECISION)[None, :, :]
    else:
        product = tl.dot(a, b, input_precision=PRECISION)
    return product


@jit
def base_2(x):
    """What 2 is raised to, to give exp(x)."""
    return x * 1.4426950408889634


@jit
def softmax_rows(scores, seen):
    """Weights of each row before they are divided by their sum, and that sum; base 2."""
    scores = tl.where(seen, scores, float("-inf"))
    p = tl.exp2(scores - tl.max(scores, axis=2)[:, :, None])
    return p, tl.sum(p, axis=2)[:, :, None]
