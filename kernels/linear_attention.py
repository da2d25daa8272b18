"""Spatial linear attention of each frame as one residual block."""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .checks import PAIR, TENSOR, WHOLE, check_clip, check_heads, check_kinds, check_shapes
from .dispatch import cast, fused
from .empty import empty
from .launch import precision
from .layer_norm_act import layer_norm
from .linear_block import EPS, Sizes, Weights, fused_backward, fused_forward, tiles_of
from .linear_wide import wide_backward, wide_forward
from .ops import op

CHANNELS = 128
"""Above, weights do not fit beside the tokens of a program, and cuBLAS does well."""


def reference(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, *, out: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """The formula of ``linear_attention``, step by step."""
    y = F.layer_norm(x, x.shape[-1:], norm_weight, None, EPS)
    q, k, v = rearrange(
        F.linear(y, qkv_weight), "b t h w (three a d) -> three (b t) a (h w) d", three=3, a=heads
    )
    q = q.softmax(dim=-1) * q.shape[-1] ** -0.5
    mixed = q @ (k.softmax(dim=-2).transpose(-1, -2) @ v)
    b, t, h, w, _ = x.shape
    mixed = rearrange(mixed, "(b t) a (h w) d -> b t h w (a d)", b=b, t=t, h=h, w=w)
    return x + F.linear(mixed, *out)


def _sizes(x: Tensor, qkv_weight: Tensor, heads: int) -> Sizes:
    b, t, h, w, c = x.shape
    return Sizes(b * t, h * w, c, heads, qkv_weight.shape[0] // (3 * heads))


def _folded(x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, out_weight: Tensor) -> Weights:
    """Wq, Wk, Wv with the norm's gain, and Wo, in the dtype of ``x``."""
    folded = (qkv_weight.float() * norm_weight.float()).to(x.dtype)
    wq, wk, wv = folded.chunk(3)
    return wq, wk, wv, out_weight.to(x.dtype)


def _wide(sizes: Sizes, dtype: torch.dtype) -> bool:
    """Whether cuBLAS takes the products. It does in float32 without tensor cores, too."""
    frames, n, c, heads, d = sizes
    fits = (c <= CHANNELS and d in (16, 32)) or (c <= CHANNELS // 2 and d == 64)
    fits = fits and n * c < 1 << 31 and frames * heads * d * c < 1 << 31
    return not fits or (dtype == torch.float32 and precision() == "ieee")


@op("linear_attention")
def _linear_attention(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    heads: int,
    wide: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The block, and what its backward starts from: all of ``Context`` but the last."""
    sizes = _sizes(x, qkv_weight, heads)
    weights = _folded(x, norm_weight, qkv_weight, out_weight)
    with torch.autocast(x.device.type, enabled=False):
        if wide:
            return wide_forward(x, weights, out_bias, sizes), *_kept(x, sizes, wide)
        tiles = tiles_of(sizes, x.dtype)
        y, context = fused_forward(x, weights, out_bias, sizes, tiles)
    return y, *context[:-1]


def _kept(x: Tensor, sizes: Sizes, wide: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory for what the backward starts from, empty where it starts from x alone."""
    frames, n, c, heads, d = sizes
    frames = 0 if wide else frames
    return (
        x.new_empty(3, frames * n, dtype=torch.float32),
        x.new_empty(2, frames, heads * d, dtype=torch.float32),
        x.new_empty(heads, frames, d, c),
        x.new_empty(heads, frames, d, d, dtype=torch.float32),
    )


@_linear_attention.register_fake
def _(
    x: Tensor,
    _norm: Tensor,
    qkv_weight: Tensor,
    _out: Tensor,
    _bias: Tensor,
    heads: int,
    wide: bool,
) -> tuple[Tensor, ...]:
    return torch.empty_like(x), *_kept(x, _sizes(x, qkv_weight, heads), wide)


@op("linear_attention_backward")
def _linear_attention_backward(
    dy: Tensor, x: Tensor, weights: list[Tensor], kept: list[Tensor], heads: int, wide: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, norm_weight, qkv_weight, out_weight and out_bias."""
    norm_weight, qkv_weight, out_weight, out_bias = weights
    sizes = _sizes(x, qkv_weight, heads)
    folded = _folded(x, norm_weight, qkv_weight, out_weight)
    with torch.autocast(x.device.type, enabled=False):
        if wide:
            dx, dqkv, dout, dbias = wide_backward(dy, x, folded, sizes)
        else:
            tiles = tiles_of(sizes, x.dtype)
            dx, dqkv, dout, dbias = fused_backward(dy, x, folded, kept, sizes, tiles)
        dqkv = dqkv.float()
        dnorm = (dqkv * qkv_weight).sum(dim=0)
    return (
        dx,
        dnorm.to(norm_weight.dtype),
        (dqkv * norm_weight).to(qkv_weight.dtype),
        dout.to(out_weight.dtype).contiguous(),
        dbias.to(out_bias.dtype),
    )


@_linear_attention_backward.register_fake
def _(
    _dy: Tensor, x: Tensor, weights: list[Tensor], _kept: list[Tensor], *_: Any
) -> tuple[Tensor, ...]:
    return torch.empty_like(x), *map(torch.empty_like, weights)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, heads, wide = inputs
    ctx.options = heads, wide
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _gradients(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, *rest = ctx.saved_tensors
    gradients = _linear_attention_backward(dy.contiguous(), x, rest[:4], rest[4:], *ctx.options)
    return *gradients, None, None


_linear_attention.register_autograd(_gradients, setup_context=_save)


def linear_attention(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, *, out: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """Add linear attention over the positions of each frame, layer-normed first, to ``x``.

    ``y = LN(x)``, ``q, k, v = y W``, per head: ``q = softmax_D(q) / sqrt(D)``, ``k =
    softmax_L(k)``, ``out = x + bias + sum over heads of (q (k^T v)) Wo``; LN has a gain, no bias
    and an eps of 1e-5, L are the positions of a frame: efficient attention (1812.01243, section
    3.2).
    x: [B, T, H, W, C]; norm_weight: [C]; qkv_weight: [3 * heads * D, C]; out: weight [C, heads
    * D] and bias [C]. Differentiable in all. Raises TypeError for another kind of argument,
    ValueError where shapes, devices or dtypes do not go together.
    """
    _check(x, norm_weight, qkv_weight, out, heads)
    weights = (norm_weight, qkv_weight, *out)
    is_fused = fused("linear_attention", x, *weights)
    if not x.numel():
        return empty(cast(x), x.shape, x, *weights)
    if is_fused:
        x = cast(x).contiguous()
        wide = _wide(_sizes(x, qkv_weight, heads), x.dtype)
        y: Tensor = _linear_attention(x, *(w.contiguous() for w in weights), heads, wide)[0]
        return y
    x = cast(x)
    own = (out[0].to(x.dtype), out[1].to(x.dtype))
    return _eager(x, norm_weight, qkv_weight.to(x.dtype), own, heads)


def _check(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, out: tuple[Tensor, Tensor], heads: int
) -> None:
    op = "linear_attention"
    check_kinds(
        op,
        (
            ("x", x, TENSOR),
            ("norm_weight", norm_weight, TENSOR),
            ("qkv_weight", qkv_weight, TENSOR),
            ("out", out, PAIR),
            ("heads", heads, WHOLE),
        ),
    )
    check_clip(op, x)
    check_heads(op, heads, qkv_weight)
    rows, c = len(qkv_weight), x.shape[-1]
    check_shapes(
        op,
        (
            ("norm_weight", norm_weight, (c,)),
            ("qkv_weight", qkv_weight, (rows, c)),
            ("out weight", out[0], (c, rows // 3)),
            ("out bias", out[1], (c,)),
        ),
    )


def _eager(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, out: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """The formula in few passes."""
    b, t, h, w, c = x.shape
    tokens = x.reshape(b * t, h * w, c)
    y = layer_norm(tokens, norm_weight, None)
    n = len(y)
    wq, wk, wv = qkv_weight.chunk(3)
    width = wq.shape[0] // heads
    # a product a frame: it shares the cores better than one tall product
    k = torch.bmm(wk.expand(n, -1, -1), y.transpose(1, 2)).softmax(dim=-1)  # [N, heads * D, L]
    # k^T v Wo = (k^T y) Wv Wo: neither v nor the wide output is ever made
    context = rearrange(torch.bmm(k, y), "n (a d) c -> a (n d) c", a=heads)
    wv = rearrange(wv, "(a d) c -> a c d", a=heads)
    wo = rearrange(out[0] * width**-0.5, "c (a d) -> a d c", a=heads)
    context = rearrange(context @ (wv @ wo), "a (n d) c -> n (a d) c", n=n)
    q = torch.bmm(y, wq.t().expand(n, -1, -1))
    q = rearrange(q, "n l (a d) -> n l a d", a=heads).softmax(dim=-1)
    q = rearrange(q, "n l a d -> n l (a d)")
    return torch.baddbmm(tokens + out[1], q, context).reshape(x.shape)
