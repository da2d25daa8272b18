"""The command that times kernels on this machine: bench."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fastvd.bench.config import BenchConfig

Command = Callable[..., argparse.ArgumentParser]


def add_commands(command: Command) -> None:
    """Add this file's command to the parser."""
    sub = command("bench", _bench, "Time the fused kernels on this machine, at your shapes.")
    for name, text in (
        ("dim", "channels, finest level"),
        ("batch", "clips"),
        ("frames", "frames of a clip, up to 64"),
        ("size", "height and width"),
    ):
        told, default = f"{text} (default: %(default)s)", getattr(BenchConfig, name)
        sub.add_argument(f"--{name}", type=int, default=default, help=told)
    mults, dtypes = list(BenchConfig.mults), ["float32", "float16", "bfloat16"]
    sub.add_argument(
        "--mults",
        type=int,
        nargs="+",
        default=mults,
        help="widths of the levels in multiples of dim (default: %(default)s)",
    )
    sub.add_argument(
        "--dtype", choices=dtypes, default=BenchConfig.dtype, help="of clips (default: %(default)s)"
    )
    sub.add_argument(
        "--eager_only",
        action="store_true",
        help="without torch.compile, whose code takes minutes to make",
    )
    sub.add_argument("--plot", metavar="PNG", help="a picture of the times, none by default")


def _bench(args: argparse.Namespace) -> int:
    """fastvd bench --dim 64 --frames 16 --size 64 --plot kernels.png"""
    import torch

    from fastvd.bench.measure import bench
    from fastvd.bench.report import plot, table

    config = BenchConfig(
        dim=args.dim,
        mults=tuple(args.mults),
        batch=args.batch,
        frames=args.frames,
        size=args.size,
        dtype=args.dtype,
        compiled=not args.eager_only,
    )
    if args.plot and not Path(args.plot).parent.is_dir():
        raise ValueError(f"{args.plot}: there is no folder {Path(args.plot).parent}")
    if not torch.cuda.is_available():
        print("There is no GPU here: fused kernels do not run, plain PyTorch is timed alone.")
    rows = list(bench(config))
    print("\n".join(table(rows)))
    if args.plot:
        plot(rows, Path(args.plot))
        print(f"wrote {args.plot}")
    return 0
