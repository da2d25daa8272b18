"""The files that readers are timed on: long clips, looped and encoded anew from the test videos."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import av
from av.video.reformatter import VideoReformatter

VIDEOS = Path(__file__).parents[3] / "shared" / "data" / "video"
DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "fastvd-bench-media"
MANY = 200
"""How many short clips there are."""


class Recipe(NamedTuple):
    """How one file is made; ``first`` is the source's frame that it starts at."""

    source: str
    size: tuple[int, int]
    """(width, height)"""
    frames: int
    fps: int
    codec: str
    options: dict[str, str]
    pix_fmt: str = "yuv420p"
    first: int = 0


NASA, BIRD = "nasa_13013.mp4", "cockatoo_yuv420.mp4"
# "fast" keeps the B-pyramid and the 250 frames from key frame to key frame that are x264's default
X264 = {"preset": "fast", "g": "250"}
X265 = {"preset": "veryfast", "g": "250", "x265-params": "log-level=none"}
VP9 = {"deadline": "realtime", "cpu-used": "5", "row-mt": "1", "b": "800k", "g": "128"}
AV1 = {"preset": "9", "crf": "40", "g": "161"}
MJPEG = {"qmin": "4", "qmax": "4"}
RECIPES = {
    "h264_240p_60s.mp4": Recipe(NASA, (426, 240), 1800, 30, "libx264", X264),
    "h264_720p_60s.mp4": Recipe(BIRD, (1280, 720), 1800, 30, "libx264", X264),
    "hevc_720p_20s.mp4": Recipe(BIRD, (1280, 720), 600, 30, "libx265", X265),
    "vp9_360p_20s.webm": Recipe(BIRD, (640, 360), 600, 30, "libvpx-vp9", VP9),
    "av1_360p_20s.mp4": Recipe(BIRD, (640, 360), 600, 30, "libsvtav1", AV1),
    "mjpeg_360p.avi": Recipe(BIRD, (640, 360), 600, 30, "mjpeg", MJPEG, "yuvj420p"),
}
AS_THEY_ARE = (NASA, "nasa_mpeg4_divx_160x120_25fps.avi")
"""Files of the test videos that are read as they are."""


SHORT = "short"
SHORT_RECIPES = {
    f"{SHORT}/{i:03}.mp4": Recipe(
        NASA if i < MANY // 2 else BIRD, (320, 240), 50, 25, "libx264", X264, first=3 * i
    )
    for i in range(MANY)
}


def find_file(name: str, folder: Path) -> Path:
    """Return the file called ``name``, made on its first use; ``SHORT`` is the folder of clips."""
    if name in AS_THEY_ARE:
        return VIDEOS / name
    # a change of the recipes makes other files
    made = folder / hashlib.sha256(repr(RECIPES | SHORT_RECIPES).encode()).hexdigest()[:8]
    if not all((made / each).exists() for each in _names(name)):
        # SVT-AV1 gives the process real-time priority where it may, for as long as that lives
        paths = str(Path(__file__).parents[1])
        settings = {**os.environ, "PYTHONPATH": paths, "SVT_LOG": "1"}
        command = [sys.executable, "-m", "media.files", name, str(made)]
        subprocess.run(command, env=settings, check=True)
    return made / name


def _names(name: str) -> list[str]:
    return list(SHORT_RECIPES) if name == SHORT else [name]


def make_files(name: str, folder: Path) -> None:
    """Encode what is missing of a file or of the folder of clips."""
    for each in _names(name):
        path = folder / each
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"part-{path.name}")
            _encode(part, (RECIPES | SHORT_RECIPES)[each])
            part.replace(path)


def _encode(path: Path, recipe: Recipe) -> None:
    width, height = recipe.size
    with av.open(path, "w") as container:
        stream = container.add_stream(recipe.codec, recipe.fps, options=recipe.options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, recipe.pix_fmt
        for i, frame in enumerate(_looped(recipe)):
            # the source's times, and what it says of key frames, must not reach the encoder
            frame.pts, frame.time_base = i, Fraction(1, recipe.fps)
            frame.pict_type = 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _looped(recipe: Recipe) -> Iterator[av.VideoFrame]:
    frames = _source_frames(recipe)
    return islice(cycle(frames), recipe.first, recipe.first + recipe.frames)


def _source_frames(recipe: Recipe) -> list[av.VideoFrame]:
    key = (recipe.source, recipe.size, recipe.pix_fmt)
    if key not in _SCALED:
        # one at a time: 280 frames at 720p are 400 MB
        _SCALED.clear()
        _SCALED[key] = list(_scaled(*key))
    return _SCALED[key]


_SCALED: dict[tuple[str, tuple[int, int], str], list[av.VideoFrame]] = {}


def _scaled(source: str, size: tuple[int, int], pix_fmt: str) -> Iterator[av.VideoFrame]:
    width, height = size
    reformatter = VideoReformatter()
    convert: Callable[..., av.VideoFrame] = reformatter.reformat
    with av.open(VIDEOS / source) as container:
        stream = container.streams.best("video")
        for frame in container.decode(stream):
            yield convert(frame, width, height, pix_fmt, interpolation="AREA")


if __name__ == "__main__":
    make_files(sys.argv[1], Path(sys.argv[2]))
