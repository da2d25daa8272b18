"""Embeddings of time, condition and frame position."""

import math

import torch
from einops import rearrange
from torch import Tensor, nn

BUCKETS = 32
"""Relative distances are told apart by this many buckets, half of them for each sign."""

MAX_DISTANCE = 32
"""Frames this far apart, or farther, share a bucket."""


def sinusoid(t: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of ``t`` [B] at frequencies from 1 down to 1e-4, as float32 [B, width].

    The positional code of Vaswani et al. 2017, section 3.5; width is even and at least 4.
    """
    half = width // 2
    steps = torch.arange(half, device=t.device, dtype=torch.float32)
    angles = t.float()[:, None] * torch.exp(steps * (-math.log(10000) / (half - 1)))
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def rotary_angles(frames: int, width: int, *, device: torch.device) -> Tensor:
    """Angle of each pair of channels in each frame, float32 [frames, width / 2].

    RoFormer (Su et al. 2021), equation 15.
    """
    powers = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    return torch.arange(frames, device=device, dtype=torch.float32)[:, None] / 10000**powers


def distance_buckets(frames: int, *, device: torch.device) -> Tensor:
    """Bucket of the distance from query frame i to key frame j, int64 [frames, frames].

    As in T5 (Raffel et al. 2020, section 2.1): exact up to 8, then logarithmic up to 32.
    """
    index = torch.arange(frames, device=device)
    ahead = index[:, None] - index[None, :]  # > 0: the key lies before the query
    distance = ahead.abs()
    half, exact = BUCKETS // 2, BUCKETS // 4
    ratio = torch.log(distance.clamp_min(1).float() / exact) / math.log(MAX_DISTANCE / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp_max(half - 1)
    return torch.where(distance < exact, distance, far) + half * (ahead < 0)


class TimeEmbedding(nn.Module):
    """Timestep and condition in, one vector a sample out.

    The condition is joined to the embedded time; without one a learned vector takes its place.
    """

    def __init__(self, features: int, width: int, *, layers: int, cond_dim: int | None) -> None:
        super().__init__()
        self.features = features
        self.linears = nn.ModuleList(
            nn.Linear(features if i == 0 else width, width) for i in range(layers)
        )
        self.act = nn.GELU() if layers == 2 else nn.SiLU()
        self.null_cond = nn.Parameter(torch.randn(1, cond_dim)) if cond_dim else None

    def forward(
        self, t: Tensor, *, dtype: torch.dtype, cond: Tensor | None, drop_cond: Tensor | None
    ) -> Tensor:
        """t: [B]; dtype: of the weights; cond: [B, cond_dim] or None for none; drop_cond: bool
        [B], rows to leave out.
        """
        emb = sinusoid(t, self.features).to(dtype)
        for i, linear in enumerate(self.linears):
            emb = linear(self.act(emb) if i else emb)
        if self.null_cond is None:
            return emb
        null = self.null_cond.expand(t.shape[0], -1)
        if cond is None:
            cond = null
        elif drop_cond is not None:
            cond = torch.where(rearrange(drop_cond, "b -> b 1"), null, cond)
        return torch.cat((emb, cond.to(emb.dtype)), dim=-1)


class RelativeBias(nn.Module):
    """A learned bias a head for each distance between two frames, shared by all layers."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(BUCKETS, heads))

    def forward(self, frames: int) -> Tensor:
        """[heads, frames, frames], query by key."""
        buckets = distance_buckets(frames, device=self.table.device)
        return rearrange(self.table[buckets], "i j a -> a i j")


class FrameEmbedding(nn.Module):
    """A learned vector a frame; more frames than rows stretch the rows by linear interpolation."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(rows, width) * 0.1)

    def forward(self, frames: int) -> Tensor:
        """[frames, width]"""
        if frames <= self.rows.shape[0]:
            return self.rows[:frames]
        stretched = nn.functional.interpolate(
            rearrange(self.rows, "r c -> 1 c r"), frames, mode="linear", align_corners=True
        )
        return rearrange(stretched, "1 c t -> t c")
