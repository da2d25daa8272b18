"""A process in which one library reads.

Requests come pickled on standard input, answers go to standard output.
"""

import os
import pickle
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from media import many
from media.readers import READERS, Frames, Reader


class Request(NamedTuple):
    """One job; ``numbers`` are a clip's frames, a whole file's frames to look at, or starts."""

    reader: str
    job: str
    """"clip", "kept", "open", "whole", "threads", "processes" or "loader" """
    path: Path
    size: int | None
    threads: int
    numbers: list[int]
    is_output_wanted: bool = False


class Answer(NamedTuple):
    """Seconds by the clock and of all cores; frames, if they were wanted; or what went wrong.

    ``starts`` are those that the loader chose.
    """

    wall: float = 0.0
    cpu: float = 0.0
    frames: Frames | None = None
    count: int = 0
    error: str = ""
    starts: tuple[int, ...] = ()


def answer(request: Request) -> Answer:
    """Do a job, timed."""
    if request.job == "loader":
        return _load(request)
    kept = _kept(request) if request.job == "kept" else None
    elsewhere = 0.0
    with _path(request) as path:
        cpu, wall = _cpu(), time.perf_counter()
        if kept is not None:
            frames, count = kept.clip(request.numbers), len(request.numbers)
        elif request.job in ("threads", "processes"):
            clips = many.read(request.reader, path, request.numbers, way=request.job)
            frames, elsewhere, count = *clips, len(request.numbers)
        else:
            frames, count = _open_and_read(path, request)
        wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    return Answer(wall, cpu + elsewhere, frames if request.is_output_wanted else None, count)


def _open_and_read(path: Path, request: Request) -> tuple[Frames, int]:
    """Frames, and how many there are; that the file is closed at the end belongs to the job."""
    reader = READERS[request.reader](path, request.size, request.threads)
    if request.job == "whole":
        return _whole(reader, request)
    count = reader.count if request.job == "open" else len(request.numbers)
    return reader.clip(request.numbers), count


def _load(request: Request) -> Answer:
    cpu, wall = _cpu(), time.perf_counter()
    batches, starts = many.load(request.path)
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    frames = many.frames_of(batches) if request.is_output_wanted else None
    return Answer(wall, cpu, frames, len(starts), starts=tuple(starts))


_KEPT: dict[tuple[object, ...], Reader] = {}


def _kept(request: Request) -> Reader:
    key = request.reader, request.path, request.size, request.threads
    if key not in _KEPT:
        _KEPT.clear()
        _KEPT[key] = READERS[request.reader](request.path, request.size, request.threads)
    return _KEPT[key]


def _whole(reader: Reader, request: Request) -> tuple[Frames, int]:
    count, found = 0, []
    wanted = request.numbers if request.is_output_wanted else ()
    for piece in reader.whole():
        found += [piece[i - count].copy() for i in wanted if count <= i < count + len(piece)]
        count += len(piece)
    return np.stack(found) if found else np.empty((0, 0, 0, 3), np.uint8), count


@contextmanager
def _path(request: Request) -> Iterator[Path]:
    """The file; for a first read under a name that nobody has seen yet."""
    if not request.reader.endswith("first time"):
        yield request.path
        return
    # for a folder, each file in it has a new name
    link = Path(tempfile.gettempdir()) / f"{secrets.token_hex(6)}-{request.path.name}"
    link.symlink_to(request.path)
    yield link
    link.unlink()


def _cpu() -> float:
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def serve(library: str, threads: int) -> None:
    """Answer requests until there are none."""
    if library == "fastvd" and threads == 1:
        # its Python part could gain from a second core
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    replies = os.fdopen(os.dup(1), "wb")
    # what a library prints must not come between the answers
    os.dup2(2, 1)
    while (request := _next(sys.stdin.buffer)) is not None:
        try:
            reply = answer(request)
        # a reader may fail in any way: it is then out of the comparison, and the record says so
        except Exception as error:
            reply = Answer(error=f"{type(error).__name__}: {error}"[:200])
        pickle.dump(reply, replies, protocol=5)
        replies.flush()


def _next(requests: Any) -> Request | None:
    try:
        return pickle.load(requests)
    except EOFError:
        return None
