"""Spatial linear attention of each frame as one residual block.

``y = LN(x)``, ``q, k, v = y W``, per head: ``q = softmax_D(q) / sqrt(D)``, ``k = softmax_L(k)``,
``out = x + bias + sum over heads of (q (k^T v)) Wo``. LN has a gain and no bias.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

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


def linear_attention(
    x: Tensor, norm_weight: Tensor, qkv_weight: Tensor, *, out: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """Add linear attention over the positions of each frame to ``x``.

    x: [B, T, H, W, C]; norm_weight: [C]; qkv_weight: [3 * heads * D, C]; out: weight
    [C, heads * D] and bias [C]. Differentiable in all.
    """
    if qkv_weight.shape[0] % (3 * heads):
        raise ValueError(f"3 * {heads} heads must divide the rows, got {qkv_weight.shape[0]}")
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
