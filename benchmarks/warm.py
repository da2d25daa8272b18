"""Compile what the benchmarks of a lent GPU launch, on all cores at once, into Triton's cache.

``python benchmarks/warm.py`` starts processes that each walk through networks and kernels; a kernel
is compiled by one of them and started by none, so that what they compute is of no use.
"""

import argparse
import dataclasses
import subprocess
import sys
import zlib
from typing import Any

import networks
import torch
from torch import Tensor
from triton.runtime.jit import JITFunction

from fastvd.bench.cases import cases

PROCESSES = 8
"""As many networks as fit into a GPU's memory."""
SIZE = 64
"""Height and width of the clips: kernels do not depend on it, memory does."""


def kind_of(value: Any) -> Any:
    """What Triton compiles a kernel anew for."""
    if isinstance(value, Tensor):
        return str(value.dtype), value.data_ptr() % 16
    if isinstance(value, int):
        return value == 1, value % 16, value.bit_length() > 31
    return type(value).__name__


def share_of(kernel: str, args: tuple[Any, ...], options: dict[str, Any], shares: int) -> int:
    """Which process compiles a kernel for these arguments."""
    key = kernel, [kind_of(arg) for arg in args], sorted((k, str(v)) for k, v in options.items())
    return zlib.crc32(repr(key).encode()) % shares


def compile_alone(share: int, shares: int) -> None:
    """Have kernels compiled, if this process is to, and not started."""
    run = JITFunction.run

    def compiled(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:  # noqa: ARG001
        if share_of(self.__name__, args, options, shares) == share:
            run(self, *args, grid=grid, warmup=True, **options)

    JITFunction.run = compiled


def walk() -> None:
    """Call all that the benchmarks time, forward and backward."""
    for config in networks.SIZES.values():
        for case in cases(dataclasses.replace(config, size=SIZE), torch.device("cuda")):
            y = case.call()
            torch.autograd.grad(y, case.tensors, torch.ones_like(y))


def main() -> int:
    """Walk in as many processes as there are shares, or as one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=int, help="of one process")
    parser.add_argument("--shares", type=int, default=PROCESSES)
    options = parser.parse_args()
    if options.share is not None:
        compile_alone(options.share, options.shares)
        walk()
        return 0
    command = [sys.executable, __file__, "--shares", str(options.shares), "--share"]
    processes = [subprocess.Popen([*command, str(i)]) for i in range(options.shares)]
    return max(process.wait() for process in processes)


if __name__ == "__main__":
    sys.exit(main())
