"""What a run reads: clips to train on, and fixed clips to judge by."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fastvd.arguments import shown
from fastvd.data import ClipDataset, ClipLoader
from fastvd.data.scan import find_videos
from fastvd.errors import MediaError
from fastvd.train.settings import TrainConfig
from fastvd.train.step import seed_of

HELD_OUT_EVERY = 10
"""Of so many files, in natural order, the last is held out."""

# decoded videos that stay in memory
_CACHE_BYTES = 1 << 30

_log = logging.getLogger(__name__)

Videos = Path | str | Sequence[Path | str]


class Inputs(NamedTuple):
    """``held_out``: uint8 [N, T, H, W, C], or None; ``fingerprint``: of the files trained on."""

    loader: ClipLoader
    held_out: Tensor | None
    fingerprint: str


def open_inputs(
    config: TrainConfig,
    videos: Videos,
    *,
    device: torch.device,
    workers: int,
    run_dir: Path | None = None,
) -> Inputs:
    """Scan ``videos``, hold some out and read the clips by which the run is judged."""
    _check_apart(videos, run_dir)
    train, held_out = split_videos(videos) if config.held_out_clips else (videos, [])
    # without any video the dataset says what it was given
    dataset = _dataset(config, train or videos)
    loader = ClipLoader(dataset, batch_size=config.batch_size, workers=workers, device=device)
    fingerprint = _fingerprint(file.path for file in dataset.report.usable)
    count = max(config.held_out_clips, config.sample_clips)
    if not count:
        return Inputs(loader, None, fingerprint)
    judged = _held_out(config, held_out) or dataset
    clips = fixed_clips(judged, count, seed=seed_of(config.seed, 0, "held-out clips"))
    return Inputs(loader, clips, fingerprint)


def _check_apart(videos: Videos, run_dir: Path | None) -> None:
    """Refuse a run within a folder of videos: its own samples would be trained on."""
    if not isinstance(videos, Path | str | Sequence):
        raise TypeError(f"videos must be a path or a list of them, got {shown(videos)}")
    for video in [videos] if isinstance(videos, Path | str) else videos:
        folder = Path(video).resolve()
        if run_dir is not None and folder.is_dir() and run_dir.resolve().is_relative_to(folder):
            raise ValueError(f"run_dir {run_dir} lies in the videos' folder {video}")


def split_videos(videos: Videos) -> tuple[list[str], list[str]]:
    """Return the files to train on, and each tenth to hold out: none of fewer than ten."""
    paths, _ = find_videos(videos)
    held_out = paths[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return [path for path in paths if path not in set(held_out)], held_out


def fixed_clips(dataset: ClipDataset, count: int, *, seed: int) -> Tensor:
    """Return ``count`` clips that depend on dataset and seed alone, uint8 [N, T, H, W, C]."""
    places = (divmod(i, len(dataset)) for i in range(count))
    clips = [dataset.clip(epoch, i, seed=seed, augment=False).clip for epoch, i in places]
    return torch.stack([torch.from_numpy(clip) for clip in clips])


def _held_out(config: TrainConfig, videos: list[str]) -> ClipDataset | None:
    """Return the clips of the files held out; None without a file that can be used."""
    if not videos:
        return None
    try:
        return _dataset(config, videos)
    except (ValueError, MediaError) as error:
        if config.on_error == "error":
            raise
        _log.warning("judged by the training files, no held-out file can be used: %s", error)
        return None


def _dataset(config: TrainConfig, videos: Videos) -> ClipDataset:
    return ClipDataset(
        videos,
        config.clips,
        seed=config.seed,
        on_error=config.on_error,
        cache="memory",
        cache_bytes=_CACHE_BYTES,
    )


def _fingerprint(paths: Iterable[str]) -> str:
    """Return a hash of the files' names in order, on which the order of the clips depends."""
    names = "\n".join(Path(path).name for path in paths)
    return hashlib.sha256(names.encode()).hexdigest()
