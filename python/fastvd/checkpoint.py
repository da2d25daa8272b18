"""Checkpoints: directories of tensors and JSON, written whole or not at all.

``run_dir/checkpoints/step-00000500/`` holds one ``<part>.safetensors`` a part (model, ema, optim),
``state.json``, and ``MANIFEST.json`` with the SHA-256 of each, written last. A directory is built
under a name that ends in ``.tmp``, made durable, and renamed; nothing in it is ever a pickle.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from .errors import CheckpointError
from .limits import get_limits

FORMAT = 1
"""Version of the directory's layout; a higher one was written by a newer fastvd."""

MANIFEST = "MANIFEST.json"
STATE = "state.json"

_NAME = re.compile(r"step-(\d{8,})")
_TMP = ".tmp"
# manifest, state and directory entries, beside the tensors
_SLACK_BYTES = 1 << 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What ``load`` read: tensors by part and name, and the state's JSON."""

    directory: Path
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(
    run_dir: Path | str,
    step: int,
    *,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of ``step``, read it back, and return its directory.

    Raises OSError (ENOSPC) before writing when less than twice its size is free. After any error
    no part of it is left and older checkpoints are as they were.
    """
    target = directory_of(run_dir, step)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    check_space(target.parent, size_of(tensors))
    tmp = target.with_name(target.name + _TMP)
    try:
        _write_files(tmp, tensors, state)
        verify(tmp)
        if target.exists():
            _discard(target)
        tmp.rename(target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    return target


def load(directory: Path | str, *, parts: Collection[str] | None = None) -> Checkpoint:
    """Read a checkpoint's state and its ``parts`` (all of them by default) to the CPU.

    Raises CheckpointError when a file that is read is damaged, or a part is not there.
    """
    directory = Path(directory)
    names = {Path(name).stem: name for name in _manifest(directory) if name != STATE}
    wanted = list(names) if parts is None else list(parts)
    if missing := [part for part in wanted if part not in names]:
        has = ", ".join(names)
        raise CheckpointError(f"{directory}: has no {', '.join(missing)}; it holds {has}")
    verify(directory, files=[STATE, *(names[part] for part in wanted)])
    tensors = {part: _load_tensors(directory / names[part]) for part in wanted}
    state = _load_json(directory / STATE)
    return Checkpoint(directory=directory, tensors=tensors, state=state)


def verify(directory: Path | str, *, files: Collection[str] | None = None) -> None:
    """Check every file (or those named in ``files``) against the manifest's hash.

    Raises CheckpointError with directory, file and reason; FileNotFoundError without a directory.
    """
    directory = Path(directory)
    hashes = _manifest(directory)
    for name in hashes if files is None else files:
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory}: {name} is missing")
        if _sha256(directory / name) != hashes[name]:
            raise CheckpointError(
                f"{directory}: {name} is damaged: its SHA-256 is not the manifest's"
            )


def find(run_dir: Path | str) -> list[Path]:
    """Return the checkpoint directories of a run, oldest step first, sound or not."""
    folder = Path(run_dir) / "checkpoints"
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def newest(run_dir: Path | str) -> Path | None:
    """Return the newest checkpoint that verifies, None when the run has none at all.

    Passes over damaged ones with a warning each; raises CheckpointError when all are damaged.
    """
    found = find(run_dir)
    reason = ""
    for directory in reversed(found):
        try:
            verify(directory)
        except CheckpointError as error:
            reason = str(error)
            _log.warning("PASSED OVER A DAMAGED CHECKPOINT: %s", reason)
        else:
            return directory
    if found:
        raise CheckpointError(f"{run_dir}: none of {len(found)} checkpoints is sound; {reason}")
    return None


def prune(run_dir: Path | str, *, keep_last: int, keep: Collection[int] = ()) -> list[Path]:
    """Delete all but the newest ``keep_last`` checkpoints and the steps in ``keep``.

    Deletes nothing unless two of those that stay verify. Returns what was deleted.
    """
    found = find(run_dir)
    last = {step_of(path) for path in found[-max(keep_last, 2) :]} | set(keep)
    doomed = [path for path in found if step_of(path) not in last]
    if not doomed:
        return []
    sound = 0
    for path in reversed([path for path in found if path not in doomed]):
        sound += _is_sound(path)
        if sound == 2:
            for old in doomed:
                _discard(old)
            return doomed
    _log.warning("%s: fewer than two sound checkpoints, so no old one is deleted", run_dir)
    return []


def directory_of(run_dir: Path | str, step: int) -> Path:
    """Return where the checkpoint of ``step`` lies."""
    return Path(run_dir) / "checkpoints" / f"step-{step:08d}"


def step_of(directory: Path | str) -> int:
    """Return the step in a checkpoint directory's name."""
    match = _NAME.fullmatch(Path(directory).name)
    if match is None:
        raise ValueError(f"{directory}: a checkpoint is named step-00000000, with its step")
    return int(match[1])


def size_of(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    """Return the bytes that a checkpoint of these tensors takes on disk, at most."""
    each = (t.nbytes + 256 for part in tensors.values() for t in part.values())
    return sum(each) + _SLACK_BYTES


def check_space(folder: Path, size: int) -> None:
    """Raise OSError (ENOSPC) unless twice ``size`` bytes are free where ``folder`` lies."""
    free = shutil.disk_usage(folder).free
    if free < 2 * size:
        need = f"{free / 1e6:.1f} MB free, twice {size / 1e6:.1f} MB wanted for a checkpoint"
        raise OSError(errno.ENOSPC, f"disk full: {need}", str(folder))


def _write_files(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    folder.mkdir()
    for part, named in tensors.items():
        packed = {name: t.detach().contiguous() for name, t in named.items()}
        _save_tensors(folder / f"{part}.safetensors", packed)
    _write_json(folder / STATE, state)
    files = sorted(folder.iterdir())
    for path in files:
        _sync(path)
    hashes = {path.name: _sha256(path) for path in files}
    _write_json(folder / MANIFEST, {"format": FORMAT, "files": hashes})
    _sync(folder / MANIFEST)
    _sync(folder)


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        safetensors.torch.save_file(tensors, path)
    except safetensors.SafetensorError as error:
        # safetensors hands on the system's error only as text
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _load_tensors(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        _check_header(path, int.from_bytes(file.read(8), "little"))
    tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    return tensors


def _load_json(path: Path) -> Any:
    _check_header(path, path.stat().st_size)
    return json.loads(path.read_bytes())


def _check_header(path: Path, size: int) -> None:
    """Raise CheckpointError before too much JSON is read."""
    most = get_limits().max_header_bytes
    if size > most:
        raise CheckpointError(
            f"{path.parent}: {path.name} has {size} bytes of JSON, more than {most}"
        )


def _manifest(directory: Path) -> dict[str, str]:
    """Return the hash of each file, by name."""
    if not directory.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such checkpoint", str(directory))
    if not (directory / MANIFEST).is_file():
        raise CheckpointError(f"{directory}: half written, it has no {MANIFEST}")
    try:
        data = _load_json(directory / MANIFEST)
        version, files = data["format"], dict(data["files"])
        plain = all(Path(name).name == name for name in files)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{directory}: {MANIFEST} is damaged: {error!r}") from error
    if isinstance(version, int) and version > FORMAT:
        raise CheckpointError(
            f"{directory}: format {version} is newer than {FORMAT}, please update fastvd"
        )
    if version != FORMAT or not plain or STATE not in files:
        raise CheckpointError(f"{directory}: {MANIFEST} is damaged: it is none of format {FORMAT}")
    return files


def _is_sound(directory: Path) -> bool:
    try:
        verify(directory)
    except CheckpointError:
        return False
    return True


def _discard(directory: Path) -> None:
    """Delete a checkpoint; killed half-way it leaves a leftover, not a damaged checkpoint."""
    doomed = directory.with_name(directory.name + ".old" + _TMP)
    shutil.rmtree(doomed, ignore_errors=True)
    directory.rename(doomed)
    shutil.rmtree(doomed)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f"step-*{_TMP}"):
        shutil.rmtree(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
