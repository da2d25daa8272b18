"""Attention blocks over positions, over frames, and over both; each adds to its input."""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from fastvd import kernels
from fastvd.models.embed import FrameEmbedding, rotary_angles

ROTARY_WIDTH = 32
"""Channels of a head, at most, that rotary angles turn."""


class Context(NamedTuple):
    """What every block of one forward pass may look at."""

    emb: Tensor
    """Embedded time and condition [B, E], activated."""
    bias: Tensor | None = None
    """Bias of temporal attention [heads, T, T]."""
    focus_present: Tensor | None = None
    """bool [B]: samples whose frames must not see each other."""


class Norm(nn.Module):
    """Norm before an attention: a layer norm over channels, or a group norm over the clip."""

    def __init__(self, channels: int, *, groups: int | None) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if groups else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, H, W, C]"""
        if self.groups is None or self.bias is None:
            return kernels.layer_norm_act(x, (self.weight, None), act=False)
        affine = (self.weight, self.bias)
        return kernels.group_norm_act(x, affine, groups=self.groups, act=False)


class FullAttention(nn.Module):
    """Softmax attention over the positions of a frame, or of the whole clip."""

    def __init__(
        self, channels: int, heads: int, head_dim: int, *, groups: int | None, across_frames: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.across_frames = across_frames
        self.norm = Norm(channels, groups=groups)
        self.qkv = nn.Linear(channels, 3 * heads * head_dim, bias=False)
        self.out = attention_output(heads * head_dim, channels, bias=False)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, H, W, C], also returned."""
        b, t, h, w, _ = x.shape
        tokens = "b a (t h w) d" if self.across_frames else "(b t) a (h w) d"
        qkv = self.qkv(self.norm(x))
        q, k, v = rearrange(qkv, f"b t h w (three a d) -> three {tokens}", three=3, a=self.heads)
        mask = None
        if self.across_frames and context.focus_present is not None:
            mask = frame_mask(context.focus_present, frames=t, positions=h * w)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return cast(
            Tensor, x + self.out(rearrange(mixed, f"{tokens} -> b t h w (a d)", b=b, t=t, h=h, w=w))
        )


class LinearAttention(nn.Module):
    """Linear attention over the positions of each frame (Shen et al. 2018)."""

    def __init__(self, channels: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(channels, groups=None)
        self.qkv = nn.Linear(channels, 3 * heads * head_dim, bias=False)
        self.out = attention_output(heads * head_dim, channels, bias=True)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # noqa: ARG002
        """x: [B, T, H, W, C], also returned."""
        out = (self.out.weight, self.out.bias)
        return kernels.linear_attention(
            x, self.norm.weight, self.qkv.weight, out=out, heads=self.heads
        )


class TemporalAttention(nn.Module):
    """Attention over the frames of each pixel, told apart by rotary angles, bias or embedding."""

    def __init__(
        self, channels: int, heads: int, head_dim: int, *, rotary: bool, frame_embedding: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.rotary_width = min(ROTARY_WIDTH, head_dim) if rotary else 0
        self.norm = Norm(channels, groups=None)
        self.qkv = nn.Linear(channels, 3 * heads * head_dim, bias=False)
        self.out = attention_output(heads * head_dim, channels, bias=False)
        self.frames = FrameEmbedding(frame_embedding, channels) if frame_embedding else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, H, W, C], also returned."""
        frames, angles = x.shape[1], None
        if self.rotary_width:
            angles = rotary_angles(frames, self.rotary_width, device=x.device)
        return kernels.temporal_attention(
            x,
            self.norm.weight,
            self.qkv.weight,
            self.out.weight,
            heads=self.heads,
            angles=angles,
            bias=context.bias,
            frames=None if self.frames is None else self.frames(frames),
            focus_present=context.focus_present,
        )


def frame_mask(focus_present: Tensor, *, frames: int, positions: int) -> Tensor:
    """Which token may see which, bool [B, 1, L, L], L = frames * positions."""
    index = repeat(torch.arange(frames, device=focus_present.device), "t -> (t n)", n=positions)
    same = index[:, None] == index[None, :]
    return same | ~rearrange(focus_present, "b -> b 1 1 1")


def attention_output(width: int, channels: int, *, bias: bool) -> nn.Linear:
    """The layer that closes a residual branch: small, but not zero, or branches stay asleep."""
    linear = nn.Linear(width, channels, bias=bias)
    nn.init.normal_(linear.weight, std=0.5 * width**-0.5)
    return linear
