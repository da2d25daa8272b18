"""Saving a run: never what is not finite, and a full disk does not end it."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvd import checkpoint
from fastvd.errors import NonFiniteError

_log = logging.getLogger(__name__)


def save_and_prune(
    run_dir: Path,
    step: int,
    *,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep_last: int,
    keep: Collection[int],
    is_last: bool,
) -> bool:
    """Save a checkpoint, then delete the oldest; returns whether it was saved.

    Where it can't be written, all checkpoints but two and those in ``keep`` make room and it is
    tried once more. If that fails too the run goes on without, unless ``is_last``: then the OSError
    is raised. Raises NonFiniteError for weights that are not finite.
    """
    check_finite(tensors, step)
    try:
        checkpoint.save(run_dir, step, tensors=tensors, state=state)
    except OSError as error:
        _log.warning("CHECKPOINT NOT WRITTEN, making room: %s", error)
        checkpoint.prune(run_dir, keep_last=2, keep=keep)
        try:
            checkpoint.save(run_dir, step, tensors=tensors, state=state)
        except OSError as second:
            if is_last:
                raise
            _log.warning("NO CHECKPOINT OF STEP %d, the run goes on: %s", step, second)
            return False
    checkpoint.prune(run_dir, keep_last=keep_last, keep=keep)
    return True


def check_finite(tensors: Mapping[str, Mapping[str, Tensor]], step: int) -> None:
    """Raise NonFiniteError that names the first tensor with NaN or infinity."""
    for part, named in tensors.items():
        for name, tensor in named.items():
            if not bool(torch.isfinite(tensor).all()):
                raise NonFiniteError(
                    f"{part}: {name} is not finite at step {step}, so it is not saved; "
                    "the checkpoints before are sound"
                )
