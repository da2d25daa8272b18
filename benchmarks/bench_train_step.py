"""Step time of the vdm network: on a CPU against lucidrains/video-diffusion-pytorch, on a GPU
fused against plain and compiled.

``python benchmarks/bench_train_step.py`` writes results/<device>.json. On a CPU both have the same
weights, shapes and dtype, and take turns, each in a process of its own. On a GPU each figure is
written at once when it is known, a second call goes on, and torch.compile's come with
``--compiled``. pytest runs the agreement check alone.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
import warnings
from multiprocessing.connection import Connection
from typing import NamedTuple

import networks
import pytest
import session
import torch
from report import write_records
from torch import Tensor, nn

from fastvd import allocator
from fastvd.bench.cases import NetworkCase, network_case
from fastvd.bench.update import kernel_update, torch_update
from fastvd.models import from_lucidrains

THREADS = 2


class Case(NamedTuple):
    """One network and the clips it is timed on."""

    dim: int
    mults: tuple[int, ...]
    shape: tuple[int, int, int, int, int]
    """[B, C, T, H, W]"""


CASES = {
    "dim 16": Case(16, (1, 2, 4), (16, 3, 5, 32, 32)),
    "dim 32": Case(32, (1, 2, 4), (16, 3, 5, 32, 32)),
    "dim 64": Case(64, (1, 2, 4, 8), (2, 3, 10, 64, 64)),
}
PEERS = ("fastvd", "lucidrains", "lucidrains as installed")
"""As installed: without the allocator settings that fastvd's own runs have."""


def build(peer: str, case: Case) -> nn.Module:
    """Make the network of ``peer``; both peers' have equal weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from video_diffusion_pytorch import Unet3D
    torch.manual_seed(0)
    theirs = Unet3D(dim=case.dim, dim_mults=case.mults)
    return from_lucidrains(theirs.state_dict()) if peer == "fastvd" else theirs


def inputs(case: Case) -> tuple[Tensor, Tensor]:
    """Noisy clips and timesteps of ``case``."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(case.shape, generator=generator)
    return x, torch.randint(0, 1000, (case.shape[0],), generator=generator)


def step(network: nn.Module, x: Tensor, t: Tensor, *, backward: bool) -> Tensor:
    """Run a forward pass, or a forward and backward pass of a squared error."""
    if not backward:
        with torch.no_grad():
            return network(x, t)
    network.zero_grad(set_to_none=True)
    y = network(x, t)
    (y - 1).square().mean().backward()
    return y


@pytest.mark.parametrize("dim", [16, 32])
def test_both_networks_agree(dim: int) -> None:
    case = Case(dim, (1, 2), (2, 3, 5, 8, 8))
    x, t = inputs(case)
    ours, theirs = build("fastvd", case), build("lucidrains", case)
    difference = step(ours, x, t, backward=True) - step(theirs, x, t, backward=True)
    assert difference.abs().max() < 1e-5


def serve(peer: str, case: Case, pipe: Connection) -> None:
    """Answer each request, backward or not, with the seconds that one step took."""
    torch.set_num_threads(THREADS)
    if peer != "lucidrains as installed":
        allocator.tune()
    network, (x, t) = build(peer, case), inputs(case)
    while (backward := pipe.recv()) is not None:
        start = time.perf_counter()
        step(network, x, t, backward=backward)
        pipe.send(time.perf_counter() - start)


def measure(case: Case, *, backward: bool, rounds: int) -> dict[str, list[float]]:
    """Seconds of each peer's steps, taken in turns after one warm-up round."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    workers = []
    for peer in PEERS:
        pipes[peer], theirs = spawn.Pipe()
        worker = spawn.Process(target=serve, args=(peer, case, theirs), daemon=True)
        worker.start()
        workers.append(worker)
    seconds: dict[str, list[float]] = {peer: [] for peer in PEERS}
    for i in range(rounds + 1):
        for peer, pipe in pipes.items():
            pipe.send(backward)
            taken = pipe.recv()
            if i:
                seconds[peer].append(taken)
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(None)
        worker.join()
    return seconds


def record(name: str, case: Case, seconds: dict[str, list[float]], *, backward: bool) -> dict:
    """Reduce one case's seconds to medians, spread and ratios of rounds."""
    ours = seconds["fastvd"]
    summary = {}
    for peer, taken in seconds.items():
        quarters = statistics.quantiles(taken, n=4)
        ratios = [theirs / own for theirs, own in zip(taken, ours, strict=True)]
        summary[peer] = {
            "median_ms": round(statistics.median(taken) * 1e3, 1),
            "quartiles_ms": [round(quarters[0] * 1e3, 1), round(quarters[2] * 1e3, 1)],
            "fastvd_is_faster_by": round(statistics.median(ratios), 2),
        }
    return {
        "suite": "train_step",
        "case": f"{name}, {'forward + backward' if backward else 'forward'}",
        "shape": list(case.shape),
        "dtype": "float32",
        "threads": THREADS,
        "rounds": len(ours),
        "peers": summary,
    }


def gpu_step(provider: str, case: NetworkCase) -> networks.Call:
    """One step in bfloat16, AdamW and the average of the weights in it; returns its loss."""
    net = case.args[0]
    update = kernel_update(net) if provider.startswith("fused") else torch_update(net)
    predict = networks.passes(provider.removesuffix(networks.GRAPH), case)
    if provider.endswith(networks.GRAPH):
        predict = networks.graphed_with_gradients(predict, case)

    def step() -> Tensor:
        net.zero_grad(set_to_none=True)
        loss = (predict() - 1).square().mean()
        loss.backward()
        update()
        return loss.detach()

    return step


def assert_losses_agree(provider: str, loss: Tensor, wanted: Tensor) -> None:
    """Raise AssertionError where the first losses of two providers differ."""
    assert abs(loss - wanted) <= 0.02 * wanted, f"{provider}: loss {loss}, not {wanted}"


def gpu_main() -> int:
    """Time both of the issue's networks on this GPU, each provider's first step checked.

    Returns 1 where one failed.
    """
    chosen = session.chosen("Time training steps of networks.")
    wrong = []
    for name, size in networks.SIZES.items():
        wrong += session.take(
            "gpu_train_step",
            f"{name}, train step",
            networks.shape_of(size),
            chosen,
            make=lambda provider, size=size: gpu_step(
                provider, network_case(size, torch.device("cuda"))
            ),
            agree=assert_losses_agree,
        )
    return int(bool(wrong))


def main() -> int:
    """Time what this machine can and write the record."""
    if torch.cuda.is_available():
        return gpu_main()
    cpu_main()
    return 0


def cpu_main() -> None:
    """Time the cases named on the command line, or all, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    for name in arguments.cases:
        for backward in (False, True):
            seconds = measure(CASES[name], backward=backward, rounds=arguments.rounds)
            entry = record(name, CASES[name], seconds, backward=backward)
            write_records([entry], packages=("torch", "video-diffusion-pytorch"))
            print(json.dumps(entry["peers"], indent=None), entry["case"], flush=True)


if __name__ == "__main__":
    sys.exit(main())
