"""Threads that read clips."""

import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future

# how long closing waits for threads that are reading; one that hangs dies with the process
_CLOSE_TIMEOUT_S = 0.5

_Job = tuple["Future[None]", Callable[[], None]]
_Jobs = queue.SimpleQueue[_Job | None]


class Readers:
    """Threads that do jobs in the order they came; without any, a job is done at once.

    They are daemons, since a thread that hangs in a read must not keep the process from leaving,
    but they are stopped when this object goes or the interpreter exits, whichever comes first.
    """

    def __init__(self, workers: int) -> None:
        self._jobs: _Jobs = queue.SimpleQueue()
        # the threads know the queue, not this object, else it would never go
        self._threads = [
            threading.Thread(
                target=_work, args=(self._jobs,), name=f"fastvd-clips-{i}", daemon=True
            )
            for i in range(workers)
        ]
        self.close = weakref.finalize(self, _stop, self._jobs, self._threads)
        for thread in self._threads:
            thread.start()

    def submit(self, read: Callable[[], None]) -> "Future[None]":
        """Have a job done."""
        future: Future[None] = Future()
        if self._threads:
            self._jobs.put((future, read))
        else:
            read()
            future.set_result(None)
        return future


def _work(jobs: _Jobs) -> None:
    while (job := jobs.get()) is not None:
        future, read = job
        try:
            read()
            future.set_result(None)
        except BaseException as error:  # for the caller, who raises it
            future.set_exception(error)
        # else the thread would hold a batch while it waits
        del job, future, read


def _stop(jobs: _Jobs, threads: list[threading.Thread]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            jobs.get_nowait()
    for _ in threads:
        jobs.put(None)
    deadline = time.monotonic() + _CLOSE_TIMEOUT_S
    for thread in threads:
        # the collector may run this in any thread
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
