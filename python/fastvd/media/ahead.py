"""The clips of a whole file, its stretches decoded side by side.

Decoding may start anew at some frames only. There the file is cut into runs, which threads decode
at the same time, piece by piece: a piece is the part of a clip that lies in a run.
"""

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from fastvd import limits

LOOK_AHEAD = 256 << 20
"""Most bytes that are decoded before they are asked for."""
RUNS_PER_THREAD = 4
"""So many keep the threads busy to the end of a file."""
CLIPS_PER_RUN = 8
"""More of them gain nothing: a seek costs little beside them."""

Frames = npt.NDArray[np.uint8]
Read = Callable[[range, int], Frames]
"""Reads frames by number, on so many threads."""


def read_ahead(
    read: Read,
    wanted: range,
    starts: Sequence[int],
    *,
    frames: int,
    threads: int,
    frame_bytes: int,
) -> Iterator[Frames]:
    """Give the frames ``wanted`` of a file in clips of ``frames``; ``wanted`` starts at 0.

    Decoding may start at the frames ``starts``. One decoder gets all ``threads`` where these are
    few, or too far apart for what lies between them to be kept.
    """
    runs = _cut(wanted, starts, frames, RUNS_PER_THREAD * threads)
    most = min(LOOK_AHEAD, limits.get_limits().max_clip_bytes) // frame_bytes
    # beside the one that is taken, half of a run waits on average, and a piece is in work
    fitting = 1 + most // (max(map(len, runs)) // 2 + frames)
    decoders = min(threads, len(runs) // 2, fitting)
    clips = (wanted[i : i + frames] for i in range(0, len(wanted), frames))
    if decoders < 2:
        yield from (read(clip, threads) for clip in clips)
        return
    ahead = _Ahead(lambda piece: read(piece, threads // decoders), runs, frames, most)
    try:
        ahead.start(decoders)
        for clip in clips:
            yield ahead.take(len(clip)) if ahead.has_threads() else read(clip, threads)
    finally:
        ahead.close()
    ahead.join()


def _cut(wanted: range, starts: Sequence[int], frames: int, most_runs: int) -> list[range]:
    """Cut ``wanted`` at ``starts`` into runs of some clips at least."""
    places = {-(-start // wanted.step) for start in starts}
    clips = min(CLIPS_PER_RUN, len(wanted) // frames // most_runs)
    enough = max(1, clips) * frames
    cuts, last = [0], 0
    for place in [*sorted(places), len(wanted)]:
        if place - cuts[-1] > enough and cuts[-1] < last < len(wanted):
            cuts.append(last)
        last = place
    return [wanted[first:stop] for first, stop in pairwise([*cuts, len(wanted)])]


class _Run:
    """Frames that one decoder reads in order."""

    def __init__(self, left: range) -> None:
        self.left = left
        self.is_busy = False
        self.pieces: deque[Frames | BaseException] = deque()  # not taken yet


class _Ahead:
    """Reads runs piece by piece, the earlier ones first, some of it before it is asked for."""

    def __init__(
        self, read: Callable[[range], Frames], runs: list[range], frames: int, room: int
    ) -> None:
        self._read, self._frames, self._room = read, frames, room
        self._runs = deque(map(_Run, runs))
        self._threads: list[threading.Thread] = []
        self._is_over = False
        self._process = os.getpid()
        self._changed = threading.Condition()

    def start(self, threads: int) -> None:
        """Begin to decode on so many threads."""
        # at exit a thread may be stopped for good while it holds the lock that closing takes
        atexit.register(self.close)
        for i in range(threads):
            # a daemon, since one that waits must not keep the interpreter from leaving
            thread = threading.Thread(target=self._work, name=f"fastvd-ahead-{i}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def has_threads(self) -> bool:
        """Whether any decode: they do not come along through a fork."""
        return not self._is_over and os.getpid() == self._process

    def close(self) -> None:
        """Have the threads end, each after the piece that it reads."""
        if not self.has_threads():
            return
        atexit.unregister(self.close)
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the threads, which have nothing left to read."""
        for thread in self._threads:
            thread.join()

    def take(self, count: int) -> Frames:
        """Return the next frames, joined where they lie in several runs."""
        pieces = [self._take_piece()]
        while sum(map(len, pieces)) < count:
            pieces.append(self._take_piece())
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _take_piece(self) -> Frames:
        with self._changed:
            run = self._runs[0]
            while not run.pieces:
                self._changed.wait()
            piece = run.pieces.popleft()
            if isinstance(piece, BaseException):
                raise piece
            self._room += len(piece)
            if not run.left and not run.pieces and not run.is_busy:
                self._runs.popleft()
            self._changed.notify_all()
        return piece

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            run, numbers = job
            try:
                piece: Frames | BaseException = self._read(numbers)
            except BaseException as error:  # for the one who takes it
                piece = error
            with self._changed:
                run.pieces.append(piece)
                run.is_busy = False
                self._changed.notify_all()
            # else the thread would hold a piece while it waits
            del job, run, piece

    def _next_job(self) -> tuple[_Run, range] | None:
        """Wait for something to read; None when all is over."""
        with self._changed:
            while not self._is_over:
                # one more than there are threads, since runs differ in length
                for run in islice(self._runs, len(self._threads) + 1):
                    numbers = self._next_of(run)
                    if numbers:
                        run.left = run.left[len(numbers) :]
                        run.is_busy = True
                        self._room -= len(numbers)
                        return run, numbers
                self._changed.wait()
        return None

    def _next_of(self, run: _Run) -> range:
        """Frames of a run's next piece; none where it may not be read yet."""
        if run.is_busy or not run.left:
            return range(0)
        place = run.left.start // run.left.step
        piece = run.left[: self._frames - place % self._frames]
        # what is taken next needs no room, else all might wait
        is_next = run is self._runs[0] and not run.pieces
        return piece if is_next or len(piece) <= self._room else range(0)
