"""The one rule that picks fused or eager, and the checks that both share."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from . import launch

FUSED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
DTYPES = (*FUSED_DTYPES, torch.float64)

_open_blocks = 0
_warned: set[str] = set()


@contextmanager
def eager() -> Iterator[None]:
    """Run plain PyTorch instead of fused kernels inside this block, in all threads."""
    global _open_blocks
    _open_blocks += 1
    try:
        yield
    finally:
        _open_blocks -= 1


def fused(op: str, *tensors: Tensor | None, limit: str = "") -> bool:
    """Whether the kernel of ``op`` takes ``tensors``.

    It does on a GPU with Triton, in float32, float16 and bfloat16, outside of ``eager``. ``limit``
    says what of the shapes it does not cover: then, and without Triton, a user of a GPU is warned
    once.
    Raises ValueError for tensors of another dtype than ``DTYPES`` and on several devices.
    """
    given = [t for t in tensors if t is not None]
    check_tensors(op, given)
    if _open_blocks or any(t.dtype not in FUSED_DTYPES for t in given):
        return False
    if not given[0].is_cuda:
        return launch.interpreted and not limit and not _is_garbled(given)
    if not launch.available:
        _warn(f"Triton is not installed: {op} and its like run as plain PyTorch")
    elif limit:
        _warn(f"{op} runs as plain PyTorch: {limit}")
    return launch.available and not limit


def _is_garbled(tensors: Sequence[Tensor]) -> bool:
    """Whether Triton's interpreter takes the numbers for something else, which warns."""
    if launch.interprets_bfloat16 or all(cast_dtype(t) != torch.bfloat16 for t in tensors):
        return False
    _warn("Triton's interpreter does not know bfloat16: this runs as plain PyTorch")
    return True


def check_tensors(op: str, tensors: Sequence[Tensor]) -> None:
    """Raise ValueError for tensors of another dtype than ``DTYPES`` and on several devices."""
    device = tensors[0].device
    for t in tensors:
        if t.device != device:
            devices = ", ".join(str(t.device) for t in tensors)
            raise ValueError(f"{op} takes tensors on one device, got {devices}")
        if t.layout is not torch.strided:
            layouts = ", ".join(str(t.layout) for t in tensors)
            raise ValueError(f"{op} takes tensors of layout torch.strided, got {layouts}")
        if t.dtype not in DTYPES:
            dtypes = ", ".join(str(t.dtype) for t in tensors)
            raise ValueError(f"{op} takes {', '.join(map(str, DTYPES))}, got {dtypes}")


@launch.constant
def _warn(message: str) -> None:
    """Warn of what was not warned of before; torch.compile breaks no graph at it."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=4)


def cast(x: Tensor) -> Tensor:
    """``x`` in the dtype that autocast gives to matrix products."""
    return in_dtype(x, cast_dtype(x))


def in_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """As ``x.to(dtype)``, which takes microseconds to do nothing."""
    return x if x.dtype == dtype else x.to(dtype)


def cast_dtype(x: Tensor) -> torch.dtype:
    """The dtype that autocast gives to ``x`` in matrix products."""
    device = x.device.type
    # tensors without data know no autocast
    if device != "meta" and torch.is_autocast_enabled(device) and x.dtype in FUSED_DTYPES:
        return torch.get_autocast_dtype(device)
    return x.dtype
