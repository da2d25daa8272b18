"""Largest frames, clips and files: taken at the limit, refused one past it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastvd.errors import MediaError
from fastvd.media import gif_twin, limits
from fastvd.media.gif import read_gif
from fastvd.media.video import probe, read_clip


@pytest.mark.parametrize(
    ("width", "height", "is_taken"),
    [(8192, 1, True), (8193, 1, False), (1, 8192, True), (1, 8193, False),
     (8000, 8000, True), (8000, 8001, False), (8192, 7812, True), (8192, 7813, False)],
)  # fmt: skip
def test_frame_size_of_an_image(tmp_path: Path, width: int, height: int, is_taken: bool) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (width, height)).save(path)
    if is_taken:
        assert probe(path).width == width
    else:
        with pytest.raises(MediaError, match=rf"large\.png: frame size {width}x{height}"):
            probe(path)


@pytest.mark.parametrize(("width", "is_taken"), [(8192, True), (8194, False)])
def test_frame_size_of_a_video(
    reader: str, tmp_path: Path, encode: Callable[..., Path], width: int, is_taken: bool
) -> None:
    frames = np.zeros((1, 2, width, 3), np.uint8)
    path = encode(tmp_path / "wide.mkv", frames, codec="ffv1")
    if is_taken:
        assert probe(path).width == 8192
    else:
        with pytest.raises(MediaError, match=r"wide\.mkv: frame size 8194x2"):
            probe(path)


def gif_of(frames: int, *, side: int = 1) -> bytes:
    """A GIF of one-pixel frames on a square canvas."""
    size = side.to_bytes(2, "little")
    frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a" + size * 2 + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def test_number_of_frames_of_a_gif(rust: None, tmp_path: Path) -> None:
    path = tmp_path / "long.gif"
    path.write_bytes(gif_of(100_000))
    assert len(read_gif(path).frames) == 100_000
    path.write_bytes(gif_of(100_001))
    with pytest.raises(MediaError, match=r"long\.gif: more than 100000 frames"):
        read_gif(path)


def test_decoded_size_of_a_gif(rust: None, tmp_path: Path) -> None:
    path = tmp_path / "huge.gif"
    # 12 frames of 8000 x 8000 are 2.3e9 bytes
    path.write_bytes(gif_of(12, side=8000))
    with pytest.raises(MediaError, match=r"huge\.gif: .* above the limit of 2147483648"):
        read_gif(path)


def test_bytes_of_a_clip() -> None:
    limits.check_clip(4, 1024, 1024, 1024)
    with pytest.raises(ValueError, match="has 4294967297 bytes, more than 4294967296"):
        limits.check_clip(1, 1, 1, (4 << 30) + 1)


def test_clip_above_the_limit_is_refused_before_it_is_decoded(
    rust: None, counting_video: Path
) -> None:
    with pytest.raises(ValueError, match="more than 4294967296"):
        read_clip(counting_video, size=8192)


def test_limits_are_the_same_in_rust_and_python() -> None:
    source = Path(__file__).parents[2] / "rust" / "core" / "src" / "limits.rs"
    lines = [line for line in source.read_text().splitlines() if line.startswith("pub const")]
    in_rust = {line.split()[2].rstrip(":"): eval(line.split("=")[1].rstrip(";")) for line in lines}
    twins = {**vars(gif_twin), **vars(limits)}
    assert in_rust == {name: twins[name] for name in in_rust}
    assert len(in_rust) == 6
