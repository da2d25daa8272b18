"""Tensors of more than 2^31 elements, whose addresses take 64 bits: on a GPU."""

from typing import Any

import pytest
import torch
from oracle import reference_of
from torch import Tensor

from fastvd import kernels

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
SIZES = [
    # samples, height and width
    pytest.param(2, 4, id="small"),
    # up to 45 GiB on the GPU
    pytest.param(65, 256, id="large", marks=[pytest.mark.gpu, needs_gpu, pytest.mark.timeout(120)]),
]
ERROR = 2e-2
"""RMS error of bfloat16 in terms of the result."""


def weight(*shape: int) -> Tensor:
    return (torch.randn(shape) * shape[-1] ** -0.5).bfloat16()


def assert_last_sample(op: str, x: Tensor, *args: Any, **options: Any) -> None:
    """Output and gradient of the sample that lies last are the formula's."""
    x.requires_grad_()
    y = getattr(kernels, op)(x, *args, **options)
    dy = torch.randn_like(y)
    (dx,) = torch.autograd.grad(y, x, dy)
    got = y[-1:].detach().float(), dx[-1:].float()
    last, probe = x[-1:].detach().float().requires_grad_(), dy[-1:].float()
    del x, y, dx, dy
    wide = torch.utils._pytree.tree_map_only(Tensor, lambda t: t.float(), (args, options))
    wanted = reference_of(op)(last, *wide[0], **wide[1])
    wanted = wanted.detach(), *torch.autograd.grad(wanted, last, probe)
    for a, b in zip(got, wanted, strict=True):
        assert (a - b).norm() <= ERROR * b.norm()


@pytest.mark.parametrize(("samples", "side"), SIZES)
def test_row_norm(samples, side):
    x = torch.randn(samples, 8, side, side, 64, dtype=torch.bfloat16)
    assert_last_sample("rms_norm_act", x, 1 + weight(64))


@pytest.mark.parametrize(("samples", "side"), SIZES)
def test_group_norm(samples, side):
    x = torch.randn(samples, 8, side, side, 64, dtype=torch.bfloat16)
    assert_last_sample("group_norm_act", x, (1 + weight(64), weight(64)), groups=8)


@pytest.mark.parametrize(("samples", "side"), SIZES)
def test_linear_attention(samples, side):
    x = torch.randn(samples, 8, side, side, 64, dtype=torch.bfloat16)
    out = weight(64, 32), weight(64)
    assert_last_sample("linear_attention", x, 1 + weight(64), weight(96, 64), out=out, heads=1)


@pytest.mark.parametrize(("samples", "side"), SIZES)
def test_temporal_block(samples, side):
    x = torch.randn(samples, 8, side, side, 64, dtype=torch.bfloat16)
    weights = 1 + weight(64), weight(96, 64), weight(64, 32)
    assert_last_sample("temporal_attention", x, *weights, heads=2, bias=weight(2, 8, 8))


@pytest.mark.parametrize(("samples", "side"), SIZES)
def test_temporal_core(samples, side):
    x = torch.randn(samples, 8, side // 2, side // 2, 256, dtype=torch.bfloat16)
    weights = 1 + weight(256), weight(384, 256), weight(256, 128)
    assert_last_sample("temporal_attention", x, *weights, heads=4, bias=weight(4, 8, 8))
