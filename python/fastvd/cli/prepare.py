"""Commands that make data ready ahead of a run: prepare cache."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack

from fastvd.cli.media import add_stream

Command = Callable[..., argparse.ArgumentParser]


def add_commands(command: Command) -> None:
    """Add this file's command to the parser."""
    sub = command("prepare", _prepare, "Make videos ready for training.")
    kinds = sub.add_subparsers(dest="kind", required=True, metavar="KIND")
    text = "Decode videos into a folder, so that training only reads frames."
    more = " Runs with random crops keep other frames: fastvd.data.prepare_cache makes those ready."
    _add_cache(kinds.add_parser("cache", help=text, description=text + more))


def _add_cache(sub: argparse.ArgumentParser) -> None:
    sub.set_defaults(parser=sub)
    sub.add_argument("source", metavar="SRC", help="a video, or a folder of them")
    sub.add_argument("folder", metavar="DST", help="the cache; goes on with what is there")
    sub.add_argument("--size", type=int, default=64, help="side in pixels (default: 64)")
    sub.add_argument("--fit", choices=["crop", "pad", "stretch"], default="crop")
    sub.add_argument("--resample", choices=["bilinear", "area"], default="bilinear")
    sub.add_argument("--grey", action="store_true", help="one channel in place of three")
    add_stream(sub)
    sub.add_argument(
        "--shard",
        type=_shard,
        default=(0, 1),
        metavar="I/N",
        help="the I-th of N parts: 1/4, 2/4, 3/4, 4/4; in Python shard=(0, 4) to (3, 4)",
    )
    sub.add_argument("--workers", type=int, help="threads (default: one a core)")
    sub.add_argument("--cache_bytes", type=int, help="limit of DST (default: by the free disk)")
    sub.add_argument("--timeout_s", type=float, default=60.0, help="for one read (default: 60)")


def _shard(text: str) -> tuple[int, int]:
    part, _, of = text.partition("/")
    if not (part.isdecimal() and of.isdecimal() and 1 <= int(part) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text} is none of 1/N, 2/N, ... N/N")
    return int(part) - 1, int(of)


def _prepare(args: argparse.Namespace) -> int:
    """fastvd prepare cache clips/ cache/ --size 64 --shard 1/4"""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from fastvd.data import ClipConfig, prepare_cache

    names = ("size", "fit", "resample", "grey", "stream")
    config = ClipConfig(**{name: getattr(args, name) for name in names})
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task("videos", total=None)
    with ExitStack() as shown:

        def show(done: int, of: int) -> None:
            # what can be refused is refused before
            if done == 0:
                shown.enter_context(bar)
            bar.update(task, completed=done, total=of)

        report = prepare_cache(
            args.source,
            args.folder,
            config,
            shard=args.shard,
            workers=args.workers,
            cache_bytes=args.cache_bytes,
            timeout_s=args.timeout_s,
            progress=show,
        )
    for path, reason in report.failed.items():
        print(f"not cached: {path}: {reason.removeprefix(f'{path}: ')}")
    print(f"{args.folder}: {report}")
    return 1 if report.failed else 0
