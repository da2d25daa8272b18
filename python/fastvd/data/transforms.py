"""The one change of layout and range: uint8 T H W C of files to float C T H W of networks."""

from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from fastvd import native
from fastvd.data.batch import fill


def to_network(clip: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 [B, T, H, W, C] as float [B, C, T, H, W] in -1..1, on the device where it lies.

    0 becomes -1 and 255 becomes 1; the halves are float32 rounded. On a GPU the axes move without
    a copy, so the result is in ``channels_last_3d``; on a CPU it is contiguous.
    """
    if clip.ndim != 5 or clip.dtype != torch.uint8:
        raise ValueError(f"clip must be uint8 [B, T, H, W, C], got {_describe(clip)}")
    if clip.device.type == "cpu" and native.available and dtype in _KINDS:
        return _filled(clip, dtype)
    return to_network_twin(clip, dtype=dtype)


def to_network_twin(clip: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same by PyTorch."""
    moved = rearrange(clip, "b t h w c -> b c t h w")
    layout = torch.preserve_format if clip.is_cuda else torch.contiguous_format
    # a tensor, since a GPU multiplies by the reciprocal of a number, which rounds otherwise
    span = torch.full((), 127.5, device=clip.device)
    return moved.to(torch.float32, memory_format=layout).div_(span).sub_(1.0).to(dtype)


_KINDS: dict[torch.dtype, Literal["float32", "float16", "bfloat16"]] = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


def _filled(clip: Tensor, dtype: torch.dtype) -> Tensor:
    B, T, H, W, C = clip.shape
    out = torch.empty((B, C, T, H, W), dtype=dtype)
    bits = out if dtype == torch.float32 else out.view(torch.uint16)
    numbers = np.broadcast_to(np.arange(T), (B, T)).copy()
    frames = clip.contiguous().numpy()
    fill(frames, numbers, bits.numpy(), _KINDS[dtype], threads=torch.get_num_threads())
    return out


def to_frames(clip: Tensor) -> Tensor:
    """Float [B, C, T, H, W] in -1..1 as contiguous uint8 [B, T, H, W, C], rounded and clamped.

    Undoes ``to_network`` exactly. Raises ValueError where a value is NaN or infinite.
    """
    if clip.ndim != 5 or not clip.is_floating_point():
        raise ValueError(f"clip must be float [B, C, T, H, W], got {_describe(clip)}")
    num_bad = int((~clip.isfinite()).sum())
    if num_bad:
        raise ValueError(f"clip has {num_bad} of {clip.numel()} values that are NaN or infinite")
    levels = clip.to(torch.float32, copy=True).add_(1.0).mul_(127.5).round_().clamp_(0, 255)
    return rearrange(levels.to(torch.uint8), "b c t h w -> b t h w c").contiguous()


def _describe(clip: Tensor) -> str:
    return f"{str(clip.dtype).removeprefix('torch.')} {list(clip.shape)}"
