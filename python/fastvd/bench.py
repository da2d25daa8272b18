"""Times each kernel against plain and compiled PyTorch, at the shapes of a network's levels.

Fused and plain results are compared before anything is timed. Where kernels do not run fused (no
GPU, no Triton), plain PyTorch alone is timed, and the report says so.
"""

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from fastvd import kernels
from fastvd.kernels.conv_choice import Implementation, refusal
from fastvd.kernels.convolution import as_3d

Mode = Literal["forward", "backward", "both"]
MODES: tuple[Mode, ...] = ("forward", "backward", "both")
PLAIN = ("eager", "compiled")
HEADS, HEAD_DIM = 8, 32
ROUNDS = 20
"""Rounds that are timed; a figure is their median."""
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far fused and plain may be apart, in terms of the largest plain value."""
FLUSHED = 256 << 20
"""Bytes that are written between two rounds, so that no input is left in a GPU's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """What is timed."""

    dim: int = 64
    """Channels of the finest level."""
    mults: tuple[int, ...] = (1, 2, 4, 8)
    """Width of each level, finest first, in multiples of dim; each halves height and width."""
    batch: int = 4
    """Clips."""
    frames: int = 16
    """Frames of a clip."""
    size: int = 64
    """Height and width at the finest level."""
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"
    """Of activations and weights: plain PyTorch takes no mix of them on a GPU."""
    compiled: bool = True
    """Time torch.compile's code too; it takes minutes to make."""


class Case(NamedTuple):
    """One op at one shape."""

    op: str
    shape: tuple[int, ...]
    """[B, T, H, W, C]"""
    args: tuple[Any, ...]
    options: dict[str, Any]
    tensors: list[Tensor]
    """What gradients are taken of, the clip first."""

    def call(self, **how: Implementation) -> Tensor:
        """Run the op, fused where it can be; how: its implementation, where it has several."""
        y: Tensor = getattr(kernels, self.op)(*self.args, **self.options, **how)
        return y

    def plain(self) -> Tensor:
        """Run the op's lean PyTorch."""
        with kernels.eager():
            return self.call()

    def formula(self) -> Tensor:
        """Run the op's formula, step by step in PyTorch."""
        module = importlib.import_module(f"fastvd.kernels.{self.op}")
        y: Tensor = module.reference(*self.args, **self.options)
        return y


class Row(NamedTuple):
    """Median milliseconds of one op, shape, provider and mode."""

    op: str
    shape: tuple[int, ...]
    provider: str
    mode: Mode
    milliseconds: float
    copy_rate: float
    """Bytes that the op must move a second, as a part of what a copy moves."""
    megabytes: float
    """Peak of memory above what inputs take; 0 on a CPU."""


def cases(config: BenchConfig, device: torch.device) -> Iterator[Case]:
    """Every kernel at every level."""
    for level, mult in enumerate(config.mults):
        side = max(1, config.size >> level)
        shape = (config.batch, config.frames, side, side, config.dim * mult)
        yield from level_cases(shape, getattr(torch, config.dtype), device)


def level_cases(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Every kernel on clips [B, T, H, W, C]."""
    b, _, _, _, c = shape
    width = HEADS * HEAD_DIM
    generator = torch.Generator(device).manual_seed(0)

    def leaf(*size: int, scale: float = 1.0) -> Tensor:
        numbers = torch.randn(size, device=device, generator=generator) * scale
        return numbers.to(dtype).requires_grad_()

    x, gain, bias = leaf(*shape), leaf(c), leaf(c)
    conv, conv_bias = leaf(c, c, 3, 3, scale=(9 * c) ** -0.5), leaf(c)
    qkv, out = leaf(3 * width, c, scale=c**-0.5), leaf(c, width, scale=width**-0.5)
    scale, shift = leaf(b, c), leaf(b, c)
    film, rows = (scale, shift), [x, scale, shift, gain]
    yield Case("rms_norm_act", shape, (x, gain, film), {}, rows)
    affine = (x, (gain, bias), film)
    yield Case("layer_norm_act", shape, affine, {}, [*rows, bias])
    groups = {"groups": 8 if c % 8 == 0 else 1}
    yield Case("group_norm_act", shape, affine, groups, [*rows, bias])
    norm = {"norm_weight": gain, "film": film}
    yield Case("conv_norm_act", shape, (x, conv, conv_bias), norm, [*rows, conv, conv_bias])
    pair = (kernels.Conv(conv, conv_bias, gain, film),) * 2
    yield Case("conv_pair", shape, (x, *pair), {}, [*rows, conv, conv_bias])
    heads = {"out": (out, conv_bias), "heads": HEADS}
    yield Case("linear_attention", shape, (x, gain, qkv), heads, [x, gain, qkv, out, conv_bias])
    angles = torch.outer(torch.arange(shape[1]), 0.6 ** torch.arange(HEAD_DIM // 2)).to(device)
    scores = leaf(HEADS, shape[1], shape[1])
    told = {"heads": HEADS, "angles": angles, "bias": scores}
    yield Case("temporal_attention", shape, (x, gain, qkv, out), told, [x, gain, qkv, out, scores])


def assert_agreement(case: Case, **how: Implementation) -> None:
    """Raise AssertionError where the op and its plain form differ by more than their dtype may."""
    got, wanted = case.call(**how), case.formula()
    probe = torch.randn_like(wanted)
    pairs = [(got, wanted)]
    grads = (torch.autograd.grad(y, case.tensors, probe.to(y.dtype)) for y in (got, wanted))
    pairs += zip(*grads, strict=True)
    for a, b in pairs:
        a, b = a.detach().float(), b.detach().float()
        largest, apart = float(b.abs().max()), float((a - b).abs().max())
        allowed = TOLERANCE[case.tensors[0].dtype] * largest
        assert apart <= allowed, f"{case.op} {case.shape}: {apart:.2e} apart, {allowed:.2e} allowed"


def measure(case: Case, *, rates: float, compiled: bool) -> Iterator[Row]:
    """Times of every provider and mode; ``rates``: bytes a second of a copy on this device."""
    assert_agreement(case)
    for provider, calls in providers(case, compiled=compiled).items():
        for mode in MODES:
            # the faster one of those that plain PyTorch has
            seconds, peak = min(timed(case, call, mode) for call in calls)
            moved = compulsory_bytes(case, mode) / seconds
            yield Row(*case[:2], provider, mode, seconds * 1e3, moved / rates, peak / 2**20)


def providers(case: Case, *, compiled: bool) -> dict[str, list[Callable[[], Tensor]]]:
    """Plain PyTorch, what torch.compile makes of it and, where it can run, the kernel."""
    found: dict[str, list[Callable[[], Tensor]]] = {"eager": [case.plain, case.formula]}
    if compiled:
        # each case anew: past eight shapes the compiler falls back to plain PyTorch
        torch.compiler.reset()
        found["compiled"] = [
            torch.compile(call, mode="max-autotune-no-cudagraphs", dynamic=False)
            for call in (case.plain, case.formula)
        ]
    if case.tensors[0].is_cuda:
        found["fused"] = [case.call]
        for name in implementations(case):
            assert_agreement(case, implementation=name)
            found[name] = [partial(case.call, implementation=name)]
    return found


def implementations(case: Case) -> list[Implementation]:
    """What the fused op can run as at this shape; nothing where there is no choice."""
    if case.op != "conv_norm_act":
        return []
    weight, how = as_3d(case.args[1]), case.options
    stride, norm, pre_act = how.get("stride", 1), how.get("norm", "rms"), how.get("pre_act", False)
    names: tuple[Implementation, ...] = get_args(Implementation)
    return [name for name in names if not refusal(name, weight, stride, norm, pre_act=pre_act)]


def compulsory_bytes(case: Case, mode: Mode) -> int:
    """Bytes of the clips that go in and come out: x and y; x, dy and dx; or all of them."""
    x = case.tensors[0]
    passes = {"forward": 2, "backward": 3, "both": 5}[mode]
    return passes * x.numel() * x.element_size()


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


def table(rows: list[Row]) -> Iterator[str]:
    """Lines of a table, one an op, shape and mode."""
    yield f"{'op':20}{'B T H W C':>22}  {'mode':9}{'eager':>10}{'compiled':>10}{'fused':>10}  gain"
    groups: dict[tuple[str, tuple[int, ...], str], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row.op, row.shape, row.mode), {})[row.provider] = row
    for (op, shape, mode), found in groups.items():
        times = "".join(
            f"{found[name].milliseconds:>8.3f}ms" if name in found else f"{'-':>10}"
            for name in ("eager", "compiled", "fused")
        )
        line = f"{op:20}{' '.join(map(str, shape)):>22}  {mode:9}{times}"
        if "fused" in found:
            best = min(row.milliseconds for name, row in found.items() if name in PLAIN)
            fused = found["fused"]
            line += f"  {best / fused.milliseconds:.2f}x, {fused.copy_rate:.0%} of the copy rate"
        yield line
        choice = [row for name, row in found.items() if name in get_args(Implementation)]
        if choice:
            times = ", ".join(f"{row.provider} {row.milliseconds:.3f}ms" for row in choice)
            quickest = min(choice, key=lambda row: row.milliseconds)
            yield f"{'':20}{'as':>22}  {times}: {quickest.provider} is the quickest"


def plot(rows: list[Row], path: Path) -> None:
    """Draw the times of both passes as bars, a row an op and level, into a PNG."""
    from matplotlib.figure import Figure

    both = [row for row in rows if row.mode == "both"]
    names = list(dict.fromkeys(row.provider for row in both))
    labels = list(dict.fromkeys((row.op, row.shape) for row in both))
    figure = Figure(figsize=(9, 1 + 0.35 * len(labels)), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(names):
        at = {(r.op, r.shape): r.milliseconds for r in both if r.provider == name}
        places = [j + (i - (len(names) - 1) / 2) * 0.8 / len(names) for j in range(len(labels))]
        axes.barh(places, [at[label] for label in labels], 0.8 / len(names), label=name)
    texts = [f"{op}  {'x'.join(map(str, shape))}" for op, shape in labels]
    axes.set_yticks(range(len(labels)), texts)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms, forward and backward")
    axes.legend()
    figure.savefig(path, dpi=120)
