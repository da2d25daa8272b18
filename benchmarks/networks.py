"""The vdm network in plain, compiled and fused PyTorch, for the benchmarks of whole passes."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastvd.bench.cases import NetworkCase
from fastvd.bench.config import BenchConfig
from fastvd.bench.measure import gpu_seconds
from fastvd.models.denoiser import capture

PROVIDERS = ("formula", "eager", "formula, compiled", "eager, compiled", "fused")
"""Formula: every op as its file's reference. Eager: as it runs on a CPU."""

Call = Callable[[], Tensor]


SIZES = {"dim 64": BenchConfig(dim=64, size=64), "dim 128": BenchConfig(dim=128, size=128)}
"""The networks of the issue's targets: 16 frames, batch 4, bfloat16."""
SMALL = BenchConfig(dim=16, mults=(1, 2), batch=1, frames=2, size=8)
"""One that a CPU runs at once."""


def passes(provider: str, case: NetworkCase) -> Call:
    """A pass of the network as the provider runs it."""
    if provider == "fused":
        return case.call
    kind, _, is_compiled = provider.partition(", ")
    form = case.plain()[kind]
    if not is_compiled:
        return form.run
    torch.compiler.reset()
    return form.compiled().run


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
    return Figures(statistics.median(gpu_seconds(call)) * 1e3, peak)


def record(suite: str, name: str, size: BenchConfig, figures: dict[str, Figures]) -> dict[str, Any]:
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
    return {
        "suite": suite,
        "case": name,
        "shape": [size.batch, 3, size.frames, size.size, size.size],
        "peers": peers,
    }


def gpu_name() -> str:
    """The name of this GPU's file of records."""
    return "-".join(torch.cuda.get_device_name().lower().split())
