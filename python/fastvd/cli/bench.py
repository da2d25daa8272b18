"""The command that times kernels on this machine: bench."""

import argparse
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., argparse.ArgumentParser]


def add_commands(command: Command) -> None:
    """Add this file's command to the parser."""
    sub = command("bench", _bench, "Time the fused kernels on this machine, at your shapes.")
    sub.add_argument("--dim", type=int, default=64, help="channels, finest level (default: 64)")
    sub.add_argument("--mults", type=int, nargs="+", default=[1, 2, 4, 8], help="of each level")
    sub.add_argument("--batch", type=int, default=4, help="clips (default: 4)")
    sub.add_argument("--frames", type=int, default=16, help="frames of a clip (default: 16)")
    sub.add_argument("--size", type=int, default=64, help="height and width (default: 64)")
    sub.add_argument(
        "--dtype", choices=["float32", "float16", "bfloat16"], default="bfloat16", help="of clips"
    )
    sub.add_argument("--eager_only", action="store_true", help="leave torch.compile out")
    sub.add_argument("--plot", metavar="PNG", help="a picture of the times")


def _bench(args: argparse.Namespace) -> int:
    """fastvd bench --dim 64 --frames 16 --size 64 --plot kernels.png"""
    import torch

    from fastvd import bench

    config = bench.BenchConfig(
        dim=args.dim,
        mults=tuple(args.mults),
        batch=args.batch,
        frames=args.frames,
        size=args.size,
        dtype=args.dtype,
        compiled=not args.eager_only,
    )
    if not torch.cuda.is_available():
        print("There is no GPU here: fused kernels do not run, plain PyTorch is timed alone.")
    rows = list(bench.bench(config))
    print("\n".join(bench.table(rows)))
    if args.plot:
        bench.plot(rows, Path(args.plot))
        print(f"wrote {args.plot}")
    return 0
