"""One case: what each reader gives is checked, then the readers take turns and are timed."""

import random
import statistics
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av

from media import agree, many
from media.cases import FRAMES, STRIDE, Case
from media.peers import Workers
from media.readers import ONLY_FOR
from media.worker import Answer, Request

CHECKED = 3
"""Starts, or files of many, whose frames are checked."""
WARM_UP = 8
"""Short files that are read before many are."""
LOOKED_AT = 8
"""Frames of a whole file that are checked."""
FAR_OUT = 2.5
"""A peer that needs so many times what the best one needs, when checked, takes no turns."""
IN_REACH = 1.5
"""The same for the turns after the first round."""


class Entry(NamedTuple):
    """A reader in the way that suits it best: a worker's job, and FFmpeg's threads."""

    reader: str
    job: str
    threads: int


class WrongError(Exception):
    """A reader does not give the frames that it was asked for."""


class Times(NamedTuple):
    """Seconds by the clock and of all cores, for each round a number for each start."""

    wall: list[list[float]]
    cpu: list[list[float]]


def compare(case: Case, path: Path, readers: Iterable[str], workers: Workers) -> dict[str, Any]:
    """Return the record of a case; ``readers`` are ours and the peers'."""
    clips = _clips(case, path)
    tried: dict[Entry, Times] = {}
    faults = {}
    for reader in readers:
        if case.job not in ONLY_FOR.get(reader, (case.job,)):
            continue
        try:
            entry, seconds = _check(case, path, reader, clips, workers)
            tried[entry] = Times([seconds], [seconds])
        except WrongError as error:
            if is_ours(reader):
                raise
            faults[reader] = str(error).removeprefix(f"{reader}: ")
    times = _take_turns(case, path, _in_reach(tried, FAR_OUT), clips, workers)
    record = make_record(case, len(clips[0]), times, faults)
    # one pass over the first starts is all that is known of those far out
    scale = 1e3 / len(clips[0]) if case.job == "many" else 1e3
    for entry in tried.keys() - times.keys():
        ms = _round(scale * statistics.mean(tried[entry].wall[0]))
        record["peers"][entry.reader] = {"ms": ms, "rounds": 0}
    return record


def _clips(case: Case, path: Path) -> list[list[int]]:
    """The frame numbers of each start; of a whole file those to look at; of many files starts."""
    draw = random.Random(path.name)
    if case.job == "many":
        last = _count(next(iter(sorted(path.iterdir())))) - len(many.span(0)) * many.STRIDE
        return [[draw.randrange(last + 1) for _ in path.iterdir()]]
    count = _count(path)
    if case.job == "open":
        return [[0]] * case.starts
    if case.job == "whole":
        return [sorted({i * (count - 1) // (LOOKED_AT - 1) for i in range(LOOKED_AT)})]
    last = count - 1 - (FRAMES - 1) * STRIDE
    starts = [draw.randrange(last + 1) for _ in range(case.starts)]
    return [list(range(start, start + FRAMES * STRIDE, STRIDE)) for start in starts]


def _count(path: Path) -> int:
    with av.open(path) as container:
        stream = container.streams.best("video")
        return sum(packet.size > 0 for packet in container.demux(stream))


def _check(
    case: Case, path: Path, reader: str, clips: list[list[int]], workers: Workers
) -> tuple[Entry, list[float]]:
    """The quickest way in which a reader does the job, and seconds; WrongError for a fault."""
    ways = [(case.job, threads) for threads in sorted({case.threads, 1})]
    if case.job == "many":
        ways = [("threads", 0), ("processes", 0)]
    if reader == "fastvd, loader":
        ways = [("loader", 0)]
    tried: dict[Entry, list[float]] = {}
    for way in ways:
        entry = Entry(reader, *way)
        tried[entry] = []
        if case.job == "many":
            # its processes start, and import, with the first clips
            _ask(entry, case, path, clips[0][:WARM_UP], workers)
        for numbers in clips[:CHECKED]:
            answer = _ask(entry, case, path, numbers, workers, is_output_wanted=True)
            text = answer.error or _fault(case, path, numbers, answer)
            if text:
                raise WrongError(f"{reader}: {text}")
            tried[entry].append(answer.wall)
    return min(tried.items(), key=lambda item: sum(item[1]))


def _ask(
    entry: Entry,
    case: Case,
    path: Path,
    numbers: list[int],
    workers: Workers,
    *,
    is_output_wanted: bool = False,
) -> Answer:
    reader, job, threads = entry
    return workers.ask(Request(reader, job, path, case.size, threads, numbers, is_output_wanted))


_truths: dict[tuple[Path, int | None], dict[int, agree.Frames]] = {}


def _fault(case: Case, path: Path, numbers: list[int], answer: Answer) -> str:
    assert answer.frames is not None
    if case.job != "many":
        if case.job == "whole" and answer.count != _count(path):
            return f"{answer.count} frames of {_count(path)}"
        return agree.fault(answer.frames, numbers, _truth(path, case.size, numbers))
    files = sorted(path.iterdir())
    starts = answer.starts or numbers
    for row in range(0, len(files), len(files) // CHECKED):
        span = many.span(starts[row])
        text = agree.fault(answer.frames[row], span, _truth(files[row], case.size, span))
        if text:
            return f"{files[row].name}: {text}"
    return ""


def _truth(path: Path, size: int | None, numbers: Iterable[int]) -> dict[int, agree.Frames]:
    known = _truths.setdefault((path, size), {})
    if not known.keys() >= set(numbers):
        known |= agree.reference(path, size, list(numbers))
    return known


def _take_turns(
    case: Case, path: Path, entries: list[Entry], clips: list[list[int]], workers: Workers
) -> dict[Entry, Times]:
    times = {entry: Times([], []) for entry in entries}
    order = random.Random(case.title)
    turns = list(entries)
    for _ in range(case.rounds):
        for entry in turns:
            for column in times[entry]:
                column.append([])
        for numbers in clips:
            order.shuffle(turns)
            for entry in turns:
                answer = _ask(entry, case, path, numbers, workers)
                if answer.error:
                    raise RuntimeError(f"{case.title}: {entry.reader}: {answer.error}")
                times[entry].wall[-1].append(answer.wall)
                times[entry].cpu[-1].append(answer.cpu)
        turns = _in_reach(times, IN_REACH)
    return times


def _in_reach(times: dict[Entry, Times], factor: float) -> list[Entry]:
    first = {entry: sum(taken.wall[0]) for entry, taken in times.items()}
    peers = [seconds for entry, seconds in first.items() if not is_ours(entry.reader)]
    limit = factor * min(peers, default=0.0)
    return [entry for entry in times if is_ours(entry.reader) or first[entry] <= limit]


def is_ours(reader: str) -> bool:
    """Whether a reader is fastvd."""
    return reader.startswith("fastvd")


def make_record(
    case: Case, numbers: int, times: dict[Entry, Times], faults: dict[str, str]
) -> dict[str, Any]:
    """Reduce the times of a case; a start's time is its quickest, a ratio that of whole rounds."""
    # many: one call reads a clip of each file
    scale = 1e3 / numbers if case.job == "many" else 1e3
    ours = next(taken for entry, taken in times.items() if entry.reader == case.ours)
    peers = {
        entry.reader: _figures(taken, ours, scale)
        | {"way": entry.job if case.job == "many" else f"threads={entry.threads or 'automatic'}"}
        for entry, taken in times.items()
    }
    others = {name: peer for name, peer in peers.items() if not is_ours(name)}
    best = min(others, key=lambda name: others[name]["ms"], default=None)
    cpu_ms = min((peer["cpu_ms"] for peer in others.values()), default=None)
    return {
        "suite": "media",
        "case": case.title,
        "job": case.name,
        "file": case.file,
        "threads": case.threads or "all",
        "starts": case.starts,
        "ours": case.ours,
        "peers": peers,
        "wrong": faults,
        "best_peer": best,
        "ratio": others[best]["fastvd_is_faster_by"] if best else None,
        # for work on a machine that others use: the least a peer needs to what ours needs
        "cpu_ratio": round(cpu_ms / peers[case.ours]["cpu_ms"], 2) if cpu_ms else None,
        "must": case.target[0],
        "aim": case.target[1],
    }


def _figures(taken: Times, ours: Times, scale: float) -> dict[str, Any]:
    pairs = zip(taken.wall, ours.wall, strict=False)
    ratios = [sum(theirs) / sum(own) for theirs, own in pairs]
    return {
        "ms": _round(scale * statistics.mean(map(min, zip(*taken.wall, strict=True)))),
        "median_ms": _round(scale * statistics.median(chain(*taken.wall))),
        "cpu_ms": _round(scale * statistics.mean(map(min, zip(*taken.cpu, strict=True)))),
        "rounds": len(taken.wall),
        "fastvd_is_faster_by": round(statistics.median(ratios), 2),
    }


def _round(ms: float) -> float:
    return float(f"{ms:.3g}") if ms < 100 else round(ms, 1)
