"""What a run needs to go on: its config unchanged, its checkpoint, or another's weights."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from fastvd import checkpoint, config
from fastvd.errors import CheckpointError
from fastvd.train.settings import FREE_KEYS, TrainConfig

PARTS = ("model", "ema", "optim")

# names of tensors that a message lists, at most
_SHOWN = 5

_log = logging.getLogger(__name__)


class PartialLoad(NamedTuple):
    """Names of the tensors that were taken over, and of those that were not, by reason."""

    loaded: list[str]
    mismatched: list[str]
    missing: list[str]
    unused: list[str]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors taken over"]
        for reason in ("mismatched", "missing", "unused"):
            if names := getattr(self, reason):
                more = ", ..." if len(names) > _SHOWN else ""
                lines.append(f"{len(names)} {reason}: {', '.join(names[:_SHOWN])}{more}")
        return "; ".join(lines)


def settle_config(run_dir: Path, wanted: TrainConfig) -> None:
    """Write the run's ``config.yaml``, unless its checkpoints were made by another config.

    Raises ValueError that names keys that differ, or names a config of a newer fastvd.
    """
    path = run_dir / "config.yaml"
    if path.exists() and checkpoint.find(run_dir):
        before = _flat(config.to_dict(config.load_config(path, TrainConfig)))
        after = _flat(config.to_dict(wanted))
        keys = sorted(before.keys() | after.keys())
        changed = [key for key in keys if before.get(key) != after.get(key)]
        if bad := [key for key in changed if key not in FREE_KEYS]:
            shown = [f"{k}: {before.get(k)!r}, now {after.get(k)!r}" for k in bad[:_SHOWN]]
            more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
            raise ValueError(
                f"{run_dir} is a run of another config: {'; '.join(shown)}{more}; "
                "go on without changes, or use another run directory"
            )
    tmp = path.with_suffix(".yaml.tmp")
    config.save_config(tmp, wanted)
    tmp.replace(path)


def load_newest(run_dir: Path) -> checkpoint.Checkpoint | None:
    """Return the newest sound checkpoint, None for a run without any.

    Raises CheckpointError when none is sound, or it can't be gone on with.
    """
    directory = checkpoint.newest(run_dir)
    if directory is None:
        return None
    found = checkpoint.load(directory)
    if not set(PARTS) <= found.tensors.keys():
        raise CheckpointError(
            f"{directory}: holds weights but no optimiser, so it can't be gone on with; "
            f"give it as init_from to a new run"
        )
    return found


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Copy tensors into a network that has all of them, in place."""
    report = load_matching(network, tensors)
    if report.mismatched or report.missing or report.unused:
        raise CheckpointError(f"{where}: is of another network: {report}")


def load_matching(network: nn.Module, tensors: Mapping[str, Tensor]) -> PartialLoad:
    """Copy the tensors whose name and shape fit into ``network``; tell about the others."""
    own = network.state_dict()
    loaded = [name for name in own if name in tensors and tensors[name].shape == own[name].shape]
    for name in loaded:
        own[name].copy_(tensors[name])
    return PartialLoad(
        loaded=loaded,
        mismatched=[
            f"{name} {tuple(tensors[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in tensors and name not in loaded
        ],
        missing=[name for name in own if name not in tensors],
        unused=[name for name in tensors if name not in own],
    )


def load_from(network: nn.Module, source: Path) -> PartialLoad:
    """Start ``network`` from a run or one of its checkpoints: averaged weights, as far as they fit.

    Raises CheckpointError when nothing fits, FileNotFoundError where there is no checkpoint.
    """
    directory = source
    if not (source / checkpoint.MANIFEST).exists():
        found = checkpoint.newest(source)
        if found is None:
            raise FileNotFoundError(f"{source}: no run with a checkpoint, and no checkpoint")
        directory = found
    report = load_matching(network, checkpoint.load(directory, parts=["ema"]).tensors["ema"])
    if not report.loaded:
        raise CheckpointError(f"{directory}: no tensor fits the network: {report}")
    _log.info("started from %s: %s", directory, report)
    return report


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, Mapping) or not data:
        return {prefix: data}
    parts = (_flat(value, f"{prefix}.{key}" if prefix else key) for key, value in data.items())
    return {key: value for part in parts for key, value in part.items()}
