"""Times and memory of every case, by each of those who can run it."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from fastvd.bench.cases import (
    MODES,
    Case,
    Mode,
    NetworkCase,
    assert_agreement,
    cases,
    implementations,
)
from fastvd.bench.config import BenchConfig
from fastvd.bench.update import UPDATED_BYTES, kernel_update, torch_update

ROUNDS = 20
"""Rounds that are timed; a figure is their median."""
FLUSHED = 256 << 20
"""Bytes that are written between two rounds, so that no input is left in a GPU's cache."""


class Row(NamedTuple):
    """Median milliseconds of one op, shape, provider and mode."""

    op: str
    shape: tuple[int, ...]
    provider: str
    mode: Mode | Literal["step"]
    milliseconds: float
    copy_rate: float | None
    """Bytes that the op must move a second, as a part of what a copy moves; none of a network."""
    megabytes: float
    """Peak of memory above what inputs take; 0 on a CPU."""


def measure(case: Case, *, rates: float, compiled: bool) -> Iterator[Row]:
    """Times of every provider and mode; ``rates``: bytes a second of a copy on this device."""
    if case.tensors[0].is_cuda:
        # on a CPU there is nothing fused, and of what is plain either form may err
        assert_agreement(case)
    for provider, calls in providers(case, compiled=compiled).items():
        for mode in MODES:
            # the faster one of those that plain PyTorch has
            seconds, peak = min(timed(case, call, mode) for call in calls)
            moved = case.moved_bytes(mode)
            part = None if moved is None else moved / seconds / rates
            yield Row(*case[:2], provider, mode, seconds * 1e3, part, peak / 2**20)


def measure_update(network: nn.Module, *, rates: float) -> Iterator[Row]:
    """Times of clipping, AdamW and the average of a network's weights; of the kernel on a GPU."""
    plain, fused = network, copy.deepcopy(network)
    for p in (*plain.parameters(), *fused.parameters()):
        p.grad = torch.full_like(p, 1e-3)
    calls = {"eager": torch_update(plain), "fused": kernel_update(fused)}
    for update in calls.values():
        update()
    for p, q in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    size, device = sum(p.numel() for p in network.parameters()), next(network.parameters()).device
    for provider, update in calls.items():
        if provider == "eager" or device.type == "cuda":
            seconds = statistics.median(_rounds(update, device))
            part = UPDATED_BYTES * size / seconds / rates
            yield Row("AdamWEma", (size,), provider, "step", seconds * 1e3, part, 0)


def providers(case: Case, *, compiled: bool) -> dict[str, list[Callable[[], Tensor]]]:
    """Plain PyTorch, what torch.compile makes of it and, where it can run, the kernel."""
    forms = case.plain().values()
    found: dict[str, list[Callable[[], Tensor]]] = {"eager": [form.run for form in forms]}
    if compiled:
        # each case anew: past eight shapes the compiler falls back to plain PyTorch
        torch.compiler.reset()
        found["compiled"] = [form.compiled().run for form in forms]
    if case.tensors[0].is_cuda:
        found["fused"] = [case.call]
        for name in implementations(case):
            assert_agreement(case, implementation=name)
            found[name] = [partial(case.call, implementation=name)]
    return found


def copy_rate(device: torch.device) -> float:
    """Bytes a second, read and written, of the copy of a tensor too large for a cache."""
    source = torch.zeros(FLUSHED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * FLUSHED / statistics.median(_rounds(lambda: target.copy_(source), device))


def timed(case: Case, call: Callable[[], Tensor], mode: Mode) -> tuple[float, int]:
    """Median seconds of a call, and the peak of the memory that it takes."""
    device = case.tensors[0].device
    run = timed_call(case, call, mode)
    run()  # compiles, fills the allocator
    before = 0
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    run()
    peak = torch.cuda.max_memory_allocated() - before if device.type == "cuda" else 0
    return statistics.median(_rounds(run, device)), peak


def timed_call(case: Case, call: Callable[[], Tensor], mode: Mode) -> Callable[[], Any]:
    """What is timed of ``call``: its forward pass, its backward pass, or both."""
    y = call()
    probe = torch.ones_like(y)
    if mode == "backward":
        return lambda: torch.autograd.grad(y, case.tensors, probe, retain_graph=True)
    if mode == "both":
        return lambda: torch.autograd.grad(call(), case.tensors, probe)
    return torch.no_grad()(call)


def _rounds(run: Callable[[], Any], device: torch.device) -> list[float]:
    if device.type == "cuda":
        return gpu_seconds(run)
    return [_wall(run) for _ in range(ROUNDS // 4 + 1)][1:]


def gpu_seconds(run: Callable[[], Any]) -> list[float]:
    """Seconds of ROUNDS runs after three that are not counted, nothing of theirs in a cache."""
    flush = torch.empty(FLUSHED, dtype=torch.uint8, device="cuda")
    seconds = []
    for _ in range(ROUNDS + 3):
        flush.zero_()
        start, end = _event(), _event()
        start.record()
        run()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    return seconds[3:]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _wall(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bench(config: BenchConfig) -> Iterator[Row]:
    """Time every case of ``config``, on the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = copy_rate(device)
    for case in cases(config, device):
        yield from measure(case, rates=rates, compiled=config.compiled)
        if isinstance(case, NetworkCase):
            yield from measure_update(case.args[0], rates=rates)
