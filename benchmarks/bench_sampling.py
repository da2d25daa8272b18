"""One pass of the vdm network without gradients, as sampling takes it: plain, compiled, fused.

``python benchmarks/bench_sampling.py`` needs a GPU and writes results/<device>.json; pytest checks
on a CPU that all of them predict the same.
"""

import networks
import torch
from networks import PROVIDERS, SIZES, SMALL, Call
from report import write_records

from fastvd.bench.cases import network_case
from fastvd.bench.config import BenchConfig


@torch.no_grad()
def predictions(
    size: BenchConfig, device: torch.device, providers: tuple[str, ...]
) -> dict[str, Call]:
    """Each provider's pass; raises AssertionError where one predicts something else."""
    calls, wanted = {}, None
    for provider in providers:
        call = networks.passes(provider, network_case(size, device))
        got = call().clone()
        wanted = got if wanted is None else wanted
        networks.assert_agreement(provider, got, wanted)
        calls[provider] = call
    return calls


def test_providers_agree() -> None:
    assert predictions(SMALL, torch.device("cpu"), ("formula", "eager"))


@torch.no_grad()
def main() -> None:
    """Time both networks and keep the figures."""
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: nothing to record")
    for name, size in SIZES.items():
        calls = predictions(size, torch.device("cuda"), PROVIDERS)
        calls |= {f"{provider}, graph": networks.graphed(calls[provider]) for provider in PROVIDERS}
        figures = {provider: networks.measure(call) for provider, call in calls.items()}
        entry = networks.record("sampling", f"{name}, forward", size, figures)
        write_records([entry], packages=["torch", "triton"], name=networks.gpu_name())
        print(entry["case"], entry["peers"], flush=True)


if __name__ == "__main__":
    main()
