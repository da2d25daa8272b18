"""The network: VideoUNet, its config, and the layouts it is known by."""

from fastvd.models.config import VideoUNetConfig
from fastvd.models.layouts import tiny, two_stage, vdm
from fastvd.models.unet import VideoUNet

__all__ = ["VideoUNet", "VideoUNetConfig", "tiny", "two_stage", "vdm"]
