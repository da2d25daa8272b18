"""Checks of arguments: of the wrong kind they raise TypeError that names the argument."""

import dataclasses
import operator
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

if TYPE_CHECKING:
    import torch

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


def check_kind(kind: type, *, or_none: bool = False, **given: object) -> None:
    """Raise TypeError for what is no ``kind``, nor None where that is allowed."""
    for name, value in given.items():
        if isinstance(value, kind) or (or_none and value is None):
            continue
        article = "an" if kind.__name__.startswith("A") else "a"
        wanted = f"torch.{kind.__name__}" if kind.__module__.startswith("torch") else kind.__name__
        raise TypeError(
            f"{name} must be {article} {wanted}, got {shown(value)}{_part(kind, value)}"
        )


def check_callable(**given: object) -> None:
    """Raise TypeError for what can't be called."""
    for name, value in given.items():
        if not callable(value):
            raise TypeError(f"{name} must be callable, got {shown(value)}")


def shown(value: object) -> str:
    """``value`` as an error's line tells it: a clip's numbers would fill the screen."""
    text = repr(value)
    return text if len(text) <= 80 and "\n" not in text else type(value).__name__


def _part(kind: type, value: object) -> str:
    """Say which field of a config was wanted, if one was."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return ""
    names = [field.name for field in dataclasses.fields(value)]
    fits = (f": it has one, .{name}" for name in names if isinstance(getattr(value, name), kind))
    return next(fits, "")


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


def device_of(device: "torch.device | str") -> "torch.device":
    """The device of this name; ValueError for a name of none."""
    import torch

    if not isinstance(device, str | int | torch.device):
        raise TypeError(f"device must be a str or a torch.device, got {device!r}")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be cpu, cuda, cuda:1 or the like, got {device!r}") from None


def local_path(path: Path | str, *, name: str = "path") -> Path:
    """A path of this machine; raises TypeError for what is none, ValueError for a URL."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be a str or a Path, got {path!r}")
    if not str(path):
        raise ValueError(f"the {name} is empty")
    if _URL.match(str(path)) and not Path(path).exists():
        raise ValueError(f"{path}: URLs are not opened: download it first")
    return Path(path)
