"""The network: VideoUNet, its config, and the layouts it is known by."""

from fastvd.models.config import VideoUNetConfig
from fastvd.models.convert import from_lucidrains
from fastvd.models.denoiser import Denoiser
from fastvd.models.layouts import tiny, two_stage, vdm
from fastvd.models.unet import VideoUNet

__all__ = [
    "Denoiser",
    "VideoUNet",
    "VideoUNetConfig",
    "from_lucidrains",
    "tiny",
    "two_stage",
    "vdm",
]
