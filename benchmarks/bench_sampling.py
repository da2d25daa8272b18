"""One pass of the vdm network without gradients, as sampling takes it: plain, compiled, fused.

``python benchmarks/bench_sampling.py`` needs a GPU and writes results/<device>.json, a figure at
once when it is known; called again it goes on. torch.compile's come with ``--compiled``. pytest
checks on a CPU that all of them predict the same.
"""

import sys

import networks
import session
import torch
from networks import GRAPH, PROVIDERS, SIZES, SMALL, Call

from fastvd.bench.cases import assert_predictions_agree, network_case
from fastvd.bench.config import BenchConfig


@torch.no_grad()
def prediction(provider: str, size: BenchConfig, device: torch.device) -> Call:
    """The provider's pass."""
    call = networks.passes(provider.removesuffix(GRAPH), network_case(size, device))
    return networks.graphed(call) if provider.endswith(GRAPH) else call


@torch.no_grad()
def test_providers_agree() -> None:
    formula, eager = (prediction(name, SMALL, torch.device("cpu"))() for name in PROVIDERS[:2])
    assert_predictions_agree("eager", eager, formula)


@torch.no_grad()
def main() -> int:
    """Time both networks and keep the figures; the exit status is 1 where one failed."""
    chosen = session.chosen("Time passes of networks.")
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: nothing to record")
    wrong = []
    for name, size in SIZES.items():
        wrong += session.take(
            "sampling",
            f"{name}, forward",
            networks.shape_of(size),
            chosen,
            make=lambda provider, size=size: prediction(provider, size, torch.device("cuda")),
            agree=assert_predictions_agree,
        )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
