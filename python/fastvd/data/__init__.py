"""Clips of videos and batches of them: the same ones for the same seed, on any machine."""

from typing import TYPE_CHECKING, Any

from fastvd.data.clips import Clip, ClipDataset, ClipError, ClipSource
from fastvd.data.config import AugmentConfig, ClipConfig
from fastvd.data.loader import Batch, ClipLoader
from fastvd.data.prepare import prepare_cache
from fastvd.data.scan import FileReport, ScanReport

if TYPE_CHECKING:
    from fastvd.data.transforms import to_frames, to_network

__all__ = [
    "AugmentConfig",
    "Batch",
    "Clip",
    "ClipConfig",
    "ClipDataset",
    "ClipError",
    "ClipLoader",
    "ClipSource",
    "FileReport",
    "ScanReport",
    "prepare_cache",
    "to_frames",
    "to_network",
]


def __getattr__(name: str) -> Any:
    # clips as arrays take no torch, and torch takes seconds
    if name in ("to_frames", "to_network"):
        from fastvd.data import transforms

        return getattr(transforms, name)
    raise AttributeError(f"module 'fastvd.data' has no attribute {name!r}")
