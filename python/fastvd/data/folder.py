"""A folder of shards that any number of processes fill and read, without a lock between them.

A shard is named by the content of its video and by how it was decoded; so a video that is renamed
keeps its shard, one that is changed gets another. ``hashes/`` remembers the content of files whose
size, time and inode are as they were.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvd.data import shard
from fastvd.data.reader import FrameReader
from fastvd.errors import MediaError
from fastvd.media.still import frame_files
from fastvd.media.whole import is_mine, write_bytes

logger = logging.getLogger(__name__)

Frames = NDArray[np.uint8]

# a file that changed just now may change again within the same tick of its clock
_SETTLED_S = 2.0
# how long the folder's size is believed while others may write to it
_USAGE_S = 10.0


class CacheFullError(MediaError):
    """A shard would pass the limit of its folder."""


class CacheFolder:
    """Shards of videos as ``reader`` reads them, up to ``max_bytes`` with all that lies there."""

    def __init__(self, folder: Path, reader: FrameReader, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._reader = reader
        self._hashes = folder / "hashes"
        self._hashes.mkdir(parents=True, exist_ok=True)
        self._checked: set[bytes] = set()
        # content of files by what they were when this process hashed them
        self._contents: dict[str, bytes] = {}
        self._used = (0, -_USAGE_S)
        self._remove_stale()

    def used(self) -> int:
        """Bytes of all shards of the folder, whoever wrote them; a few seconds old at most."""
        size, then = self._used
        if time.monotonic() - then >= _USAGE_S:
            with os.scandir(self.folder) as entries:
                size = sum(e.stat().st_size for e in entries if e.name.endswith(".frames"))
            self._used = (size, time.monotonic())
        return size

    def size_of(self, frames: int) -> int:
        """Bytes of a video's shard."""
        return shard.PAGE + frames * int(np.prod(self._reader.frame_shape()))

    def has(self, path: str) -> bool:
        """Whether a video's shard is known to be there; costs no more than a few stats."""
        key = self._known_key(path)
        return key is not None and self._path(key).exists()

    def load(self, path: str, frames: int, *, may_hash: bool) -> Frames | None:
        """The frames of a video, if its shard is there, whole and sound; else it is removed.

        Without ``may_hash`` only the shard of a video whose content is remembered is found.
        """
        key = self._known_key(path)
        if key is None and may_hash:
            key = self._key(path)
        if key is None:
            return None
        try:
            return self._open(key, frames)
        except FileNotFoundError:
            return None
        except shard.DamagedShardError as error:
            logger.warning("decoded again: %s, the shard of %s, %s", self._path(key), path, error)
            self._path(key).unlink(missing_ok=True)
            return None

    def save(self, path: str, frames: int, pieces: Iterable[Frames]) -> bool:
        """Write a video's shard; False where another process or thread is at it.

        Raises CacheFullError where it has no room.
        """
        size = self.size_of(frames)
        used = self.used()
        if used + size > self.max_bytes:
            raise CacheFullError(
                f"{self.folder} holds {used} bytes, {path} takes {size} more, "
                f"cache_bytes allows {self.max_bytes}"
            )
        key = self._known_key(path) or self._key(path)
        if shard.write_shard(self._path(key), pieces, frames=frames, key=key):
            self._used = (self._used[0] + size, self._used[1])
            # what we wrote is in the file cache and just went through the checksum
            self._checked.add(key)
            return True
        return False

    def _open(self, key: bytes, frames: int) -> Frames:
        path = self._path(key)
        header = shard.read_header(path)
        if header.key != key or header.shape != (frames, *self._reader.frame_shape()):
            raise shard.DamagedShardError("is of another video")
        opened = shard.open_shard(path, header)
        if key not in self._checked:
            shard.check_frames(opened, header)
            self._checked.add(key)
        return opened

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}.frames"

    def _key(self, path: str) -> bytes:
        """Hash a video's content and remember it."""
        before, is_settled = self._identity(path)
        content = self._contents[before] = self._reader.content_hash(path)
        if is_settled and self._identity(path)[0] == before:
            text = content.hex()
            check = hashlib.sha256(text.encode()).hexdigest()[:8]
            write_bytes(self._hashes / before, f"{text} {check}\n".encode())
        return self._with_decoding(content)

    def _known_key(self, path: str) -> bytes | None:
        try:
            name, is_settled = self._identity(path)
            if name in self._contents:
                return self._with_decoding(self._contents[name])
            text, check = (self._hashes / name).read_text().split()
            if is_settled and check == hashlib.sha256(text.encode()).hexdigest()[:8]:
                return self._with_decoding(bytes.fromhex(text))
        except (OSError, ValueError):
            # not there, or cut short by a crash of the machine
            pass
        return None

    def _with_decoding(self, content: bytes) -> bytes:
        return hashlib.sha256(content + self._reader.decoding.encode()).digest()

    def _identity(self, path: str) -> tuple[str, bool]:
        """A name for a file as it is now, and whether it has been so for a while."""
        files = [Path(path)]
        if files[0].is_dir():
            files += frame_files(files[0])
        stats = [file.stat() for file in files]
        facts = [(s.st_size, s.st_mtime_ns, s.st_ino, s.st_dev) for s in stats]
        latest = max(s.st_mtime for s in stats)
        text = f"{[str(file.resolve()) for file in files]} {facts}"
        name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return name, not 0 <= time.time() - latest < _SETTLED_S

    def _remove_stale(self) -> None:
        """Remove what writers that died left behind."""
        for part in self.folder.glob("*.tmp"):
            with contextlib.suppress(FileNotFoundError), part.open("r+b") as file:
                if is_mine(file.fileno(), part):
                    part.unlink(missing_ok=True)
