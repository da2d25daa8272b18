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
from media.worker import Answer, Request

CHECKED = 3
"""Starts, or files of many, whose frames are checked."""
LOOKED_AT = 8
"""Frames of a whole file that are checked."""
IN_REACH = 1.5
"""A peer that needs so many times what the best one needs in the first round is left out after."""


class Entry(NamedTuple):
    """A reader in the way that suits it best: a worker's job, and FFmpeg's threads."""

    reader: str
    job: str
    threads: int


class Times(NamedTuple):
    """Seconds by the clock and of all cores, for each round a number for each start."""

    wall: list[list[float]]
    cpu: list[list[float]]


def compare(case: Case, path: Path, readers: Iterable[str], workers: Workers) -> dict[str, Any]:
    """Return the record of a case; ``readers`` are ours and the peers'."""
    clips = _clips(case, path)
    entries, faults = [], {}
    for reader in readers:
        if reader == "fastvd, first time" and case.job not in ("clip", "open", "many"):
            continue
        entry, faults[reader] = _check(case, path, reader, clips, workers)
        if not faults[reader]:
            entries.append(entry)
    times = _take_turns(case, path, entries, clips, workers)
    return make_record(case, clips, times, {name: text for name, text in faults.items() if text})


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
) -> tuple[Entry, str]:
    """The quickest way in which a reader does the job, and what is wrong with it."""
    ways = [(case.job, t) for t in {case.threads, 1}]
    if case.job == "many":
        ways = [("threads", 0), ("processes", 0)]
    quickest, entry = float("inf"), Entry(reader, *ways[0])
    for job, threads in ways:
        tried = Entry(reader, job, threads)
        seconds = 0.0
        for numbers in clips[:CHECKED]:
            answer = _ask(tried, case, path, numbers, workers, is_output_wanted=True)
            text = answer.error or _fault(case, path, numbers, answer)
            if text:
                return tried, text
            seconds += _ask(tried, case, path, numbers, workers).wall
        if seconds < quickest:
            quickest, entry = seconds, tried
    return entry, ""


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
    for row in range(0, len(files), len(files) // CHECKED):
        span = many.span(numbers[row])
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
        turns = _in_reach(turns, times)
    return times


def _in_reach(turns: list[Entry], times: dict[Entry, Times]) -> list[Entry]:
    first = {entry: sum(times[entry].wall[0]) for entry in turns}
    peers = [taken for entry, taken in first.items() if not is_ours(entry.reader)]
    limit = IN_REACH * min(peers, default=0.0)
    return [e for e in turns if is_ours(e.reader) or first[e] <= limit]


def is_ours(reader: str) -> bool:
    """Whether a reader is fastvd."""
    return reader.startswith("fastvd")


def make_record(
    case: Case, clips: list[list[int]], times: dict[Entry, Times], faults: dict[str, str]
) -> dict[str, Any]:
    """Reduce the times of a case; a start's time is its quickest, a ratio that of whole rounds."""
    # many: one call reads a clip of each file
    scale = 1e3 / len(clips[0]) if case.job == "many" else 1e3
    ours = next((t for entry, t in times.items() if entry.reader == case.ours), None)
    peers = {}
    for entry, taken in times.items():
        peers[entry.reader] = {
            "ms": _round(scale * statistics.mean(map(min, zip(*taken.wall, strict=True)))),
            "median_ms": _round(scale * statistics.median(chain(*taken.wall))),
            "cpu_ms": _round(scale * statistics.mean(map(min, zip(*taken.cpu, strict=True)))),
            "rounds": len(taken.wall),
            "way": entry.job if case.job == "many" else f"threads={entry.threads or 'automatic'}",
        }
        if ours is not None:
            pairs = zip(taken.wall, ours.wall, strict=False)
            ratios = [sum(theirs) / sum(own) for theirs, own in pairs]
            peers[entry.reader]["fastvd_is_faster_by"] = round(statistics.median(ratios), 2)
    others = {name: peer for name, peer in peers.items() if not is_ours(name)}
    best = min(others, key=lambda name: others[name]["ms"], default=None)
    return {
        "suite": "media",
        "case": case.title,
        "job": case.name,
        "file": case.file,
        "threads": case.threads or "all",
        "starts": len(clips),
        "ours": case.ours,
        "peers": peers,
        "wrong": faults,
        "best_peer": best,
        "ratio": others[best].get("fastvd_is_faster_by") if best else None,
        "must": case.target[0],
        "aim": case.target[1],
    }


def _round(ms: float) -> float:
    return float(f"{ms:.3g}") if ms < 100 else round(ms, 1)
