"""Batches of clips on the device, read by threads ahead of the step and in a fixed order."""

import contextlib
import itertools
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastvd.data.clips import ClipDataset, ClipSource
from fastvd.data.order import check_seed
from fastvd.data.transforms import to_network

# batches that lie ready or are being read while one is used
_BATCHES_AHEAD = 2
# how long closing waits for threads that are reading; one that hangs dies with the process
_CLOSE_TIMEOUT_S = 0.5


class Batch(NamedTuple):
    """Float [B, C, T, H, W] in -1..1 on the device, and where each clip was taken."""

    clip: Tensor
    source: list[ClipSource]


class _Filling(NamedTuple):
    """A batch being read: uint8 [B, T, H, W, C] on the host, and one promise for each clip."""

    host: Tensor
    sources: list["Future[ClipSource]"]


class ClipLoader:
    """Batches of ``clips``, read by ``workers`` threads a few batches ahead of their use.

    The batches do not depend on ``workers``; with 0 each is read in the caller's thread when it is
    asked for. ``seed`` takes the place of the dataset's. An error while reading reaches the caller
    at the batch where it belongs and ends that iteration.

    A ``for`` loop over the loader is one epoch, the next loop the next epoch (``epoch`` says which
    and may be set). It yields whole batches: the last ``len(clips) % batch_size`` clips of an
    epoch's order are left out, other ones in each epoch. ``stream`` leaves none out.
    """

    def __init__(
        self,
        clips: ClipDataset,
        *,
        batch_size: int,
        workers: int = 2,
        device: torch.device | str = "cpu",
        seed: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if workers < 0:
            raise ValueError(f"workers must be at least 0, got {workers}")
        self.clips = clips
        self.batch_size = batch_size
        self.workers = workers
        self.device = torch.device(device)
        self.seed = clips.seed if seed is None else check_seed(seed)
        self.epoch = clips.epoch

    def __len__(self) -> int:
        return len(self.clips) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        if not len(self):
            raise ValueError(
                f"an epoch of {len(self.clips)} clips has no whole batch of {self.batch_size}; "
                "lower batch_size or use stream()"
            )
        first = self.epoch * len(self.clips)
        self.epoch += 1
        return self._batches(first + i * self.batch_size for i in range(len(self)))

    def stream(self, first_batch: int = 0) -> Iterator[Batch]:
        """Batches without end, across epochs: batch b is a pure function of b and the seed.

        So ``stream(first_batch=b)`` goes on where a stream stopped that has given b batches.
        """
        if first_batch < 0:
            raise ValueError(f"first_batch must be at least 0, got {first_batch}")
        return self._batches(itertools.count(first_batch * self.batch_size, self.batch_size))

    def _batches(self, firsts: Iterable[int]) -> Iterator[Batch]:
        """Batches that begin at the clips number ``firsts``, counted across epochs."""
        # batches of one clip each would leave threads idle
        ahead = max(_BATCHES_AHEAD, 2 * self.workers // self.batch_size) if self.workers else 0
        todo = iter(firsts)
        filling: deque[_Filling] = deque()
        readers = _Readers(self.workers)
        try:
            while True:
                for first in itertools.islice(todo, ahead + 1 - len(filling)):
                    filling.append(self._start(first, readers))
                if not filling:
                    return
                host, sources = filling.popleft()
                found = [source.result() for source in sources]
                yield Batch(self._to_device(host), found)
        finally:
            readers.close()

    def _start(self, first: int, readers: "_Readers") -> _Filling:
        config = self.clips.config
        shape = (self.batch_size, config.frames, config.size, config.size, config.channels)
        host = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        numbers = range(first, first + self.batch_size)
        rows = zip(host.numpy(), numbers, strict=True)
        return _Filling(host, [readers.submit(partial(self._fill, *row)) for row in rows])

    def _fill(self, row: NDArray[np.uint8], number: int) -> ClipSource:
        epoch, index = divmod(number, len(self.clips))
        row[...], source = self.clips.clip(epoch, index, seed=self.seed)
        return source

    def _to_device(self, host: Tensor) -> Tensor:
        return to_network(host.to(self.device, non_blocking=host.is_pinned()))


_Job = tuple["Future[ClipSource]", Callable[[], ClipSource]]
_Jobs = queue.SimpleQueue[_Job | None]


class _Readers:
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

    def submit(self, read: Callable[[], ClipSource]) -> "Future[ClipSource]":
        future: Future[ClipSource] = Future()
        if self._threads:
            self._jobs.put((future, read))
        else:
            future.set_result(read())
        return future


def _work(jobs: _Jobs) -> None:
    while (job := jobs.get()) is not None:
        future, read = job
        try:
            future.set_result(read())
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
