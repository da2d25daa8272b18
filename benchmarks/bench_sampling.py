"""One pass of the vdm network without gradients, as sampling takes it: plain, compiled, fused.

``python benchmarks/bench_sampling.py`` needs a GPU and writes results/<device>.json, a figure at
once when it is known; called again it goes on. torch.compile's come with ``--compiled``. pytest
checks on a CPU that all of them predict the same.
"""

import sys

import networks
import session
import torch
from networks import PROVIDERS, SIZES, SMALL, Call, Size

FUSED_GRAPH = "fused, graph"


@torch.no_grad()
def prediction(provider: str, size: Size, device: torch.device) -> Call:
    """The provider's pass."""
    is_graph = provider == FUSED_GRAPH
    call = networks.passes("fused" if is_graph else provider, networks.job(size, device).forward)
    return networks.graphed(call) if is_graph else call


@torch.no_grad()
def test_providers_agree() -> None:
    formulas, eager = (
        prediction(provider, SMALL, torch.device("cpu"))() for provider in ("formulas", "eager")
    )
    networks.assert_agreement("eager", eager, formulas)


@torch.no_grad()
def main() -> int:
    """Time both networks and keep the figures; the exit status is 1 where one failed."""
    providers = (*PROVIDERS, FUSED_GRAPH)
    chosen = session.in_order(providers, compiled=session.is_compiled("Time passes of networks."))
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: nothing to record")
    wrong = []
    for name, size in SIZES.items():
        wrong += session.take(
            "sampling",
            f"{name}, forward",
            size.shape,
            chosen,
            make=lambda provider, size=size: prediction(provider, size, torch.device("cuda")),
            agree=networks.assert_agreement,
        )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
