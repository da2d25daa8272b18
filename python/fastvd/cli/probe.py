"""The command that tells what files hold: probe."""

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING

from fastvd.cli.failure import fail
from fastvd.cli.media import add_stream
from fastvd.cli.progress import progress_line
from fastvd.errors import FastvdError

if TYPE_CHECKING:
    from fastvd.media import VideoInfo

Command = Callable[..., argparse.ArgumentParser]

# of more files only the summary is told
_MOST_FILES = 10
# values of one row of the summary
_MOST_VALUES = 6


def add_commands(command: Command) -> None:
    """Add this file's command to the parser."""
    sub = command("probe", _probe, "Tell frames, rate, size and codec of videos.")
    sub.add_argument("paths", nargs="+", metavar="PATH", help="a video, or a folder of them")
    sub.add_argument("--json", action="store_true", help="one JSON object a line, for every file")
    add_stream(sub)


def _probe(args: argparse.Namespace) -> int:
    """fastvd probe clips/*.mp4; of more than 10 files it prints the summary alone."""
    from fastvd.media import probe

    paths, ignored, errors = _sources(args.paths)
    is_each_shown = args.json or len(paths) <= _MOST_FILES
    infos = []
    with progress_line() as progress:
        for done, path in enumerate(paths, start=1):
            try:
                infos.append(probe(path, stream=args.stream))
            except (FastvdError, OSError) as error:
                errors.append(error)
                continue
            if is_each_shown:
                print(_json(infos[-1]) if args.json else f"{_rows(_facts(infos[-1]))}\n")
            elif progress is not None:
                progress(done, len(paths))
    for failure in errors:
        fail(failure)
    if not args.json and (len(paths) > 1 or ignored):
        print(_rows(_summary(infos, len(paths), ignored)))
    return 2 if errors else 0


def _sources(paths: Iterable[str]) -> tuple[list[str], list[str], list[Exception]]:
    """The files of ``paths`` and the videos in its folders; what is passed over; empty folders."""
    found: list[str] = []
    ignored: list[str] = []
    errors: list[Exception] = []
    for path in paths:
        if not Path(path).is_dir():
            found.append(path)
            continue
        from fastvd.data.scan import find_videos

        try:
            videos, others = find_videos(path)
        except FastvdError as error:
            errors.append(error)
        else:
            found += videos
            ignored += others
    return found, ignored, errors


def _facts(info: "VideoInfo") -> dict[str, object]:
    return {**dataclasses.asdict(info), "path": str(info.path)}


def _json(info: "VideoInfo") -> str:
    return json.dumps(_facts(info))


def _summary(infos: Sequence["VideoInfo"], asked: int, ignored: list[str]) -> dict[str, object]:
    """What many files hold, by the names of rows."""
    from fastvd.data.scan import listed, passed_over

    rows: dict[str, object] = {"videos": f"{len(infos)} of {asked} can be read"}
    if infos:
        lengths = [info.frames for info in infos]
        span = f"{min(lengths)} to {max(lengths)} each, median {median_low(lengths)}"
        seconds = sum(info.duration for info in infos)
        rows["frames"] = f"{sum(lengths)}; {span}"
        rows["duration"] = f"{seconds:.1f} s ({timedelta(seconds=round(seconds))})"
        rows["codecs"] = _counted(info.codec for info in infos)
        rows["sizes"] = _counted(f"{info.width}x{info.height}" for info in infos)
        rows["frame rates"] = _counted(f"{info.fps:.4g} fps" for info in infos)
    if cut := [str(info.path) for info in infos if info.is_truncated]:
        rows["truncated"] = f"{len(cut)}: {listed(cut)}"
    if ignored:
        rows["others"] = passed_over(ignored)
    return rows


def _counted(values: Iterable[str]) -> str:
    """Each value and how often it comes, the most frequent first."""
    counts = Counter(values).most_common()
    shown = ", ".join(f"{value} ({count})" for value, count in counts[:_MOST_VALUES])
    return shown + (f" and {len(counts) - _MOST_VALUES} more" if len(counts) > _MOST_VALUES else "")


def _rows(facts: dict[str, object]) -> str:
    return "\n".join(f"{name:17} {value}" for name, value in facts.items())
