"""Decoded videos, each decoded once as a whole: in memory, or in a folder for later runs."""

import errno
import logging
import os
import queue
import shutil
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastvd import native
from fastvd.arguments import check_whole
from fastvd.data.folder import CacheFolder, CacheFullError
from fastvd.data.memory import MemoryStore
from fastvd.data.reader import AT_ONCE, FrameReader
from fastvd.data.scan import warn_once
from fastvd.errors import MediaError

logger = logging.getLogger(__name__)

Frames = NDArray[np.uint8]

# the system allows a process some 65,000 maps; NumPy's own keep a file open each
_MAX_OPEN = 30_000 if native.available else 200
# how long leaving waits for the thread in the background
_CLOSE_TIMEOUT_S = 0.5
# shares of the machine's memory, and of the free disk, that a cache takes if not told
_MEMORY_SHARE, _DISK_SHARE = 0.25, 0.9


_Todo = queue.SimpleQueue[int | None]


class Video(NamedTuple):
    """A file and how many frames it has."""

    path: str
    frames: int


class _Store(Protocol):
    """Where decoded videos lie."""

    max_bytes: int

    def used(self) -> int: ...
    def size_of(self, frames: int) -> int: ...
    def has(self, path: str) -> bool: ...
    def load(self, path: str, frames: int, *, may_hash: bool) -> Frames | None: ...
    def save(self, path: str, frames: int, pieces: Iterable[Frames]) -> bool: ...


class _State:
    """What a cache does in one process, begun anew in another."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.is_full = False
        self.failed: dict[int, str] = {}
        self.locks: dict[int, threading.Lock] = {}
        self.queued: set[int] = set()
        self.todo: _Todo = queue.SimpleQueue()
        self.starting = threading.Lock()
        self.thread: threading.Thread | None = None
        self.stopped = threading.Event()


class FrameCache:
    """Whole videos as uint8 [F, H, W, C], each decoded once, on first use.

    A video of up to 1024 frames is decoded when its first clip is asked for. A longer one is
    decoded by a thread in the background, and its clips are read alone until then. Which videos
    are kept is settled at the start: those that are there, then one after the other those that
    still fit. Nothing is ever thrown out. Safe to use from many threads and after a fork.
    """

    def __init__(
        self, videos: Sequence[Video], reader: FrameReader, store: _Store, *, limit: str, room: int
    ) -> None:
        """``limit`` says in words what ``store.max_bytes`` is; ``room`` is what can be had."""
        self._videos = videos
        self._reader = reader
        self._store = store
        self._limit = limit
        self._open: dict[int, Frames] = {}
        self._kept = self._choose_kept(room)
        self._state = _State()

    def peek(self, videos: Sequence[int]) -> list[Frames | None]:
        """The frames of videos that have been got before; decodes and opens nothing."""
        return list(map(self._open.get, videos))

    def get(self, video: int) -> Frames | None:
        """The frames of a video, decoded now if it is short; None where they are not at hand.

        A video that is damaged somewhere is not kept: its sound clips are read one by one.
        """
        frames = self._open.get(video)
        if frames is not None or video not in self._kept:
            return frames
        if self._state.pid != os.getpid():
            # locks that other threads held at the fork stay held, and the threads are gone
            self._state = _State()
        is_short = self._videos[video].frames <= AT_ONCE
        with self._state.locks.setdefault(video, threading.Lock()):
            frames = self._load(video, may_hash=is_short)
            if frames is None and is_short:
                self.fill(video)
                frames = self._load(video, may_hash=False)
        if frames is None and not is_short:
            self._fill_later(video)
        return frames

    def fill(self, video: int) -> str:
        """Decode a video and keep it; returns why that can't be done, or nothing."""
        path, frames = self._videos[video]
        try:
            if video not in self._state.failed and not self._state.is_full:
                self._store.save(path, frames, self._pieces(path, frames))
        except CacheFullError as error:
            self._state.is_full = True
            logger.warning("the cache is full: %s", error)
        except (MediaError, OSError, ValueError) as error:
            # of the file, or of a full disk: its clips are read alone from now on
            self._state.failed[video] = str(error)
            logger.warning("not cached: %s", error)
        return self._no_room(video) if self._state.is_full else self._state.failed.get(video, "")

    def ensure(self, video: int) -> str | None:
        """Have a video in the store: None if it was there, else nothing or why it can't be."""
        path, frames = self._videos[video]
        try:
            if self._store.load(path, frames, may_hash=True) is not None:
                return None
        except (MediaError, OSError) as error:
            return str(error)
        return self.fill(video) if video in self._kept else self._no_room(video)

    def close(self) -> None:
        """Break off what is being decoded."""
        self._state.stopped.set()

    def _load(self, video: int, *, may_hash: bool) -> Frames | None:
        if video in self._open or video in self._state.failed:
            return self._open.get(video)
        path, count = self._videos[video]
        try:
            frames = self._store.load(path, count, may_hash=may_hash)
        except (MediaError, OSError) as error:
            self._state.failed[video] = str(error)
            logger.warning("not cached: %s", error)
            return None
        if frames is not None:
            if len(self._open) >= _MAX_OPEN:
                self._open.pop(next(iter(self._open)), None)
            self._open[video] = frames
        return frames

    def _pieces(self, path: str, frames: int) -> Iterator[Frames]:
        for piece in self._reader.pieces(path, frames):
            if self._state.stopped.is_set():
                raise MediaError(f"{path}: decoding was broken off")
            yield piece

    def _no_room(self, video: int) -> str:
        size = self._store.size_of(self._videos[video].frames)
        return f"the cache is full: {self._limit} leaves no room for its {size} bytes"

    def _choose_kept(self, room: int) -> frozenset[int]:
        """Settle what is kept, and tell where that is not all."""
        sizes = [self._store.size_of(video.frames) for video in self._videos]
        left = before = self._store.max_bytes - self._store.used()
        kept = set()
        for i, (video, size) in enumerate(zip(self._videos, sizes, strict=True)):
            is_there = self._store.has(video.path)
            if is_there or size <= left:
                kept.add(i)
                left -= 0 if is_there else size
        if len(kept) < len(sizes):
            warn_once(
                f"cache: {len(kept)} of {len(sizes)} videos fit into {self._limit}, the others are "
                f"decoded each time; all of them take {sum(sizes)} bytes, the smallest {min(sizes)}"
            )
        if before - left > room:
            warn_once(
                f"cache: {self._limit}, of which the videos take {before - left}, but there are "
                f"only {room} bytes free: it will not hold them all"
            )
        return frozenset(kept)

    def _fill_later(self, video: int) -> None:
        if video in self._state.queued or video in self._state.failed or self._state.is_full:
            return
        self._state.queued.add(video)
        self._state.todo.put(video)
        with self._state.starting:
            if self._state.thread is None:
                self._state.thread = threading.Thread(
                    target=_fill_queued,
                    args=(weakref.ref(self), self._state.todo),
                    name="fastvd-cache",
                    daemon=True,
                )
                self._state.thread.start()
                weakref.finalize(
                    self, _stop, self._state.todo, self._state.stopped, self._state.thread
                )

    def __getstate__(self) -> dict[str, Any]:
        names = ("_videos", "_reader", "_store", "_limit", "_kept")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_open": {}, "_state": _State()}


def make_cache(
    cache: Path | str | None,
    videos: Sequence[Video],
    reader: FrameReader,
    *,
    max_bytes: int | None,
) -> FrameCache | None:
    """The cache of ``videos`` that a ClipDataset's arguments ask for, None for none."""
    if cache is None:
        return None
    store: MemoryStore | CacheFolder
    if cache == "memory":
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        store = MemoryStore(reader.frame_shape(), max_bytes=int(_MEMORY_SHARE * room))
        limit = f"{_MEMORY_SHARE:.0%} of the memory"
    else:
        store = CacheFolder(Path(cache), reader, max_bytes=0)
        room = shutil.disk_usage(cache).free
        store.max_bytes = store.used() + int(_DISK_SHARE * room)
        limit = f"{_DISK_SHARE:.0%} of the free disk"
    if max_bytes is None:
        limit += f" (cache_bytes={store.max_bytes})"
    else:
        store.max_bytes, limit = max_bytes, f"cache_bytes={max_bytes}"
    return FrameCache(videos, reader, store, limit=limit, room=room)


def check_cache(cache: Path | str | None, max_bytes: int | None) -> None:
    """Raise for arguments that ``make_cache`` can't serve, before anything is read."""
    check_whole(cache_bytes=max_bytes, or_none=True)
    if max_bytes is not None and max_bytes < 0:
        raise ValueError(f"cache_bytes must be at least 0, got {max_bytes}")
    if cache is None or cache == "memory":
        return
    if not isinstance(cache, str | os.PathLike):
        raise TypeError(f"cache must be a folder, 'memory' or None, got {cache!r}")
    if Path(cache).exists() and not Path(cache).is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "the cache must be a folder", str(cache))


def _fill_queued(cache: "weakref.ref[FrameCache]", todo: _Todo) -> None:
    while (video := todo.get()) is not None:
        # the thread must not keep the cache, whose end stops it
        if (owner := cache()) is not None:
            owner.fill(video)
        del owner


def _stop(todo: _Todo, stopped: threading.Event, thread: threading.Thread) -> None:
    stopped.set()
    todo.put(None)
    if thread is not threading.current_thread():
        thread.join(_CLOSE_TIMEOUT_S)
