"""Frames in and out of files: videos, GIFs and folders of pictures, as uint8 [T, H, W, C]."""

from fastvd.media.extract import extract_frames
from fastvd.media.gif import Gif, read_gif, write_gif
from fastvd.media.video import (
    VideoInfo,
    clip_at,
    frame_times,
    iter_clips,
    probe,
    read_clip,
    read_frames,
)
from fastvd.media.write import write_clip, write_png, write_video, write_webp

__all__ = [
    "Gif",
    "VideoInfo",
    "clip_at",
    "extract_frames",
    "frame_times",
    "iter_clips",
    "probe",
    "read_clip",
    "read_frames",
    "read_gif",
    "write_clip",
    "write_gif",
    "write_png",
    "write_video",
    "write_webp",
]
