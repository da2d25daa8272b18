"""Train and sample video diffusion models; load clips and write GIFs, fast."""

from fastvd import kernels, presets
from fastvd.config import load as load_config
from fastvd.config import save as save_config
from fastvd.data import Batch, Clip, ClipConfig, ClipDataset, ClipLoader, ClipSource
from fastvd.diffusion import ColdConfig, ColdProcess, Process, ProcessConfig, mix, sample
from fastvd.errors import CheckpointError, FastvdError, MediaError, NonFiniteError
from fastvd.generate import TwoStage
from fastvd.media import (
    Gif,
    VideoInfo,
    extract_frames,
    frame_times,
    probe,
    read_clip,
    read_frames,
    read_gif,
    write_gif,
    write_video,
    write_webp,
)
from fastvd.models import VideoUNet, VideoUNetConfig
from fastvd.train import EmaConfig, OptimConfig, TrainConfig, Trainer, TrainResult

__all__ = [
    "Batch",
    "CheckpointError",
    "Clip",
    "ClipConfig",
    "ClipDataset",
    "ClipLoader",
    "ClipSource",
    "ColdConfig",
    "ColdProcess",
    "EmaConfig",
    "FastvdError",
    "Gif",
    "MediaError",
    "NonFiniteError",
    "OptimConfig",
    "Process",
    "ProcessConfig",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "TwoStage",
    "VideoInfo",
    "VideoUNet",
    "VideoUNetConfig",
    "extract_frames",
    "frame_times",
    "kernels",
    "load_config",
    "mix",
    "presets",
    "probe",
    "read_clip",
    "read_frames",
    "read_gif",
    "sample",
    "save_config",
    "write_gif",
    "write_video",
    "write_webp",
]
