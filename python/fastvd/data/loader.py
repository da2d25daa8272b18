"""Batches of clips, read by threads ahead of the step and in a fixed order."""

import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fastvd.arguments import check_kind, check_shard, check_whole
from fastvd.data.batch import Buffers, Kind
from fastvd.data.clips import ClipDataset, ClipError, ClipSource
from fastvd.data.filling import Filler, Filling, make_buffers
from fastvd.data.order import check_seed
from fastvd.data.pool import Readers

if TYPE_CHECKING:
    import torch

Output = Literal["float32", "float16", "bfloat16", "numpy"]

# batches that lie ready or are being read while one is used
_BATCHES_AHEAD = 2


class Batch(NamedTuple):
    """Clips, and for each where it was taken and which ``frames`` [B, T] of its file it holds.

    ``clip`` is a float tensor [B, C, T, H, W] in -1..1 on the device, or for ``output="numpy"`` a
    uint8 array [B, T, H, W, C]. ``number`` counts the batches of a loop or stream, ``errors`` has
    the clips of this one that could not be read.
    """

    # Any: a tensor or an array, by the loader's output; a union would have every caller tell them
    clip: Any
    source: list[ClipSource]
    frames: NDArray[np.int64]
    number: int
    errors: list[ClipError]


class ClipLoader:
    """Batches of ``clips``, read by ``workers`` threads ahead of their use.

    The batches do not depend on ``workers``; with 0 each is read in the caller's thread when it is
    asked for. ``seed`` takes the place of the dataset's. An error while reading reaches the caller
    at the batch where it belongs and ends that iteration; with ``on_error="skip"`` of the dataset
    the clip is left out of its batch, which is then smaller, and a batch that loses all its clips
    is passed over.

    ``output`` is the number format of a tensor, or ``"numpy"``, which needs no PyTorch. Some
    batches are read ahead, as many as ``workers`` keep busy and up to ``queue_bytes``; memory of a
    batch is used again once nothing refers to it. ``shard=(rank, world)``, ranks from 0, gives
    each of ``world`` loaders every ``world``-th batch of the common order.

    A ``for`` loop over the loader is one epoch, the next loop the next epoch (``epoch`` says which
    and may be set). It yields whole batches: the last ``len(clips) % (batch_size * world)`` clips
    of an epoch's order are left out, other ones in each epoch. ``stream`` leaves none out. Any
    number of threads may share a loader, and an iterator of it too.
    """

    def __init__(
        self,
        clips: ClipDataset,
        *,
        batch_size: int,
        workers: int = 2,
        device: "torch.device | str" = "cpu",
        seed: int | None = None,
        output: Output = "float32",
        queue_bytes: int = 1 << 29,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        check_kind(ClipDataset, clips=clips)
        _check_counts(
            batch_size=(batch_size, 1), workers=(workers, 0), queue_bytes=(queue_bytes, 0)
        )
        if output not in ("float32", "float16", "bfloat16", "numpy"):
            choices = "float32, float16, bfloat16 or numpy"
            raise ValueError(f"output must be {choices}, got {output!r}")
        if _is_gpu(device):
            _check_gpu(device, output)
        check_shard(shard)
        self.clips = clips
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.seed = clips.seed if seed is None else check_seed(seed)
        self.output = output
        self.queue_bytes = queue_bytes
        self.shard = shard
        self.epoch = clips.epoch
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self.clips) // (self.batch_size * self.shard[1])

    def __iter__(self) -> "Batches":
        if not len(self):
            raise ValueError(
                f"an epoch of {len(self.clips)} clips has no whole batch of {self.batch_size}; "
                "lower batch_size or use stream()"
            )
        with self._turn:
            epoch, self.epoch = self.epoch, self.epoch + 1
        return self._batches(range(len(self)), epoch * len(self.clips))

    def stream(self, first_batch: int = 0) -> "Batches":
        """Batches without end, across epochs: batch b is a pure function of b and the seed.

        So ``stream(first_batch=b)`` goes on where a stream stopped whose next number was b.
        """
        _check_counts(first_batch=(first_batch, 0))
        return self._batches(itertools.count(first_batch), 0)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_turn": threading.Lock()}

    def _batches(self, numbers: Iterable[int], first: int) -> "Batches":
        """The batches ``numbers``, counted from the clip number ``first``."""
        rank, world = self.shard
        places = ((b, first + (b * world + rank) * self.batch_size) for b in numbers)
        return Batches(self, places)


class Batches(Iterator[Batch]):
    """The batches of one loop or stream; ``close`` ends it and stops its threads."""

    def __init__(self, loader: ClipLoader, places: Iterator[tuple[int, int]]) -> None:
        is_uint8 = loader.output == "numpy" or _is_gpu(loader.device)
        kind = cast(Kind, "uint8" if is_uint8 else loader.output)
        self._filler = Filler(
            loader.clips, seed=loader.seed, batch_size=loader.batch_size, kind=kind
        )
        self._places = places
        # batches of one clip each would leave threads idle
        wanted = max(_BATCHES_AHEAD, 2 * loader.workers // loader.batch_size)
        size = make_buffers(self._filler, ahead=0).nbytes
        self._ahead = min(wanted, loader.queue_bytes // size) if loader.workers else 0
        self._buffers = make_buffers(self._filler, ahead=self._ahead)
        self._output = _tensor_output(loader, self._buffers, self._filler.shape)
        self._workers = loader.workers
        self._filling: deque[Filling] = deque()
        self._begin()

    def __next__(self) -> Batch:
        if self._pid != os.getpid():
            # the threads stayed behind at the fork, and a lock may have been held
            self._begin()
        with self._lock:
            try:
                while True:
                    filling = self._next_filled()
                    if any(filling.sources):
                        return self._batch(filling)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the iteration."""
        self._places = iter(())
        self._filling.clear()
        self._readers.close()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._readers = Readers(self._workers)
        begun = [(filling.number, filling.first) for filling in self._filling]
        self._filling.clear()
        self._places = itertools.chain(begun, self._places)

    def _next_filled(self) -> Filling:
        for number, first in itertools.islice(self._places, self._ahead + 1 - len(self._filling)):
            rows = self._buffers.take() if self._output is None else self._output.rows()
            self._filling.append(self._filler.start(number, first, rows, self._readers.submit))
        if not self._filling:
            raise StopIteration
        filling = self._filling.popleft()
        for job in filling.jobs:
            job.result()
        return filling

    def _batch(self, filling: Filling) -> Batch:
        rows, frames, sources = filling.rows, filling.frames, filling.sources
        if None in sources:
            kept = [row for row, source in enumerate(sources) if source is not None]
            rows, frames, sources = rows[kept], frames[kept], [sources[row] for row in kept]
        clip = rows if self._output is None else self._output.tensor(rows)
        return Batch(
            clip,
            cast(list[ClipSource], sources),
            frames,
            filling.number,
            self._filler.lost(filling),
        )


class _Output(Protocol):
    """Makes tensors of batches; ``fastvd.data.tensors`` has two."""

    def rows(self) -> NDArray[Any]: ...
    def tensor(self, rows: NDArray[Any]) -> "torch.Tensor": ...


def _is_gpu(device: "torch.device | str") -> bool:
    return str(device).startswith("cuda")


def _check_gpu(device: "torch.device | str", output: Output) -> None:
    import torch

    if output == "numpy":
        raise ValueError(f"output='numpy' stays in the machine's memory, got device={device}")
    if not torch.cuda.is_available():
        raise ValueError(f"device={device}: this machine has no GPU that PyTorch can use")


def _tensor_output(loader: ClipLoader, buffers: Buffers, shape: tuple[int, ...]) -> _Output | None:
    if loader.output == "numpy":
        return None
    # to read arrays takes no torch, and torch takes seconds
    from fastvd.data.tensors import DeviceOutput, HostOutput

    if _is_gpu(loader.device):
        return DeviceOutput(shape, loader.output, loader.device)
    return HostOutput(buffers, loader.output)


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (value, lowest) in counts.items():
        check_whole(or_none=False, **{name: value})
        if value < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {value}")
