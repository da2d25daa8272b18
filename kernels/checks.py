"""What a norm's tensors must look like, on both paths."""

import torch
from torch import Tensor

Film = tuple[Tensor, Tensor]


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
    wanted = [("scale", scale, rows), ("shift", shift, rows), ("residual", residual, x.shape)]
    wanted += [(name, t, x.shape[-1:]) for name, t in per_channel.items()]
    for name, tensor, shape in wanted:
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{op} takes {name} {list(shape)}, got {list(tensor.shape)}")
