"""A shard: the decoded frames of one video in one file, with a header and a checksum.

The header is a page: magic, version, frames, height, width, channels, CRC-32 of the frames, key,
CRC-32 of all before it, zeros. Frames follow as uint8 [F, H, W, C]. A shard is written under
another name and renamed, so what bears its name is whole; the checksums tell later damage.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvd import native
from fastvd.limits import get_limits
from fastvd.media.whole import is_mine

Frames = NDArray[np.uint8]

PAGE = 4096
"""Bytes of the header."""

VERSION = 1
"""Of the format; a shard of another one is not read."""

_MAGIC = b"fastvd\r\n"
_FIELDS = struct.Struct("<8sIIIIII32s")
_CHECK = struct.Struct("<I")
# frames that the checksum takes at a time, so that Ctrl-C is heard
_CHECKED_BYTES = 16 << 20


class DamagedShardError(ValueError):
    """A file is no shard, or not the one that was written."""


class Header(NamedTuple):
    """What a shard holds: ``shape`` [F, H, W, C]; ``key`` says of which video, decoded how."""

    shape: tuple[int, int, int, int]
    checksum: int
    key: bytes

    @property
    def size(self) -> int:
        """Bytes of the frames."""
        return int(np.prod(self.shape, dtype=object))


def pack_header(header: Header) -> bytes:
    """The header as a page."""
    fields = _FIELDS.pack(_MAGIC, VERSION, *header.shape, header.checksum, header.key)
    return (fields + _CHECK.pack(zlib.crc32(fields))).ljust(PAGE, b"\0")


def parse_header(page: bytes, *, file_size: int) -> Header:
    """Read a header; raises DamagedShardError for any bytes that are not one of this format."""
    if len(page) != PAGE:
        raise DamagedShardError(f"ends within its header, after {len(page)} bytes")
    magic, version, *numbers, key = _FIELDS.unpack_from(page)
    (check,) = _CHECK.unpack_from(page, _FIELDS.size)
    if magic != _MAGIC or version != VERSION:
        raise DamagedShardError("is not a shard of this version")
    if check != zlib.crc32(page[: _FIELDS.size]) or any(page[_FIELDS.size + _CHECK.size :]):
        raise DamagedShardError("has a damaged header")
    frames, height, width, channels, checksum = numbers
    header = Header((frames, height, width, channels), checksum, key)
    limits = get_limits()
    is_sane = 0 < frames <= limits.max_frames and channels in (1, 3)
    if not is_sane or not 0 < max(height, width) <= limits.max_side or not min(height, width):
        raise DamagedShardError(f"claims frames {list(header.shape)}")
    if file_size != PAGE + header.size:
        raise DamagedShardError(f"has {file_size} bytes, its header says {PAGE + header.size}")
    return header


def read_header(path: Path) -> Header:
    """Read a shard's header; raises DamagedShardError, or FileNotFoundError."""
    with path.open("rb") as file:
        return parse_header(file.read(PAGE), file_size=os.fstat(file.fileno()).st_size)


def open_shard(path: Path, header: Header) -> Frames:
    """The frames of a shard, read-only, mapped; not yet checked."""
    if native.available:
        return native.core.map_file(path, PAGE, header.size).reshape(header.shape)
    return np.memmap(path, np.uint8, "r", offset=PAGE, shape=header.shape).view(np.ndarray)


def check_frames(frames: Frames, header: Header) -> None:
    """Raise DamagedShardError where the frames are not those that were written."""
    flat, checksum = frames.reshape(-1).data, 0
    for first in range(0, len(flat), _CHECKED_BYTES):
        checksum = zlib.crc32(flat[first : first + _CHECKED_BYTES], checksum)
    if checksum != header.checksum:
        raise DamagedShardError("has damaged frames")


def write_shard(path: Path, pieces: Iterable[Frames], *, frames: int, key: bytes) -> bool:
    """Write pieces [n, H, W, C], ``frames`` in all, as the shard ``path``, whole or not at all.

    Returns False where another process or thread is writing this shard. What a writer that died
    left behind is written over.
    """
    part = path.with_suffix(".tmp")
    # made if need be, but not emptied before it is known to be ours
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+b") as file:
        if not is_mine(file.fileno(), part):
            return False
        try:
            header = _write_frames(file.fileno(), pieces, key=key)
            if header.shape[0] != frames:
                raise ValueError(f"{header.shape[0]} frames came, {frames} were announced")
            os.pwrite(file.fileno(), pack_header(header), 0)
            os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)
    return True


def _write_frames(descriptor: int, pieces: Iterable[Frames], *, key: bytes) -> Header:
    os.ftruncate(descriptor, 0)
    offset, count, checksum = PAGE, 0, 0
    size: tuple[int, ...] = (0, 0, 0)
    for piece in pieces:
        data = np.ascontiguousarray(piece).reshape(-1).data
        count, size = count + len(piece), piece.shape[1:]
        checksum = zlib.crc32(data, checksum)
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written
    height, width, channels = size
    return Header((count, height, width, channels), checksum, key)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
