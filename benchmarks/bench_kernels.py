"""Each fused kernel against plain and compiled PyTorch, at the shapes of a network's levels.

``pytest benchmarks/bench_kernels.py --benchmark-only`` prints times of this machine;
``python benchmarks/bench_kernels.py`` writes results/<device>.json, with memory and the part of
the copy rate that each reaches, a case at once when it is timed; called again it goes on.
torch.compile's times come with ``--compiled``. With ``--convs`` it times what ``conv_norm_act``
can run as, at every convolution of the networks, and prints lines for the table in
``kernels/conv_choice.py``. In the normal test run each case is checked and runs once.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import session
import torch
from networks import SIZES
from torch import nn

from fastvd import models
from fastvd.bench.cases import (
    MODES,
    Case,
    Mode,
    NetworkCase,
    assert_agreement,
    cases,
    implementations,
    level_cases,
)
from fastvd.bench.config import BenchConfig
from fastvd.bench.measure import Row, copy_rate, measure, measure_update, timed, timed_call
from fastvd.bench.report import table
from fastvd.bench.update import Update, kernel_update, torch_update
from fastvd.kernels.conv_choice import Shape
from fastvd.models import VideoUNet, VideoUNetConfig
from fastvd.models.blocks import ConvBlock

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONV_NETWORKS = {
    "vdm 64": (models.vdm(64), (4, 16, 64)),
    "vdm 128": (models.vdm(128), (4, 16, 128)),
    "two_stage base": (models.two_stage("base"), (8, 5, 64)),
    "two_stage interpolator": (models.two_stage("interpolator"), (8, 3, 64)),
}
"""Networks whose convolutions the table is for, and their batch, frames and size."""
SMALL = VideoUNetConfig(dim=16, mults=(1, 2), attention=("linear",) * 2, norm="group", groups=4)


def small_cases() -> list[Case]:
    """Every kernel at a shape that takes no time."""
    return list(level_cases((1, 4, 6, 6, 32), torch.float32, DEVICE))


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: case.op)
@pytest.mark.parametrize("mode", MODES)
def test_speed(benchmark: Any, case: Case, mode: Mode) -> None:
    assert_agreement(case)
    call = case.call if DEVICE.type == "cuda" else case.plain()["eager"].run
    benchmark(timed_call(case, call, mode))


def test_a_table_names_every_provider() -> None:
    rows = [row for case in small_cases()[:1] for row in measure(case, rates=1e9, compiled=False)]
    assert [row.mode for row in rows if row.provider == "eager"] == list(MODES)
    assert all(row.milliseconds > 0 for row in rows)
    assert any("rms_norm_act" in line for line in table(rows))


@pytest.mark.parametrize("make", [torch_update, kernel_update])
def test_update_speed(benchmark: Any, make: Callable[[nn.Module], Update]) -> None:
    network = nn.Linear(64, 64, device=DEVICE)
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    benchmark(make(network))


def test_updates_agree_and_are_timed() -> None:
    rows = list(measure_update(nn.Linear(64, 64, device=DEVICE), rates=1e9))
    assert rows[0].shape == (64 * 65,)
    assert all(row.mode == "step" and row.milliseconds > 0 for row in rows)


def conv_cases(
    config: VideoUNetConfig, batch: int, frames: int, size: int, dtype: torch.dtype
) -> Iterator[Case]:
    """Every convolution of a network that has a norm behind it, each shape once."""
    shapes: dict[tuple[Any, ...], ConvBlock] = {}

    def note(block: ConvBlock, args: tuple[Any, ...]) -> None:
        shapes.setdefault((args[0].shape, block.conv.weight.shape), block)

    with torch.device("meta"):
        net = VideoUNet(config)
        for block in net.modules():
            if isinstance(block, ConvBlock) and block.order != "norm-act-conv":
                block.register_forward_pre_hook(note)
        net(torch.empty(batch, config.in_channels, frames, size, size), torch.empty(batch))
    for (x, weight), block in shapes.items():
        is_act_first = block.order == "conv-act-norm"
        tensors = [
            (torch.randn(shape, device=DEVICE) * scale).to(dtype).requires_grad_()
            for shape, scale in ((x, 1), (weight, weight[1:].numel() ** -0.5), (weight[:1], 1))
        ]
        options = {"norm": block.norm.kind, "groups": block.norm.groups}
        options |= {"norm_weight": torch.ones_like(tensors[2])}
        options |= {"act": not is_act_first, "pre_act": is_act_first}
        yield Case("conv_norm_act", tuple(x), tuple(tensors), options, tensors, dtype)


def conv_times(case: Case) -> dict[str, float]:
    """Milliseconds, forward and backward, of each implementation."""
    times = {}
    for name in implementations(case):
        assert_agreement(case, implementation=name)
        seconds, _ = timed(case, partial(case.call, implementation=name), "both")
        times[name] = seconds * 1e3
    return times


def table_lines(times: dict[Shape, list[dict[str, float]]]) -> Iterator[str]:
    """Lines of ``conv_choice.QUICKEST``, by the sum over all networks that have the shape."""
    for shape, found in times.items():
        total = {name: sum(of[name] for of in found) for name in found[0]}
        told = ", ".join(f"{name} {ms:.3f} ms" for name, ms in total.items())
        yield f'    {shape}: "{min(total, key=total.__getitem__)}",  # {told}'


def test_every_convolution_of_a_network_is_timed() -> None:
    found = list(conv_cases(SMALL, 1, 2, 8, torch.float32))
    widths = [(case.shape[-3:], len(case.args[1])) for case in found]
    # the first level's, the second's as it widens and after, as it narrows, and the last block's
    assert {((8, 8, 16), 16), ((4, 4, 16), 32), ((4, 4, 32), 32), ((4, 4, 64), 16)} <= set(widths)
    assert ((8, 8, 32), 16) in widths
    assert set(conv_times(found[0])) == {"conv2d", "conv3d", "gemm"}


def test_lines_name_the_quickest() -> None:
    shape = (16, 32, (1, 3, 3), 1, "rms")
    times = {shape: [{"conv2d": 1.0, "gemm": 3.0}, {"conv2d": 3.0, "gemm": 0.5}]}
    line = """    (16, 32, (1, 3, 3), 1, 'rms'): "gemm",  # conv2d 4.000 ms, gemm 3.500 ms"""
    assert list(table_lines(times)) == [line]


def time_convs() -> int:
    """Print the quickest implementation of every convolution, and keep the figures."""
    times: dict[Shape, list[dict[str, float]]] = {}
    wrong = 0
    for name, (config, clips) in CONV_NETWORKS.items():
        for case in conv_cases(config, *clips, torch.bfloat16):
            shape = (case.shape[-1], len(case.args[1]), (1, 3, 3), 1, case.options["norm"])
            told = f"{name} {'x'.join(map(str, case.shape))} to {shape[1]}"
            peers = session.peers_taken("convolutions", told)
            if not peers:
                try:
                    found = conv_times(case)
                except (AssertionError, RuntimeError) as error:
                    print(f"{told}: {error}", flush=True)
                    wrong = 1
                    continue
                peers = {peer: {"milliseconds": round(ms, 4)} for peer, ms in found.items()}
                session.keep([{"suite": "convolutions", "case": told, "peers": peers}])
            times.setdefault(shape, []).append({n: p["milliseconds"] for n, p in peers.items()})
            session.free()
    print("\n".join(table_lines(times)), flush=True)
    return wrong


def record(name: str, rows: list[Row]) -> dict[str, Any]:
    """One op, shape and mode: milliseconds, memory and part of the copy rate of each provider."""
    first = rows[0]
    peers = {
        row.provider: {
            "milliseconds": round(row.milliseconds, 4),
            "copy_rate": row.copy_rate and round(row.copy_rate, 3),
            "megabytes": round(row.megabytes, 1),
        }
        for row in rows
    }
    case = f"{name} {first.op} {'x'.join(map(str, first.shape))} {first.mode}"
    return {"suite": "kernels", "case": case, "peers": peers}


def time_kernels(name: str, config: BenchConfig) -> int:
    """Time every kernel of one network that this commit has no figure of; 1 where one failed."""
    rates, wrong = copy_rate(DEVICE), 0
    for case in cases(config, DEVICE):
        if isinstance(case, NetworkCase):
            # its passes have suites of their own
            weights = sum(p.numel() for p in case.tensors)
            taking = measure_update(case.args[0], rates=rates)
            label, wanted = f"{name} AdamWEma {weights} step", {"fused"}
        else:
            taking = measure(case, rates=rates, compiled=config.compiled)
            label = f"{name} {case.op} {'x'.join(map(str, case.shape))} {MODES[-1]}"
            wanted = {"fused", "compiled"} if config.compiled else {"fused"}
        if wanted <= session.peers_taken("kernels", label).keys():
            continue
        try:
            rows = list(taking)
        except (AssertionError, RuntimeError) as error:
            print(f"{label}: {error}", flush=True)
            wrong = 1
            continue
        finally:
            session.free()
        print("\n".join(list(table(rows))[1:]), flush=True)
        modes = dict.fromkeys(row.mode for row in rows)
        session.keep([record(name, [r for r in rows if r.mode == mode]) for mode in modes])
    return wrong


def main() -> int:
    """Time both networks' kernels and keep the figures; the exit status is 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--networks", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--convs", action="store_true", help="conv_norm_act's implementations")
    parser.add_argument("--compiled", action="store_true", help="torch.compile too: takes minutes")
    options = parser.parse_args()
    if DEVICE.type != "cuda":
        raise SystemExit("there is no GPU here: nothing to record")
    if options.convs:
        return time_convs()
    wrong = 0
    for name in options.networks:
        config = dataclasses.replace(SIZES[name], compiled=options.compiled)
        wrong |= time_kernels(name, config)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
