"""The two GIF coders, and what other decoders see of a GIF."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fastvd import native
from fastvd.media.gif import read_gif


@pytest.fixture(params=["rust", "twin"])
def coder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with the Rust core, where it is built, and with the twin."""
    if request.param == "rust" and not native.available:
        pytest.skip("fastvd._core is not built")
    if request.param == "twin":
        monkeypatch.setattr(native, "available", False)
    return str(request.param)


@pytest.fixture
def real_frames(shared_videos: Path) -> np.ndarray:
    """Four frames of a real video, [4, 72, 128, 3]."""
    with av.open(str(shared_videos / "cockatoo_yuv420.mp4")) as container:
        frames = [
            frame.to_image().resize((128, 72))
            for _, frame in zip(range(4), container.decode(video=0), strict=False)
        ]
    return np.stack([np.asarray(frame) for frame in frames])


def _over_black(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., :3] * (pixels[..., 3:] > 0)


def _by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(_over_black(np.asarray(image.convert("RGBA"))))
    return np.stack(frames)


def _by_ffmpeg(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgba") for f in container.decode(video=0)]
    return _over_black(np.stack(frames))


def _shown(path: Path) -> np.ndarray:
    """The frames of a GIF on which Pillow, FFmpeg and read_gif agree."""
    frames = read_gif(path).frames
    np.testing.assert_array_equal(frames, _by_pillow(path))
    np.testing.assert_array_equal(frames, _by_ffmpeg(path))
    return frames


def _few_colours(
    shape: tuple[int, int, int], colours: int, channels: int = 3, seed: int = 0
) -> np.ndarray:
    """Random pixels [T, H, W, C] of random colours; half of each frame is as in the last."""
    generator = np.random.default_rng(seed)
    table = generator.integers(0, 256, (colours, channels), dtype=np.uint8)
    entries = generator.integers(0, colours, shape)
    for before, frame in pairwise(entries):
        frame[: shape[1] // 2] = before[: shape[1] // 2]
    return table[entries]


@pytest.fixture(scope="session")
def by_pillow() -> Callable[[Path], np.ndarray]:
    """``by_pillow(path)``: frames [T, H, W, 3] over black."""
    return _by_pillow


@pytest.fixture(scope="session")
def by_ffmpeg() -> Callable[[Path], np.ndarray]:
    """``by_ffmpeg(path)``: frames [T, H, W, 3] over black."""
    return _by_ffmpeg


@pytest.fixture(scope="session")
def shown() -> Callable[[Path], np.ndarray]:
    """``shown(path)``: the frames of a GIF on which Pillow, FFmpeg and read_gif agree."""
    return _shown


@pytest.fixture(scope="session")
def few_colours() -> Callable[..., np.ndarray]:
    """``few_colours((T, H, W), colours, channels, seed)``: random pixels of random colours."""
    return _few_colours
