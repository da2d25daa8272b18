"""Train and sample video diffusion models; load clips and write GIFs, fast."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastvd import kernels, presets
    from fastvd.config import load_config, save_config
    from fastvd.data import (
        AugmentConfig,
        Batch,
        Clip,
        ClipConfig,
        ClipDataset,
        ClipLoader,
        ClipSource,
        prepare_cache,
    )
    from fastvd.diffusion import ColdConfig, ColdProcess, Process, ProcessConfig, mix, sample
    from fastvd.errors import (
        CheckpointError,
        FastvdError,
        MediaError,
        NonFiniteError,
        TooManyBadError,
    )
    from fastvd.generate import TwoStage
    from fastvd.limits import Limits, get_limits, set_limits
    from fastvd.media import (
        Gif,
        VideoInfo,
        clip_at,
        extract_frames,
        frame_times,
        iter_clips,
        probe,
        read_clip,
        read_frames,
        read_gif,
        write_gif,
        write_video,
        write_webp,
    )
    from fastvd.models import Denoiser, VideoUNet, VideoUNetConfig
    from fastvd.train import EmaConfig, OptimConfig, TrainConfig, Trainer, TrainResult

__all__ = [
    "AugmentConfig",
    "Batch",
    "CheckpointError",
    "Clip",
    "ClipConfig",
    "ClipDataset",
    "ClipLoader",
    "ClipSource",
    "ColdConfig",
    "ColdProcess",
    "Denoiser",
    "EmaConfig",
    "FastvdError",
    "Gif",
    "Limits",
    "MediaError",
    "NonFiniteError",
    "OptimConfig",
    "Process",
    "ProcessConfig",
    "TooManyBadError",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "TwoStage",
    "VideoInfo",
    "VideoUNet",
    "VideoUNetConfig",
    "clip_at",
    "extract_frames",
    "frame_times",
    "get_limits",
    "iter_clips",
    "kernels",
    "load_config",
    "mix",
    "prepare_cache",
    "presets",
    "probe",
    "read_clip",
    "read_frames",
    "read_gif",
    "sample",
    "save_config",
    "set_limits",
    "write_gif",
    "write_video",
    "write_webp",
]

# each name is imported when it is first asked for: to read a video takes no torch, and torch takes
# seconds; in this order, from the light to the heavy
_MODULES = (
    "errors",
    "native",
    "limits",
    "config",
    "media",
    "data",
    "kernels",
    "models",
    "diffusion",
    "generate",
    "train",
    "presets",
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"fastvd.{name}")
    if name in __all__:
        for module in map(import_module, (f"fastvd.{home}" for home in _MODULES)):
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    # with these Python says what may have been meant
    this = sys.modules[__name__]
    raise AttributeError(f"module 'fastvd' has no attribute {name!r}", name=name, obj=this)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
