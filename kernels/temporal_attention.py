"""Attention over the frames of each pixel as one residual block.

``y = LN(x) + frames``, ``q, k, v = y W``, per head: ``q, k`` turned by rotary angles,
``p = softmax(q k^T / sqrt(D) + bias)``, ``out = x + sum over heads of (p v) Wo``.
LN has a gain and no bias. A sample with ``focus_present`` attends to its own frame alone.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

EPS = 1e-5


def reference(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    *,
    heads: int,
    angles: Tensor | None = None,
    bias: Tensor | None = None,
    frames: Tensor | None = None,
    focus_present: Tensor | None = None,
) -> Tensor:
    """The formula above, step by step."""
    y = F.layer_norm(x, x.shape[-1:], norm_weight, None, EPS)
    if frames is not None:
        y = y + frames[:, None, None]
    q, k, v = rearrange(
        F.linear(y, qkv_weight), "b t h w (three a d) -> three b h w a t d", three=3, a=heads
    )
    if angles is not None:
        q, k = rotate(q, angles), rotate(k, angles)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if focus_present is not None:
        own = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        hidden = rearrange(focus_present, "b -> b 1 1 1 1 1") & ~own
        scores = scores.masked_fill(hidden, float("-inf"))
    mixed = rearrange(scores.softmax(dim=-1) @ v, "b h w a t d -> b t h w (a d)")
    return x + F.linear(mixed, out_weight)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring pairs of channels of ``x`` [..., T, D] by ``angles`` [T, R / 2], R <= D."""
    turned, rest = x.split([2 * angles.shape[-1], x.shape[-1] - 2 * angles.shape[-1]], dim=-1)
    even, odd = rearrange(turned, "... (r two) -> two ... r", two=2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1)
    return torch.cat((rearrange(turned, "... r two -> ... (r two)"), rest), dim=-1)


def temporal_attention(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    *,
    heads: int,
    angles: Tensor | None = None,
    bias: Tensor | None = None,
    frames: Tensor | None = None,
    focus_present: Tensor | None = None,
) -> Tensor:
    """Add attention over the frames of each pixel to ``x``.

    x: [B, T, H, W, C]; norm_weight: [C]; qkv_weight: [3 * heads * D, C]; out_weight:
    [C, heads * D]; angles: [T, R / 2]; bias: [heads, T, T]; frames: [T, C] added to the
    normalised frames; focus_present: bool [B]. Differentiable in all but angles.
    """
    return reference(
        x,
        norm_weight,
        qkv_weight,
        out_weight,
        heads=heads,
        angles=angles,
        bias=bias,
        frames=frames,
        focus_present=focus_present,
    )
