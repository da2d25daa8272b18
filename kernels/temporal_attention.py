"""Attention over the frames of each pixel as one residual block."""

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from .checks import (
    MAYBE_TENSOR,
    TENSOR,
    WHOLE,
    check_clip,
    check_heads,
    check_kinds,
    check_shapes,
)
from .dispatch import cast, cast_dtype, fused
from .empty import empty
from .layer_norm_act import layer_norm, layer_norm_act
from .split import split_bmm
from .temporal_block import block_limit, temporal_block
from .temporal_core import MAX_FRAMES, core_limit, temporal_core

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
    """The formula of ``temporal_attention``, step by step."""
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
    width = 2 * angles.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
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
    """Add attention over the frames of each pixel, layer-normed first, to ``x``.

    ``y = LN(x) + frames``, ``q, k, v = y W``, per head: pairs of neighbouring channels of ``q, k``
    turned by ``angles``, ``p = softmax(q k^T / sqrt(D) + bias)``, ``out = x + sum over heads of (p
    v) Wo``; LN has a gain, no bias and an eps of 1e-5; frames of a sample with ``focus_present``
    attend to themselves alone: attention (1706.03762, eq. 1) of video diffusion (2204.03458,
    section 3), rotary angles (2104.09864).
    x: [B, T, H, W, C]; norm_weight: [C]; qkv_weight: [3 * heads * D, C]; out_weight: [C, heads
    * D]; angles: [T, R / 2]; bias: [heads, T, T]; frames: [T, C] added to the normalised
    frames; focus_present: bool [B]. Differentiable in all but angles. Raises TypeError for
    another kind of argument, ValueError for no frames and more than 64, and where shapes,
    devices or dtypes do not go together.
    """
    weights, tables = (norm_weight, qkv_weight, out_weight), (angles, bias, frames)
    _check(x, *weights, heads, *tables, focus_present)
    limit = core_limit(x.shape[1], qkv_weight.shape[0] // (3 * heads), cast_dtype(x))
    is_fused = fused("temporal_attention", x, *weights, *tables, limit=limit)
    if not x.numel():
        return empty(cast(x), x.shape, x, *weights, bias, frames)
    if is_fused:
        if not block_limit(x, qkv_weight, heads):
            return temporal_block(x, *weights, *tables, focus_present, heads=heads)
        x = cast(x)
        y = _normalized(x, norm_weight, frames)
        qkv = F.linear(y, qkv_weight.to(y.dtype))
        o = _core(qkv, heads, angles, bias, focus_present)
        return x + F.linear(o, out_weight.to(y.dtype))
    x = cast(x)
    b, t, h, w, c = x.shape
    y = rearrange(layer_norm(x, norm_weight, None), "b t h w c -> t (b h w) c")
    if frames is not None:
        y = y + frames[:, None].to(y.dtype)
    wq, wk, wv = qkv_weight.chunk(3)
    wv, out_weight = wv.to(y.dtype), out_weight.to(y.dtype)
    # rotation and scale go into a weight a frame: it is small, q and k are 2 heads D / C times x
    wq = wq * (wq.shape[0] // heads) ** -0.5
    q, k = (split_bmm(y, _frame_weights(w, angles, heads, frames=t).to(y.dtype)) for w in (wq, wk))
    q = rearrange(q, "t p (a d) -> (p a) t d", a=heads)
    k = rearrange(k, "t p (a d) -> (p a) t d", a=heads)
    scores = rearrange(_Scores.apply(q, k), "(b n a) i j -> b n a i j", b=b, a=heads)
    weights = _Softmax.apply(_masked(scores, bias, focus_present)).to(y.dtype)
    weights = rearrange(weights, "b n a i j -> (b n) a i j")
    mixed = _mix_merged if c <= wv.shape[0] // heads else _mix_values
    out = mixed(weights, y, wv, out_weight)  # [P, T, C]
    return x + rearrange(out, "(b h w) t c -> b t h w c", b=b, h=h, w=w)


def _check(
    x: Tensor,
    norm_weight: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    heads: int,
    angles: Tensor | None,
    bias: Tensor | None,
    frames: Tensor | None,
    focus_present: Tensor | None,
) -> None:
    op = "temporal_attention"
    check_kinds(
        op,
        (
            ("x", x, TENSOR),
            ("norm_weight", norm_weight, TENSOR),
            ("qkv_weight", qkv_weight, TENSOR),
            ("out_weight", out_weight, TENSOR),
            ("heads", heads, WHOLE),
            ("angles", angles, MAYBE_TENSOR),
            ("bias", bias, MAYBE_TENSOR),
            ("frames", frames, MAYBE_TENSOR),
            ("focus_present", focus_present, MAYBE_TENSOR),
        ),
    )
    check_clip(op, x)
    check_heads(op, heads, qkv_weight)
    b, t, _, _, c = x.shape
    if not 1 <= t <= MAX_FRAMES:
        raise ValueError(f"{op} takes 1 to {MAX_FRAMES} frames, got {t}")
    rows = len(qkv_weight)
    most = rows // (3 * heads) // 2
    if angles is not None and (angles.shape[:-1] != (t,) or angles.shape[-1] > most):
        wanted = f"[{t}, {most} or less]: heads have {rows // (3 * heads)} channels"
        raise ValueError(f"{op} takes angles {wanted}; got {list(angles.shape)}")
    check_shapes(
        op,
        (
            ("norm_weight", norm_weight, (c,)),
            ("qkv_weight", qkv_weight, (rows, c)),
            ("out_weight", out_weight, (c, rows // 3)),
            ("bias", bias, (heads, t, t)),
            ("frames", frames, (t, c)),
            ("focus_present", focus_present, (b,)),
        ),
    )
    if focus_present is None:
        return
    if focus_present.dtype != torch.bool or focus_present.layout != torch.strided:
        got = f"{focus_present.dtype}, {focus_present.layout}"
        raise ValueError(f"{op} takes focus_present of bool, torch.strided; got {got}")
    if focus_present.device != x.device:
        devices = f"{x.device}, {focus_present.device}"
        raise ValueError(f"{op} takes tensors on one device, got {devices}")


def _normalized(x: Tensor, weight: Tensor, frames: Tensor | None) -> Tensor:
    """LN(x) + frames: as a shift, which the norm adds without another pass over x."""
    if frames is None:
        return layer_norm_act(x, (weight, None), act=False)
    b, t, _, _, c = x.shape
    images = rearrange(x, "b t h w c -> (b t) h w c")
    shift = repeat(frames, "t c -> (b t) c", b=b)
    scale = frames.new_zeros(1, c).expand(b * t, c)
    y = layer_norm_act(images, (weight, None), (scale, shift), act=False)
    return rearrange(y, "(b t) h w c -> b t h w c", t=t)


def _core(
    qkv: Tensor,
    heads: int,
    angles: Tensor | None,
    bias: Tensor | None,
    focus_present: Tensor | None,
) -> Tensor:
    cos = sin = None
    if angles is not None:
        angles = angles.detach().float().contiguous()
        cos, sin = angles.cos(), angles.sin()
    bias = None if bias is None else bias.contiguous()
    focus = None if focus_present is None else focus_present.contiguous()
    o: Tensor = temporal_core(qkv, cos, sin, bias, focus, heads)
    return o


def _frame_weights(weight: Tensor, angles: Tensor | None, heads: int, *, frames: int) -> Tensor:
    """[heads * D, C] as [T, C, heads * D], turned by each frame's angles."""
    if angles is None:
        return rearrange(weight, "o c -> c o").expand(frames, -1, -1)
    columns = rearrange(weight, "(a d) c -> a c 1 d", a=heads)
    turned = rotate(columns.expand(-1, -1, frames, -1), angles)
    return rearrange(turned, "a c t d -> t c (a d)")


def _masked(scores: Tensor, bias: Tensor | None, focus_present: Tensor | None) -> Tensor:
    if bias is not None:
        scores = scores + bias
    if focus_present is None:
        return scores
    own = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    hidden = rearrange(focus_present, "b -> b 1 1 1 1") & ~own
    return scores.masked_fill(hidden, float("-inf"))


class _Scores(torch.autograd.Function):
    """q k^T, the gradient of k in k's own layout: torch's comes out transposed."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> Tensor:
        ctx.save_for_backward(q, k)
        return torch.bmm(q, k.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        q, k = ctx.saved_tensors
        return torch.bmm(grad, k), torch.bmm(grad.transpose(1, 2), q)


class _Softmax(torch.autograd.Function):
    """Softmax over the last axis, in few passes: torch's is slow over a handful of columns."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        p = scores - scores.amax(dim=-1, keepdim=True)
        p.exp_()
        p.div_(p.sum(dim=-1, keepdim=True))
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        weighed = grad * p
        return torch.addcmul(weighed, p, weighed.sum(dim=-1, keepdim=True), value=-1)


def _mix_merged(weights: Tensor, y: Tensor, wv: Tensor, out_weight: Tensor) -> Tensor:
    """Weigh ``y`` itself, then map by Wv Wo of each head at once: cheaper where C <= D."""
    heads, t = weights.shape[1], y.shape[0]
    both = torch.bmm(
        rearrange(wv, "(a d) c -> a c d", a=heads),
        rearrange(out_weight, "e (a d) -> a d e", a=heads),
    )
    mixed = torch.bmm(rearrange(weights, "p a i j -> p (i a) j"), rearrange(y, "t p c -> p t c"))
    mixed = rearrange(mixed, "p (i a) c -> 1 (p i) (a c)", a=heads)
    out = split_bmm(mixed, rearrange(both, "a c e -> 1 (a c) e"))
    return rearrange(out, "1 (p i) e -> p i e", i=t)


def _mix_values(weights: Tensor, y: Tensor, wv: Tensor, out_weight: Tensor) -> Tensor:
    heads, t = weights.shape[1], y.shape[0]
    v = split_bmm(rearrange(y, "t p c -> 1 (t p) c"), rearrange(wv, "o c -> 1 c o"))
    v = rearrange(v, "1 (t p) (a d) -> (p a) t d", t=t, a=heads)
    mixed = torch.bmm(rearrange(weights, "p a i j -> (p a) i j"), v)
    mixed = rearrange(mixed, "(p a) t d -> 1 (p t) (a d)", a=heads)
    out = split_bmm(mixed, rearrange(out_weight, "e o -> 1 o e"))
    return rearrange(out, "1 (p t) e -> p t e", t=t)
