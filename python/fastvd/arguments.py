"""Checks of arguments: of the wrong kind they raise TypeError that names the argument."""

import operator
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsIndex

# pathlib makes one slash of two
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def check_whole(*, or_none: bool = False, **given: object) -> None:
    """Raise TypeError for what is no whole number, nor None where that is allowed."""
    for name, value in given.items():
        if type(value) is int or (or_none and value is None):
            continue
        try:
            # NumPy's whole numbers are some
            operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"{name} must be a whole number, got {value!r}") from None


def check_numbers(*, or_none: bool = False, **given: object) -> None:
    """Raise TypeError for what is no number, nor None where that is allowed."""
    for name, value in given.items():
        if not (hasattr(value, "__float__") or (or_none and value is None)):
            raise TypeError(f"{name} must be a number, got {value!r}")


def check_kind(kind: type, **given: object) -> None:
    """Raise TypeError for what is no ``kind``."""
    for name, value in given.items():
        if not isinstance(value, kind):
            article = "an" if kind.__name__.startswith("A") else "a"
            raise TypeError(f"{name} must be {article} {kind.__name__}, got {value!r}")


def whole_numbers(name: str, values: Iterable[SupportsIndex], *, wanted: str) -> tuple[int, ...]:
    """The numbers of ``values``; TypeError where that is not what it holds."""
    try:
        return tuple(map(operator.index, values))
    except TypeError:
        raise TypeError(f"{name} must be {wanted}, got {values!r:.80}") from None


def check_shard(shard: tuple[int, int]) -> None:
    """Raise unless ``shard`` is (rank, world), rank counted from 0."""
    numbers = whole_numbers("shard", shard, wanted="(rank, world)")
    if len(numbers) != 2 or not 0 <= numbers[0] < numbers[1]:
        raise ValueError(f"shard must be (rank, world) with 0 <= rank < world, got {shard}")


def local_path(path: Path | str) -> Path:
    """A path of this machine; raises TypeError for what is none, ValueError for a URL."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a Path, got {path!r}")
    if not str(path):
        raise ValueError("the path is empty")
    if _URL.match(str(path)) and not Path(path).exists():
        raise ValueError(f"{path}: URLs are not opened: download it first")
    return Path(path)
