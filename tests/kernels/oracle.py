"""A fused op held against its reference in float64, as exact as plain PyTorch in the same dtype."""

import importlib
from collections.abc import Callable
from math import isfinite, isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from fastvd import kernels
from fastvd.kernels import launch

RMS_ERROR = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 8e-3}
"""Largest error of an output, by its dtype, in terms of the output; gradients may err twice."""
SLACK = 1e-6
TF32_ERROR = 2e-3
"""The same of float32 whose products a GPU takes in TF32, which has the digits of float16."""
FEW = 16
"""Elements of a tensor whose own size may be that of sums that cancel."""
CONSTANTS = {"angles"}
"""Options that ops are not differentiable in."""

Op = Callable[..., Tensor]


class Result(NamedTuple):
    """What an op gives, and the gradient of every floating tensor that it takes."""

    output: Tensor
    gradients: list[Tensor]


class FusedOps(TorchDispatchMode):
    """Names of fastvd's own ops that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "fastvd":
            self.called.add(func.name())
        return func(*args, **(kwargs or {}))


def reference_of(op: str) -> Op:
    """The formula in the op's file."""
    return importlib.import_module(f"fastvd.kernels.{op}").reference


def leaf(*shape: int, offset: float = 0.0, scale: float = 1.0) -> Tensor:
    """Random numbers that need a gradient."""
    return torch.randn(shape, dtype=torch.float64) * scale + offset


def is_float(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def run(op: Op, dtype: torch.dtype, probe: Tensor | None, args: Any, options: Any) -> Result:
    """Call ``op`` forward and backward in ``dtype``; probe: the gradient of its output."""

    def cast(x: Tensor) -> Tensor:
        return x.to(dtype).detach().requires_grad_() if is_float(x) else x

    args, options = tree_map_only(Tensor, cast, (args, options))
    output = op(*args, **options)
    variables = {name: x for name, x in options.items() if name not in CONSTANTS}
    leaves = [x for x in tree_leaves((args, variables)) if is_float(x)]
    if probe is None:
        probe = torch.randn(output.shape, device=output.device, dtype=torch.float64)
    gradients = torch.autograd.grad(output, leaves, probe.to(output.dtype))
    return Result(output.detach(), [g.detach() for g in gradients])


def allowed_rms(dtype: torch.dtype) -> float:
    """Largest error of an output of a kernel in ``dtype``; the interpreter's products are exact."""
    is_tf32 = dtype == torch.float32 and launch.precision() == "tf32" and not launch.interpreted
    return TF32_ERROR if is_tf32 else RMS_ERROR[dtype]


def assert_fused(op: str, dtype: torch.dtype, *args: Any, **options: Any) -> None:
    """The kernel of ``op`` errs at most twice as much as the reference in ``dtype``, and four times
    in any gradient, within RMS_ERROR, and gives the same bits each time.

    args, options: as the op takes them, tensors in float64.
    """
    fused, reference = getattr(kernels, op), reference_of(op)
    # the numbers that the kernel sees are exact
    rounded = tree_map_only(
        Tensor, lambda x: x.to(dtype).double() if is_float(x) else x, (args, options)
    )
    args, options = rounded
    exact = run(reference, torch.float64, None, args, options)
    probe = torch.randn_like(exact.output).to(dtype).double()
    exact = run(reference, torch.float64, probe, args, options)
    plain = run(reference, dtype, probe, args, options)
    with FusedOps() as ops:
        got = run(fused, dtype, probe, args, options)
    assert len(ops.called) > 1, "the kernel did not run"
    assert got.output.dtype == dtype
    rms = allowed_rms(dtype)
    assert_close("output", got.output, plain.output, exact.output, rms=rms, times=2)
    gradients = zip(got.gradients, plain.gradients, exact.gradients, strict=True)
    for i, (a, b, c) in enumerate(gradients):
        assert_close(f"gradient {i} {list(c.shape)}", a, b, c, rms=2 * rms, times=4)
    again = run(fused, dtype, probe, args, options)
    assert torch.equal(again.output, got.output)
    assert all(map(torch.equal, again.gradients, got.gradients))


def assert_close(
    name: str, got: Tensor, plain: Tensor, exact: Tensor, *, rms: float, times: int
) -> None:
    """``got`` errs at most ``times`` as much as ``plain``, and at most ``rms`` of ``exact``.

    FEW numbers may all be sums that cancel, so their size says little: they may err as ``plain``.
    """
    assert got.shape == exact.shape, name
    if not exact.numel():
        return
    error, allowed = (float((x.double() - exact).abs().max()) for x in (got, plain))
    is_lost = isnan(allowed) and exact.isfinite().all()  # plain PyTorch overflows here
    assert is_lost or error <= times * allowed + SLACK, (
        f"{name}: off by {error:.2e}, plain PyTorch by {allowed:.2e}"
    )
    size = float(exact.square().mean().sqrt())
    off, plain_off = (float((x.double() - exact).square().mean().sqrt()) for x in (got, plain))
    bound = rms * size
    if exact.numel() < FEW and isfinite(plain_off):
        bound = max(bound, plain_off)
    assert off <= bound + SLACK, f"{name}: RMS error {off:.2e} of {size:.2e}, plain {plain_off:.2e}"
