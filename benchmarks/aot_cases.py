"""Calls of every kernel, forward and backward, in every configuration that networks use."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fastvd import kernels

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def backward(y: Tensor) -> None:
    """Run the backward kernels of ``y``; nothing is computed, so nothing is looked at."""
    y.backward(torch.empty_like(y))


def row_norm(dtype: torch.dtype, c: int, *, op: str, film: bool) -> None:
    x = torch.empty(2, 4, 8, 8, c, dtype=dtype, requires_grad=True)
    weight = torch.empty(c, requires_grad=True)
    rows = torch.empty(2, 2 * c, dtype=dtype, requires_grad=True).chunk(2, dim=1)
    if op == "layer_norm_act":
        bias = torch.empty(c, requires_grad=True)
        y = kernels.layer_norm_act(x, (weight, bias), rows if film else None)
    else:
        y = kernels.rms_norm_act(x, weight, rows if film else None, residual=x)
    backward(y)


def temporal_attention(dtype: torch.dtype, c: int, t: int, *, positions: bool) -> None:
    """Eight heads of 32, turned and biased; ``positions``: frames are added, samples in focus."""
    x = torch.empty(2, t, 4, 4, c, dtype=dtype, requires_grad=True)
    weights = (torch.empty(shape, requires_grad=True) for shape in ((c,), (768, c), (c, 256)))
    y = kernels.temporal_attention(
        x,
        *weights,
        heads=8,
        angles=torch.zeros(t, 16),
        bias=torch.empty(8, t, t, requires_grad=True),
        frames=torch.empty(t, c, requires_grad=True) if positions else None,
        focus_present=torch.zeros(2, dtype=torch.bool) if positions else None,
    )
    backward(y)


CASES: dict[str, Callable[[], None]] = {
    f"{op} C={c} {name}": partial(row_norm, dtype, c, op=op, film=film)
    for name, dtype in DTYPES.items()
    for op, c, film in (
        ("rms_norm_act", 64, True),
        ("rms_norm_act", 96, False),
        ("rms_norm_act", 512, True),
        ("layer_norm_act", 64, False),
        ("layer_norm_act", 512, True),
    )
}
CASES |= {
    f"temporal_attention C={c} f={t} {name}": partial(
        temporal_attention, DTYPES[name], c, t, positions=positions
    )
    for name, c, t, positions in (
        ("bf16", 64, 16, False),
        ("bf16", 128, 16, False),
        ("bf16", 64, 64, True),
        ("fp16", 64, 10, True),
    )
}
