"""What an op's tensors must look like, on both paths."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Film = tuple[Tensor, Tensor]
Wanted = tuple[str, Tensor | None, Sequence[int]]
"""Name of a tensor, the tensor if it is given, and its shape."""


def check_shapes(op: str, wanted: Iterable[Wanted]) -> None:
    """Raise ValueError for the first tensor of another shape."""
    for name, tensor, shape in wanted:
        if tensor is not None and list(tensor.shape) != list(shape):
            raise ValueError(f"{op} takes {name} {list(shape)}, got {list(tensor.shape)}")


def check_clip(op: str, x: Tensor) -> None:
    """Raise ValueError unless x is [B, T, H, W, C]."""
    if x.ndim != 5:
        raise ValueError(f"{op} takes x [B, T, H, W, C], got {list(x.shape)}")


def check_heads(op: str, heads: int, rows: int) -> None:
    """Raise ValueError unless q, k and v of ``heads`` heads have ``rows`` rows together."""
    if heads < 1:
        raise ValueError(f"{op} takes one head or more, got {heads}")
    if rows % (3 * heads):
        raise ValueError(f"3 * {heads} heads must divide the rows, got {rows}")


def check_norm(
    op: str,
    x: Tensor,
    film: Film | None = None,
    residual: Tensor | None = None,
    **per_channel: Tensor | None,
) -> None:
    """Raise ValueError unless x is [B, ..., C], film [B, C] each, and the others fit."""
    if x.ndim < 2:
        raise ValueError(f"{op} takes x [B, ..., C], got {list(x.shape)}")
    scale, shift = film or (None, None)
    rows = torch.Size((x.shape[0], x.shape[-1]))
    wanted: list[Wanted] = [
        ("scale", scale, rows),
        ("shift", shift, rows),
        ("residual", residual, x.shape),
    ]
    check_shapes(op, wanted + [(name, t, x.shape[-1:]) for name, t in per_channel.items()])
