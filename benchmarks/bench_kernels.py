"""Each fused kernel against plain and compiled PyTorch, at the shapes of a network's levels.

``pytest benchmarks/bench_kernels.py --benchmark-only`` prints times of this machine;
``python benchmarks/bench_kernels.py`` writes results/<device>.json, with memory and the part of
the copy rate that each reaches. In the normal test run each case is checked and runs once.
"""

import argparse
from typing import Any

import pytest
import torch
from report import write_records

from fastvd import bench
from fastvd.bench import BenchConfig, Case, Row

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
        write_records(records, packages=["torch", "triton"], name=torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
