"""The boxes that an MP4 or MOV file is made of: what they tell without FFmpeg."""

import os
from collections.abc import Iterator
from pathlib import Path

_FIRST = (b"ftyp", b"mdat", b"wide", b"free", b"skip", b"styp", b"moov")
"""Boxes that such a file may begin with."""
_CONTENT = (b"mdat", b"moov", b"moof")


def is_truncated(path: Path) -> bool:
    """Whether an MP4 file ends inside a box of frames or of their times; False for other files."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        ends = _boxes(file.fileno(), size)
        return any(kind in _CONTENT and end > size for kind, end in ends)


def lacks_index(path: Path) -> bool:
    """Whether a file is an MP4 file from end to end, and no box of it lists frames."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        boxes = list(_boxes(file.fileno(), size))
    is_listed = any(kind in (b"moov", b"moof") for kind, _ in boxes)
    return bool(boxes) and boxes[-1][1] >= size and not is_listed


def _boxes(descriptor: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Kind and end of each outer box, up to what is no box; none of another kind of file."""
    position = 0
    while position < size:
        head = os.pread(descriptor, 16, position).ljust(16, b"\0")
        kind, length = head[4:8], int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        elif length == 0:
            # up to the end of the file
            length = size - position
        if length < 8 or (position == 0 and kind not in _FIRST):
            return
        position += length
        yield kind, position
