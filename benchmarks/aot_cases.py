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


def linear_attention(dtype: torch.dtype, c: int) -> None:
    """8 heads of 32; float32 with tensor cores, without them no kernel takes it."""
    x = torch.empty(2, 4, 32, 32, c, dtype=dtype, requires_grad=True)
    norm, qkv = torch.empty(c, requires_grad=True), torch.empty(768, c, requires_grad=True)
    out = (torch.empty(c, 256, requires_grad=True), torch.empty(c, requires_grad=True))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    backward(kernels.linear_attention(x, norm, qkv, out=out, heads=8))
    torch.backends.cuda.matmul.allow_tf32 = before


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
    f"linear_attention C={c} {name}": partial(linear_attention, DTYPES[name], c)
    for name, widths in {"fp32": (64, 128), "fp16": (64,), "bf16": (64, 128)}.items()
    for c in widths
}
