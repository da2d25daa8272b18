"""Where a network runs, and how precisely; its weights stay float32."""

from typing import Literal, get_args

import torch
from torch import nn

from fastvd.arguments import device_of

Precision = Literal["float32", "bfloat16", "float16"]


def check_precision(precision: str) -> None:
    """Raise ValueError for one that there is not."""
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ValueError(f"precision must be one of {known}, got {precision!r}")


def pick_device(device: torch.device | str | None) -> torch.device:
    """Return the device asked for; for None a GPU if there is one."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return device_of(device)


def check_lies_on(network: nn.Module, device: torch.device) -> None:
    """Raise ValueError for a network whose weights lie elsewhere."""
    lies = next(network.parameters()).device
    is_there = lies.type == device.type
    if is_there and lies.type == "cuda":
        # without a number it is the current one
        number = torch.cuda.current_device() if device.index is None else device.index
        is_there = lies.index == number
    if not is_there:
        raise ValueError(f"the network lies on {lies}, not on {device}: move it there")


def move(network: nn.Module, device: torch.device) -> None:
    """Move a network to a device; on a GPU its 2-D convolutions have channels last, as clips do."""
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    network.to(device, memory_format=layout)  # type: ignore[call-overload]


def autocast(device: torch.device, precision: Precision, *, cache: bool = True) -> torch.autocast:
    """Return the context in which a network runs at ``precision``; cache: of weights as cast."""
    dtype = torch.bfloat16 if precision == "float32" else getattr(torch, precision)
    enabled = precision != "float32"
    return torch.autocast(device.type, dtype=dtype, enabled=enabled, cache_enabled=cache)
