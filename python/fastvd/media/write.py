"""Clips to mp4 and WebP files, pictures to PNG; every file is written whole or not at all."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastvd.arguments import check_whole
from fastvd.media.gif import write_gif
from fastvd.media.pyav import needed_for
from fastvd.media.whole import (
    check_suffix,
    checked_clip,
    checked_fps,
    checked_loop,
    ticks,
    whole_file,
)

if TYPE_CHECKING:
    import av

MAX_VIDEO_SIDE = 16384
"""What H.264 encoders accept."""
MAX_WEBP_SIDE = 16383
"""Sides of a WebP are 14-bit numbers."""


def write_clip(path: Path | str, frames: npt.NDArray[np.uint8], *, fps: float | Fraction) -> None:
    """Write a clip as what the name ends in, .gif, .mp4 or .webp, with that writer's defaults."""
    match Path(path).suffix.lower():
        case ".gif":
            write_gif(path, frames, fps=fps)
        case ".mp4":
            write_video(path, frames, fps=fps)
        case ".webp":
            write_webp(path, frames, fps=fps)
        case suffix:
            raise ValueError(f"{path}: a clip is a .gif, .mp4 or .webp, not {suffix!r}")


def write_video(
    path: Path | str,
    frames: npt.NDArray[np.uint8],
    *,
    fps: float | Fraction,
    quality: int = 70,
) -> None:
    """Write uint8 [T, H, W, C], C = 1 or 3, as mp4 (H.264, yuv420p, plays everywhere).

    ``quality`` 0..100 is x264's crf 51..1. An odd height or width is padded by one repeated row or
    column, since yuv420p has even sides only. A disk that fills up raises OSError.
    """
    check_suffix(path, ".mp4")
    clip = checked_clip(frames, channels=(1, 3))
    rate = checked_fps(fps)
    _check_quality(quality)
    _check_side(clip, MAX_VIDEO_SIDE, "an mp4")
    even = np.pad(clip, [(0, 0), (0, clip.shape[1] % 2), (0, clip.shape[2] % 2), (0, 0)], "edge")
    with needed_for(path):
        import av
        from av.video.reformatter import ColorRange, Colorspace
    with whole_file(path) as part, av.open(str(part), "w", format="mp4") as container:
        options = {"crf": f"{51 - quality / 2:g}"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / rate
        # said aloud, because players guess the matrix from the size
        stream.codec_context.colorspace = Colorspace.SMPTE170M
        stream.codec_context.color_range = ColorRange.MPEG
        for i, array in enumerate(even):
            frame = _yuv(array)
            frame.pts, frame.time_base = i, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_webp(
    path: Path | str,
    frames: npt.NDArray[np.uint8],
    *,
    fps: float | Fraction,
    loop: int | None = 0,
    quality: int = 80,
) -> None:
    """Write uint8 [T, H, W, C], C = 1, 3 or 4, as animated WebP; ``quality`` 0..100, 100 lossless.

    ``loop``: 0 repeats for ever, n repeats n times, None plays once. Frames equal to the one before
    are shown as one that lasts longer: libwebp joins them.
    """
    check_suffix(path, ".webp")
    clip = checked_clip(frames, channels=(1, 3, 4))
    rate = checked_fps(fps)
    _check_quality(quality)
    _check_side(clip, MAX_WEBP_SIDE, "a WebP")
    repeat = checked_loop(loop)
    first, *rest = [_image(frame) for frame in clip]
    with whole_file(path) as part:
        first.save(
            part,
            format="WEBP",
            save_all=True,
            append_images=rest,
            duration=ticks(len(clip), rate, second=1000),
            # WebP counts showings, of which 0 is endless
            loop=1 if repeat is None else min(repeat + 1, 0xFFFF) if repeat else 0,
            quality=quality,
            lossless=quality == 100,
        )


def write_png(path: Path | str, image: npt.NDArray[np.uint8]) -> None:
    """Write one picture, uint8 [H, W, C], C = 1, 3 or 4."""
    check_suffix(path, ".png")
    picture = np.asarray(image)
    if picture.ndim != 3:
        raise ValueError(f"image must be uint8 [H, W, C], got {list(picture.shape)}")
    [picture] = checked_clip(picture[None], channels=(1, 3, 4))
    with whole_file(path) as part:
        _image(picture).save(part, format="PNG")


def _image(frame: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)


def _yuv(frame: npt.NDArray[np.uint8]) -> "av.VideoFrame":
    import av
    from av.video.reformatter import ColorRange, Colorspace

    rgb = np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.SMPTE170M, dst_color_range=ColorRange.MPEG
    )


def _check_quality(quality: int) -> None:
    check_whole(quality=quality)
    if not 0 <= quality <= 100:
        raise ValueError(f"quality must be in 0..100, got {quality}")


def _check_side(clip: npt.NDArray[np.uint8], limit: int, what: str) -> None:
    if max(clip.shape[1:3]) > limit:
        raise ValueError(f"{what} is at most {limit} wide and high, got {list(clip.shape)}")
