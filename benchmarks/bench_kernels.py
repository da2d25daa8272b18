"""Each fused kernel against plain and compiled PyTorch, at the shapes of a network's levels.

``pytest benchmarks/bench_kernels.py --benchmark-only`` prints times of this machine;
``python benchmarks/bench_kernels.py`` writes results/<device>.json, with memory and the part of
the copy rate that each reaches. In the normal test run each case is checked and runs once.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from report import write_records
from torch import nn

from fastvd import bench, kernels
from fastvd.bench import BenchConfig, Case, Row
from fastvd.models import VideoUNet
from fastvd.models.layouts import vdm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NETWORKS = {
    "dim 64": BenchConfig(dim=64, size=64),
    "dim 128": BenchConfig(dim=128, size=128),
}
"""The networks of the issue's targets, 16 frames, batch 4, bfloat16."""


def small_cases() -> list[Case]:
    """Every kernel at a shape that takes no time."""
    return list(bench.level_cases((1, 4, 6, 6, 32), torch.float32, DEVICE))


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: case.op)
@pytest.mark.parametrize("mode", bench.MODES)
def test_speed(benchmark: Any, case: Case, mode: bench.Mode) -> None:
    bench.assert_agreement(case)
    benchmark(bench.timed_call(case, case.call if DEVICE.type == "cuda" else case.plain, mode))


def test_a_table_names_every_provider() -> None:
    rows = [
        row for case in small_cases()[:1] for row in bench.measure(case, rates=1e9, compiled=False)
    ]
    assert [row.mode for row in rows if row.provider == "eager"] == list(bench.MODES)
    assert all(row.milliseconds > 0 for row in rows)
    assert any("rms_norm_act" in line for line in bench.table(rows))


Update = Callable[[], None]
UPDATED_BYTES = 36
"""Of each weight: gradient, weight, two moments and the average are read, all but it written."""


def updates(network: nn.Module) -> dict[str, tuple[nn.Module, Update]]:
    """Clipping, AdamW and the average as PyTorch has them, and in one kernel, on two networks."""
    plain, fused = network, copy.deepcopy(network)
    scale = torch.full((), 0.5, device=DEVICE)
    for each in (plain, fused):
        for p in each.parameters():
            p.grad = torch.full_like(p, 1e-3)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, fused=True)
    averages = [p.detach().clone() for p in plain.parameters()]
    params = list(fused.parameters())
    zeros = ([torch.zeros_like(p) for p in params] for _ in "mv")
    state = kernels.AdamState(*zeros, [torch.zeros((), device=DEVICE) for _ in params])
    moved = [p.detach().clone() for p in params]
    kernel = kernels.AdamWEma(params, state, moved, betas=(0.9, 0.999))

    @torch.no_grad()
    def by_torch() -> None:
        torch._foreach_mul_([p.grad for p in plain.parameters()], scale)
        optimizer.step()
        torch._foreach_lerp_(averages, list(plain.parameters()), 0.001)

    def by_kernel() -> None:
        grads = [p.grad for p in params]
        kernel.update(grads, rates=[(1e-4, 0.01)] * len(params), decay=0.999, scale=scale)

    return {"eager": (plain, by_torch), "fused": (fused, by_kernel)}


def assert_updates_agree(found: dict[str, tuple[nn.Module, Update]]) -> None:
    """Raise AssertionError where a step of either leaves other weights."""
    for _, update in found.values():
        update()
    a, b = (network.parameters() for network, _ in found.values())
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["eager", "fused"])
def test_update_speed(benchmark: Any, name: str) -> None:
    found = updates(nn.Linear(64, 64, device=DEVICE))
    assert_updates_agree(found)
    benchmark(found[name][1])


def update_record(name: str, dim: int) -> dict[str, Any]:
    """Milliseconds and part of the copy rate of one update of all weights of a network."""
    network = VideoUNet(vdm(dim)).to(DEVICE, memory_format=torch.channels_last)
    size = sum(p.numel() for p in network.parameters())
    found, rates = updates(network), bench.copy_rate(DEVICE)
    assert_updates_agree(found)
    peers = {}
    for provider, (_, update) in found.items():
        seconds = statistics.median(bench.gpu_seconds(update))
        part = UPDATED_BYTES * size / seconds / rates
        peers[provider] = {"milliseconds": round(seconds * 1e3, 4), "copy_rate": round(part, 3)}
    print(f"{name} AdamWEma {size} weights: {peers}", flush=True)
    return {"suite": "kernels", "case": f"{name} AdamWEma {size} both", "peers": peers}


def record(name: str, rows: list[Row]) -> dict[str, Any]:
    """One op, shape and mode: milliseconds, memory and part of the copy rate of each provider."""
    first = rows[0]
    peers = {
        row.provider: {
            "milliseconds": round(row.milliseconds, 4),
            "copy_rate": round(row.copy_rate, 3),
            "megabytes": round(row.megabytes, 1),
        }
        for row in rows
    }
    case = f"{name} {first.op} {'x'.join(map(str, first.shape))} {first.mode}"
    return {"suite": "kernels", "case": case, "peers": peers}


def main() -> None:
    """Time both networks' kernels and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    options = parser.parse_args()
    if DEVICE.type != "cuda":
        raise SystemExit("there is no GPU here: nothing to record")
    for name in options.networks:
        rows = list(bench.bench(NETWORKS[name]))
        print("\n".join(bench.table(rows)), flush=True)
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault((row.op, row.shape, row.mode), []).append(row)
        records = [record(name, found) for found in groups.values()]
        records.append(update_record(name, NETWORKS[name].dim))
        write_records(records, packages=["torch", "triton"], name=torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
