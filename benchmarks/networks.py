"""The vdm network in plain, compiled and fused PyTorch, for the benchmarks of whole passes."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fastvd.bench.cases import NetworkCase
from fastvd.bench.config import BenchConfig
from fastvd.bench.measure import gpu_seconds
from fastvd.models.denoiser import capture

PROVIDERS = ("formula", "eager", "formula, compiled", "eager, compiled", "fused")
"""Formula: every op as its file's reference. Eager: as it runs on a CPU."""

GRAPH = ", graph"
"""Behind a provider's name: its passes are replayed as CUDA graphs."""

Call = Callable[[], Tensor]


SIZES = {"dim 64": BenchConfig(dim=64, size=64), "dim 128": BenchConfig(dim=128, size=128)}
"""The networks of the issue's targets: 16 frames, batch 4, bfloat16."""
SMALL = BenchConfig(dim=16, mults=(1, 2), batch=1, frames=2, size=8)
"""One that a CPU runs at once."""


def shape_of(size: BenchConfig) -> list[int]:
    """[B, C, T, H, W]"""
    return [size.batch, 3, size.frames, size.size, size.size]


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


class Pass(nn.Module):
    """A call, and the network whose weights it takes gradients of."""

    def __init__(self, net: nn.Module, call: Call) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, x: Tensor) -> Tensor:  # noqa: ARG002
        """x: the clips that the call reads."""
        return self.call()


def graphed_with_gradients(call: Call, case: NetworkCase) -> Call:
    """``call`` and its backward pass, captured as two CUDA graphs."""
    net, x, _ = case.args
    # torch makes them of modules alone, whose parameters it can see
    replayed = torch.cuda.make_graphed_callables(Pass(net, call), (x,), allow_unused_input=True)
    return lambda: replayed(x)


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
