"""What benchmarks on a lent GPU share: each figure is recorded at once, and a second call goes on.

Such a machine is there for minutes, and calls are cut off: the figures that matter most come first,
and what this commit has on this GPU is not taken again.
"""

import argparse
import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from networks import GRAPH, PROVIDERS, Call, Figures, measure
from report import peers_of, write_records
from torch import Tensor

PACKAGES = ["torch", "triton"]
"""What the figures depend on."""
Peers = dict[str, dict[str, Any]]
"""Figures by provider."""
Make = Callable[[str], Call]
"""The call of a provider."""
Agree = Callable[[str, Tensor, Tensor], None]
"""``agree(provider, got, wanted)`` raises AssertionError where they differ too much."""


def take(
    suite: str,
    case: str,
    shape: Sequence[int],
    providers: Iterable[str],
    *,
    make: Make,
    agree: Agree,
) -> list[str]:
    """Time the providers that there is no figure of; all must agree with the first.

    Returns what went wrong.
    """
    wrong: list[str] = []
    wanted: Tensor | None = None
    for provider in providers:
        peers = peers_taken(suite, case)
        if provider in peers and wanted is not None:
            continue
        try:
            wanted, figures = _figures(
                provider, wanted, make, agree, is_timed=provider not in peers
            )
        except torch.cuda.OutOfMemoryError:
            peers[provider] = {"out_of_memory": True}
        except Exception as error:  # the others are worth having
            wrong.append(f"{suite}, {case}, {provider}: {type(error).__name__}: {error}")
            print(wrong[-1], flush=True)
            continue
        else:
            if figures is None:
                continue
            milliseconds, megabytes = figures
            peers[provider] = {
                "milliseconds": round(milliseconds, 3),
                "megabytes": round(megabytes, 1),
            }
        finally:
            free()
        peers = compared(peers)
        keep([{"suite": suite, "case": case, "shape": list(shape), "peers": peers}])
        print(f"{suite}, {case}, {provider}: {peers[provider]}", flush=True)
    return wrong


def _figures(
    provider: str, wanted: Tensor | None, make: Make, agree: Agree, *, is_timed: bool
) -> tuple[Tensor, Figures | None]:
    """What the first provider gives, and the figures of this one."""
    call = make(provider)
    got = call().clone()
    agree(provider, got, got if wanted is None else wanted)
    return got if wanted is None else wanted, measure(call) if is_timed else None


def in_order(providers: Iterable[str], *, compiled: bool) -> list[str]:
    """The fused first, then the plain; those of torch.compile last, and only if asked for."""
    given = [provider for provider in providers if compiled or "compiled" not in provider]
    return sorted(given, key=lambda name: ("compiled" in name, not name.startswith("fused")))


def compared(peers: Peers) -> Peers:
    """Figures, each with how many times as fast the fused network is."""
    timed = {
        name: found["milliseconds"] for name, found in peers.items() if "milliseconds" in found
    }
    best = min((ms for name, ms in timed.items() if name.startswith("fused")), default=None)
    if best is None:
        return peers
    ratios = {name: {"fused_is_faster_by": round(ms / best, 2)} for name, ms in timed.items()}
    return {name: {**found, **ratios.get(name, {})} for name, found in peers.items()}


def peers_taken(suite: str, case: str) -> Peers:
    """The figures that this commit has on this GPU."""
    return peers_of(suite, case, packages=PACKAGES, name=torch.cuda.get_device_name())


def keep(records: list[dict[str, Any]]) -> None:
    """Write records now: what comes next may be cut off."""
    write_records(records, packages=PACKAGES, name=torch.cuda.get_device_name())


def free() -> None:
    """Give back the memory of what was timed last."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def chosen(description: str) -> list[str]:
    """The providers that the command line asks for, in their order, each as CUDA graphs too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--compiled", action="store_true", help="torch.compile too: takes minutes")
    compiled = bool(parser.parse_args().compiled)
    return in_order([name + end for name in PROVIDERS for end in ("", GRAPH)], compiled=compiled)
