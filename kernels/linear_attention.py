"""Spatial linear attention of each frame as one residual block.

``y = LN(x)``, ``q, k, v = y W``, per head: ``q = softmax_D(q) / sqrt(D)``, ``k = softmax_L(k)``,
``out = x + bias + sum over heads of (q (k^T v)) Wo``. LN has a gain and no bias.
"""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .dispatch import cast, fused
from .linear_backward import (
    context_backward,
    input_backward,
    key_backward,
    query_backward,
)
from .linear_forward import Context, Sizes, apply_context, find_context, tiles_of

EPS = 1e-5


def reference(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, *, out: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """The formula above, step by step."""
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


def _folded(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, out_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Wq, Wk, Wv with the norm's gain, and Wo, in the dtype of ``x``."""
    folded = (qkv_weight.float() * norm_weight.float()).to(x.dtype)
    wq, wk, wv = folded.chunk(3)
    return wq, wk, wv, out_weight.to(x.dtype)


@torch.library.custom_op("fastvd::linear_attention", mutates_args=())
def _linear_attention(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The block, and what its backward starts from: all of ``Context`` but the last."""
    sizes = _sizes(x, qkv_weight, heads)
    tiles = tiles_of(sizes, x.dtype)
    wq, wk, wv, wo = _folded(x, norm_weight, qkv_weight, out_weight)
    context = find_context(x, (wk, wv, wo), sizes, tiles.context)
    y = apply_context(x, wq, out_bias, context, sizes, tiles.apply)
    return y, *context[:-1]


@_linear_attention.register_fake
def _(
    x: Tensor, _norm: Tensor, qkv_weight: Tensor, _out: Tensor, _bias: Tensor, heads: int
) -> tuple[Tensor, ...]:
    frames, n, c, heads, d = _sizes(x, qkv_weight, heads)
    return (
        torch.empty_like(x),
        x.new_empty(2, frames * n, dtype=torch.float32),
        x.new_empty(2, frames, heads * d, dtype=torch.float32),
        x.new_empty(heads, frames, d, c),
        x.new_empty(heads, frames, d, d, dtype=torch.float32),
    )


@torch.library.custom_op("fastvd::linear_attention_backward", mutates_args=())
def _linear_attention_backward(
    dy: Tensor,
    x: Tensor,
    weights: list[Tensor],
    saved: list[Tensor],
    heads: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, norm_weight, qkv_weight, out_weight and out_bias."""
    norm_weight, qkv_weight, out_weight, out_bias = weights
    sizes = _sizes(x, qkv_weight, heads)
    tiles, (frames, _, c, _, d) = tiles_of(sizes, x.dtype), sizes
    wq, wk, wv, wo = _folded(x, norm_weight, qkv_weight, out_weight)
    with torch.autocast(x.device.type, enabled=False):
        flat = saved[-1].view(heads, frames * d, d)
        scaled = rearrange(wo * d**-0.5, "c (a e) -> a e c", a=heads)
        output = torch.bmm(flat.to(x.dtype), scaled)
        context = Context(*saved, output.view(heads, frames, d, c))
        doutputs, dwq = query_backward(x, dy, wq, context, sizes, tiles.query)
        found = context_backward(doutputs, wv, wo, context, sizes)
        dwk = key_backward(x, wk, context, found, sizes, tiles.key)
        dx = input_backward(x, dy, (wq, wk), context, found, sizes, tiles.input)
        dwv = torch.bmm(
            found.context.view_as(flat).mT, context.mixed.view(heads, frames * d, c).float()
        )
        doutput = found.output.view(heads, frames * d, c)
        dwo = torch.bmm(flat.mT, doutput) * d**-0.5
        # each head's q adds up to one, so dM holds the sum of dy
        dbias = doutput.sum(dim=(0, 1)) / heads
    folded = torch.cat([dwq.sum(dim=(0, 1)), dwk.sum(dim=(0, 1)), dwv.view(heads * d, c)])
    dnorm = (folded * qkv_weight).sum(dim=0)
    return (
        dx,
        dnorm.to(norm_weight.dtype),
        (folded * norm_weight).to(qkv_weight.dtype),
        rearrange(dwo, "a e c -> c (a e)").to(out_weight.dtype, copy=True).contiguous(),
        dbias.to(out_bias.dtype),
    )


@_linear_attention_backward.register_fake
def _(
    _dy: Tensor, x: Tensor, weights: list[Tensor], _saved: list[Tensor], _heads: int
) -> tuple[Tensor, ...]:
    return torch.empty_like(x), *map(torch.empty_like, weights)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.heads = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _gradients(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, *rest = ctx.saved_tensors
    gradients = _linear_attention_backward(dy.contiguous(), x, rest[:4], rest[4:], ctx.heads)
    return *gradients, None


_linear_attention.register_autograd(_gradients, setup_context=_save)


def linear_attention(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, *, out: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """Add linear attention over the positions of each frame to ``x``.

    x: [B, T, H, W, C]; norm_weight: [C]; qkv_weight: [3 * heads * D, C]; out: weight
    [C, heads * D] and bias [C]. Differentiable in all. Raises ValueError where shapes, devices or
    dtypes do not go together.
    """
    _check(x, norm_weight, qkv_weight, out, heads)
    weights = (norm_weight, qkv_weight, *out)
    if fused("linear_attention", x, *weights, limit=_limit(x, qkv_weight, heads)):
        x = cast(x).contiguous()
        y: Tensor = _linear_attention(x, *(w.contiguous() for w in weights), heads)[0]
        return y
    return _eager(x, norm_weight, qkv_weight, out, heads)


def _check(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, out: tuple[Tensor, Tensor], heads: int
) -> None:
    if x.ndim != 5:
        raise ValueError(f"linear_attention takes x [B, T, H, W, C], got {list(x.shape)}")
    if heads < 1:
        raise ValueError(f"linear_attention takes one head or more, got {heads}")
    rows, c = len(qkv_weight), x.shape[-1]
    if rows % (3 * heads):
        raise ValueError(f"3 * {heads} heads must divide the rows, got {rows}")
    for name, tensor, shape in (
        ("norm_weight", norm_weight, [c]),
        ("qkv_weight", qkv_weight, [rows, c]),
        ("out weight", out[0], [c, rows // 3]),
        ("out bias", out[1], [c]),
    ):
        if list(tensor.shape) != shape:
            raise ValueError(f"linear_attention takes {name} {shape}, got {list(tensor.shape)}")


def _limit(x: Tensor, qkv_weight: Tensor, heads: int) -> str:
    """What of the shapes the kernels do not take."""
    _, n, c, _, d = _sizes(x, qkv_weight, heads)
    if d < 16 or d & (d - 1):
        return f"heads of {d} channels, not 16 or a higher power of 2"
    return "" if n and c else "an empty frame"


def _eager(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, out: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """The formula in few passes."""
    b, t, h, w, c = x.shape
    tokens = x.reshape(b * t, h * w, c)
    y = F.layer_norm(tokens, (c,), norm_weight, None, EPS)
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
