"""Degradations of whole clips for cold diffusion: what is done to a clip at each severity.

Each takes clips [B, C, T, H, W] and a severity [B] in 0..1: 0 leaves the clip as it is, 1 keeps
next to nothing. They follow Bansal et al., 2208.09392, section 5, with a continuous severity.
"""

from collections.abc import Callable
from typing import Literal

import torch
from einops import einsum, rearrange
from torch import Tensor

Degradation = Literal["blur", "downsample", "mask"]


def degrade(kind: Degradation, clip: Tensor, severity: Tensor) -> Tensor:
    """Return the clip degraded, all frames of a sample alike."""
    if clip.ndim != 5 or severity.shape != clip.shape[:1]:
        raise ValueError(
            f"clip must be [B, C, T, H, W] and severity [B], "
            f"got {tuple(clip.shape)} and {tuple(severity.shape)}"
        )
    severity = severity.to(clip)
    if kind == "mask":
        return clip * _hole(severity, *clip.shape[-2:])
    return _along_axes(clip, severity, _blur_matrix if kind == "blur" else _block_matrix)


def _along_axes(clip: Tensor, severity: Tensor, matrix: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Apply ``matrix(severity, L)`` [B, L, L] along the height and along the width."""
    rows, columns = (matrix(severity, size) for size in clip.shape[-2:])
    # the degradation is data: in full precision, whatever the network runs in
    with torch.autocast(clip.device.type, enabled=False):
        clip = einsum(rows, clip, "b h i, b c t i w -> b c t h w")
        return einsum(columns, clip, "b w i, b c t h i -> b c t h w")


def _blur_matrix(severity: Tensor, size: int) -> Tensor:
    """Gaussian blur, standard deviation up to half the side, weights cut off at the edge.

    Variances of repeated blurs add up, so one blur stands for the paper's repeated ones.
    """
    at = torch.arange(size, dtype=severity.dtype, device=severity.device)
    squared = (rearrange(at, "i -> i 1") - at) ** 2
    # at severity 0 the exponent is 0 or -inf: the identity
    variance = rearrange((severity * size / 2) ** 2, "b -> b 1 1").clamp(min=1e-12)
    return torch.softmax(-squared / (2 * variance), dim=-1)


def _block_matrix(severity: Tensor, size: int) -> Tensor:
    """Mean of blocks of 1, 2, 4, ... pixels: downsampling by area, then nearest upsampling."""
    levels = max(1, (size - 1).bit_length())
    block = 2 ** torch.ceil(severity * levels).long()
    at = torch.arange(size, device=severity.device)
    of = at // rearrange(block, "b -> b 1")
    same = (rearrange(of, "b i -> b i 1") == rearrange(of, "b i -> b 1 i")).to(severity)
    return same / same.sum(-1, keepdim=True)


def _hole(severity: Tensor, height: int, width: int) -> Tensor:
    """Factor [B, 1, 1, H, W]: a Gaussian hole in the middle, as wide as the frame at severity 1."""
    y = torch.linspace(-1, 1, height, dtype=severity.dtype, device=severity.device)
    x = torch.linspace(-1, 1, width, dtype=severity.dtype, device=severity.device)
    radius = rearrange(y, "h -> h 1") ** 2 + x**2
    spread = rearrange(severity, "b -> b 1 1 1 1").clamp(min=1e-4)
    # the exponent 0 at the very middle would leave a hole of one pixel at severity 0
    hole = torch.exp(-radius / (2 * spread**2)) * (severity > 0).to(severity).reshape(spread.shape)
    return 1 - hole
