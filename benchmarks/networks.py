"""The vdm network in plain, compiled and fused PyTorch, for the benchmarks of whole passes."""

import importlib
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastvd import bench, kernels
from fastvd.models import VideoUNet, VideoUNetConfig
from fastvd.models.denoiser import capture

PROVIDERS = ("formulas", "eager", "formulas, compiled", "eager, compiled", "fused")
"""Formulas: every op as its file's reference. Eager: as it runs on a CPU."""

Call = Callable[[], Tensor]


class Size(NamedTuple):
    """A network and the clips that it takes."""

    dim: int
    shape: tuple[int, int, int, int, int]
    """[B, C, T, H, W]"""
    mults: tuple[int, ...] = (1, 2, 4, 8)


SIZES = {
    "dim 64": Size(64, (4, 3, 16, 64, 64)),
    "dim 128": Size(128, (4, 3, 16, 128, 128)),
}
"""The networks of the issue's targets."""
SMALL = Size(16, (1, 3, 2, 8, 8), (1, 2))
"""One that a CPU runs at once."""


class Job(NamedTuple):
    """A network with one step's input."""

    net: VideoUNet
    x: Tensor
    t: Tensor

    def forward(self) -> Tensor:
        """Predict, in bfloat16 where autocast says so."""
        with torch.autocast(self.x.device.type, torch.bfloat16):
            y: Tensor = self.net(self.x, self.t)
        return y


def job(size: Size, device: torch.device) -> Job:
    """Make the network of ``size``; two calls give equal weights and inputs."""
    torch.manual_seed(0)
    attention = ("linear",) * len(size.mults)
    config = VideoUNetConfig(dim=size.dim, mults=size.mults, attention=attention)
    net = VideoUNet(config).to(device)
    x, t = torch.randn(size.shape), torch.arange(size.shape[0])
    return Job(net, x.to(device), t.to(device))


@contextmanager
def formulas() -> Iterator[None]:
    """Run every op as its file's formula, step by step."""
    ops = [name for name in kernels.__all__ if name.endswith(("_act", "_attention"))]
    public = {op: getattr(kernels, op) for op in ops}
    for op in ops:
        setattr(kernels, op, importlib.import_module(f"fastvd.kernels.{op}").reference)
    try:
        yield
    finally:
        for op, function in public.items():
            setattr(kernels, op, function)


def passes(provider: str, call: Call) -> Call:
    """``call`` as the provider runs it."""
    if provider == "fused":
        return call
    block = formulas if provider.startswith("formulas") else kernels.eager

    def plain() -> Tensor:
        with block():
            return call()

    if not provider.endswith("compiled"):
        return plain
    torch.compiler.reset()
    net_call = torch.compile(call, mode="max-autotune-no-cudagraphs", dynamic=False)

    def compiled() -> Tensor:
        with block():
            return net_call()

    return compiled


def graphed(call: Call) -> Call:
    """``call`` captured as a CUDA graph: replayed, it costs one launch."""
    for _ in range(3):
        call()
    answer, replay = capture(call, torch.device("cuda", torch.cuda.current_device()))

    def replayed() -> Tensor:
        replay()
        return answer

    return replayed


def assert_agreement(provider: str, got: Tensor, wanted: Tensor) -> None:
    """Raise AssertionError where predictions of two providers differ by more than bfloat16 may."""
    apart = float((got - wanted).float().square().mean().sqrt())
    size = float(wanted.float().square().mean().sqrt())
    assert apart <= 0.05 * size, f"{provider}: {apart:.2e} apart, {size:.2e} large"


class Figures(NamedTuple):
    """What is kept of a provider."""

    milliseconds: float
    megabytes: float


def measure(call: Call) -> Figures:
    """Median time of a call on the GPU, and the peak of the memory that it takes."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    return Figures(statistics.median(bench.gpu_seconds(call)) * 1e3, peak)


def record(suite: str, name: str, size: Size, figures: dict[str, Figures]) -> dict[str, Any]:
    """One case's figures, each with how many times as fast the fused network is."""
    best = min(f.milliseconds for provider, f in figures.items() if provider.startswith("fused"))
    peers = {
        provider: {
            "milliseconds": round(f.milliseconds, 3),
            "megabytes": round(f.megabytes, 1),
            "fused_is_faster_by": round(f.milliseconds / best, 2),
        }
        for provider, f in figures.items()
    }
    return {"suite": suite, "case": name, "shape": list(size.shape), "peers": peers}


def gpu_name() -> str:
    """The name of this GPU's file of records."""
    return "-".join(torch.cuda.get_device_name().lower().split())
