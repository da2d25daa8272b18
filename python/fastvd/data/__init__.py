"""Clips of videos and batches of them: the same ones for the same seed, on any machine."""

from fastvd.data.clips import Clip, ClipConfig, ClipDataset, ClipError, ClipSource
from fastvd.data.loader import Batch, ClipLoader
from fastvd.data.scan import FileReport, ScanReport
from fastvd.data.transforms import to_frames, to_network

__all__ = [
    "Batch",
    "Clip",
    "ClipConfig",
    "ClipDataset",
    "ClipError",
    "ClipLoader",
    "ClipSource",
    "FileReport",
    "ScanReport",
    "to_frames",
    "to_network",
]
