"""Why FFmpeg finds no video in a file, in the words of the Rust core; for the twin."""

import os
from pathlib import Path
from typing import BinaryIO

_FIRST = (b"ftyp", b"mdat", b"wide", b"free", b"skip", b"styp")
"""Boxes that an MP4 file may begin with."""


def refusal(path: Path) -> str:
    """What is wrong with a file whose header can't be read."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return "the file is empty"
        if _lacks_index(file, size):
            return "has no index (moov): the recording or the copy was not finished"
    return "is not a video that FFmpeg knows, or its header is damaged"


def _lacks_index(file: BinaryIO, size: int) -> bool:
    """Whether a file is an MP4 file from end to end, and no box of it lists frames."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16).ljust(16, b"\0")
        kind, box = head[4:8], int.from_bytes(head[:4], "big")
        if kind in (b"moov", b"moof") or (position == 0 and kind not in _FIRST):
            return False
        if box == 1:
            box = int.from_bytes(head[8:], "big")
        elif box == 0:
            # up to the end of the file
            box = size
        if box < 8:
            return False
        position += box
    return True
