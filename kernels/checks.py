"""What an op's arguments must be, on both paths: of which kind, then of which shape."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor

Film = tuple[Tensor, Tensor]
Given = tuple[str, object, str]
"""Name of an argument, the argument, and its kind."""
Wanted = tuple[str, Tensor | None, Sequence[int]]
"""Name of a tensor, the tensor if it is given, and its shape."""

TENSOR, MAYBE_TENSOR = "a tensor", "a tensor or None"
PAIR, MAYBE_PAIR = "a pair of tensors", "a pair of tensors or None"
AFFINE = "a pair of a tensor and a tensor or None"
MAYBE_AFFINE = f"None or {AFFINE}"
WHOLE, MAYBE_WHOLE = "an int", "an int or None"
FLAG = "True or False"


def _is_tensor(x: object) -> bool:
    return isinstance(x, Tensor)


def _is_affine(x: Any) -> bool:
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        return False
    return isinstance(x[0], Tensor) and (x[1] is None or isinstance(x[1], Tensor))


def _is_pair(x: Any) -> bool:
    return _is_affine(x) and x[1] is not None


def _is_whole(x: object) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def _is_flag(x: object) -> bool:
    return isinstance(x, bool)


FITS: dict[str, Callable[[object], bool]] = {
    TENSOR: _is_tensor,
    MAYBE_TENSOR: lambda x: x is None or _is_tensor(x),
    PAIR: _is_pair,
    MAYBE_PAIR: lambda x: x is None or _is_pair(x),
    AFFINE: _is_affine,
    MAYBE_AFFINE: lambda x: x is None or _is_affine(x),
    WHOLE: _is_whole,
    MAYBE_WHOLE: lambda x: x is None or _is_whole(x),
    FLAG: _is_flag,
}


def check_kinds(op: str, given: Iterable[Given]) -> None:
    """Raise TypeError for the first argument of another kind."""
    for name, value, kind in given:
        if not FITS[kind](value):
            raise TypeError(f"{op} takes {kind} for {name}, got {told(value)}")


def told(value: object) -> str:
    """What a message says of an argument of the wrong kind."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {len(value)}: ({', '.join(map(told, value))})"
    if value is None or isinstance(value, Number | str):
        return repr(value)
    return type(value).__name__


def check_shapes(op: str, wanted: Iterable[Wanted]) -> None:
    """Raise ValueError for the first tensor of another shape."""
    for name, tensor, shape in wanted:
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{op} takes {name} {list(shape)}, got {list(tensor.shape)}")


def check_clip(op: str, x: Tensor) -> None:
    """Raise ValueError unless x is [B, T, H, W, C]."""
    if x.ndim != 5:
        raise ValueError(f"{op} takes x [B, T, H, W, C], got {list(x.shape)}")
    check_channels(op, x.shape)


def check_channels(op: str, shape: torch.Size) -> None:
    """Raise ValueError where the last axis has none."""
    if not shape[-1]:
        raise ValueError(f"{op} takes one channel or more, got {list(shape)}")


def check_heads(op: str, heads: int, qkv_weight: Tensor) -> None:
    """Raise ValueError unless q, k and v of ``heads`` heads are the rows of ``qkv_weight``."""
    if heads < 1:
        raise ValueError(f"{op} takes one head or more, got {heads}")
    shape = qkv_weight.shape
    if len(shape) != 2 or not shape[0] or shape[0] % (3 * heads):
        raise ValueError(f"{op} takes qkv_weight [3 * {heads} heads * D, C], got {list(shape)}")


def check_norm(
    op: str,
    shape: torch.Size,
    film: Film | None = None,
    residual: Tensor | None = None,
    **per_channel: Tensor | None,
) -> None:
    """Raise ValueError unless what is normed is [B, ..., C], film [B, C] each, the others fit."""
    if len(shape) < 2:
        raise ValueError(f"{op} takes x [B, ..., C], got {list(shape)}")
    check_channels(op, shape)
    if film is not None:
        rows = (shape[0], shape[-1])
        check_shapes(op, (("scale", film[0], rows), ("shift", film[1], rows)))
    check_shapes(op, (("residual", residual, shape),))
    channels = shape[-1:]
    check_shapes(op, [(name, t, channels) for name, t in per_channel.items()])


def check_groups(op: str, groups: int, channels: int) -> None:
    """Raise ValueError unless ``groups`` divides the channels."""
    if groups < 1 or channels % groups:
        raise ValueError(f"{op} takes groups that divide the {channels} channels, got {groups}")
