"""Largest frames, clips and files: taken at the limit, refused one past it."""

import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastvd import native
from fastvd.errors import MediaError
from fastvd.limits import Limits, check_clip, get_limits, set_limits
from fastvd.media.gif import read_gif
from fastvd.media.resize import make_view
from fastvd.media.video import probe, read_clip, read_frames
from fastvd.media.write import write_webp

CLIP_BYTES = 40 * 32 * 48 * 3
"""Of the counting video."""


def test_defaults() -> None:
    assert get_limits() == Limits() == Limits(
        max_side=8192,
        max_pixels=64_000_000,
        max_frames=1_000_000,
        max_clip_bytes=4 << 30,
        max_gif_frames=100_000,
        max_gif_bytes=2 << 30,
        max_ratio=10_000,
        max_header_bytes=100_000_000,
        open_timeout_s=10.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_side", 0), ("max_side", 65_536), ("max_pixels", 1 << 31), ("max_frames", 1.5),
     ("max_clip_bytes", -1), ("max_ratio", 0.0), ("open_timeout_s", math.nan)],
)  # fmt: skip
def test_bad_limit_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
        Limits(**{name: value})


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


@pytest.mark.parametrize("side", [8192, 8194])
def test_frame_size_of_a_video(
    reader: str, tmp_path: Path, encode: Callable[..., Path], side: int
) -> None:
    frames = np.zeros((1, 2, side, 3), np.uint8)
    path = encode(tmp_path / "wide.mkv", frames, codec="ffv1")
    if side > 8192:
        with pytest.raises(MediaError, match=r"wide\.mkv: frame size 8194x2"):
            probe(path)
        set_limits(Limits(max_side=side))
    assert probe(path).width == side


def test_pixels_of_a_video(reader: str, counting_video: Path) -> None:
    set_limits(Limits(max_pixels=48 * 32))
    assert len(read_clip(counting_video)) == 40
    set_limits(Limits(max_pixels=48 * 32 - 1))
    with pytest.raises(MediaError, match=r"frame size 48x32 is outside .* or above 1535 pixels"):
        read_clip(counting_video)


def test_side_of_the_output(counting_video: Path, reader: str) -> None:
    set_limits(Limits(max_side=64))
    assert read_clip(counting_video, size=64, frames=1).shape == (1, 64, 64, 3)
    with pytest.raises(ValueError, match="size must be 1 to 64"):
        make_view(65)
    set_limits(Limits(max_side=48))
    assert read_clip(counting_video, size=8, fit="pad", frames=1).shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match="96x48: a side may have 48 pixels"):
        read_clip(counting_video, size=(8, 4), fit="pad", frames=1)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_number_of_frames_of_a_video(
    reader: str,
    tmp_path: Path,
    encode: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
    codec: str,
) -> None:
    # the frames of MPEG-4 with B-frames are counted by decoding, those of H.264 are not
    path = encode(tmp_path / "long.mkv", counting_frames(20), codec=codec, bf="2")
    set_limits(Limits(max_frames=20))
    assert probe(path).frames == 20
    set_limits(Limits(max_frames=19))
    for read in (probe, read_clip):
        with pytest.raises(MediaError, match=r"long\.mkv: has more than 19 frames"):
            read(path)


def test_frames_of_a_video_whose_table_is_known(reader: str, counting_video: Path) -> None:
    assert probe(counting_video).frames == 40
    set_limits(Limits(max_frames=39))
    with pytest.raises(MediaError, match=r"counting\.mp4: has more than 39 frames"):
        probe(counting_video)


@pytest.mark.parametrize("kind", ["folder", "webp"])
def test_number_of_pictures(tmp_path: Path, kind: str) -> None:
    if kind == "webp":
        path = tmp_path / "still.webp"
        noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
        write_webp(path, noise, fps=10)
    else:
        path = tmp_path
        for i in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    set_limits(Limits(max_frames=3))
    assert read_clip(path).shape == (3, 8, 8, 3)
    set_limits(Limits(max_frames=2))
    with pytest.raises(MediaError, match=f"{path.name}: has more than 2 frames"):
        read_clip(path)


def gif_of(frames: int, *, side: int = 1) -> bytes:
    """A GIF of one-pixel frames on a square canvas."""
    size = side.to_bytes(2, "little")
    frame = b"!\xf9\x04\0\x0a\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a" + size * 2 + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def test_number_of_frames_of_a_gif(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "long.gif"
    set_limits(Limits(max_gif_frames=10))
    path.write_bytes(gif_of(10))
    assert len(read_gif(path).frames) == 10
    path.write_bytes(gif_of(11))
    with pytest.raises(MediaError, match=r"long\.gif: more than 10 frames"):
        read_gif(path)


def test_gif_of_as_many_frames_as_may_be(rust: None, tmp_path: Path) -> None:
    path = tmp_path / "long.gif"
    path.write_bytes(gif_of(100_000))
    assert len(read_gif(path).frames) == 100_000
    path.write_bytes(gif_of(100_001))
    with pytest.raises(MediaError, match=r"long\.gif: more than 100000 frames"):
        read_gif(path)


def test_decoded_size_of_a_gif(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "huge.gif"
    path.write_bytes(gif_of(4, side=100))
    set_limits(Limits(max_gif_bytes=120_000))
    assert read_gif(path).frames.nbytes == 120_000
    set_limits(Limits(max_gif_bytes=119_999))
    with pytest.raises(MediaError, match=r"huge\.gif: .* above the limit of 119999"):
        read_gif(path)


def test_gif_above_two_gibibytes(rust: None, tmp_path: Path) -> None:
    path = tmp_path / "huge.gif"
    # 12 frames of 8000 x 8000 are 2.3e9 bytes
    path.write_bytes(gif_of(12, side=8000))
    with pytest.raises(MediaError, match=r"huge\.gif: .* above the limit of 2147483648"):
        read_gif(path)


def test_bytes_of_a_clip() -> None:
    check_clip(4, 1024, 1024, 1024)
    with pytest.raises(ValueError, match="has 4294967297 bytes, more than 4294967296"):
        check_clip(1, 1, 1, (4 << 30) + 1)


def test_bytes_of_a_clip_of_a_video(reader: str, counting_video: Path) -> None:
    set_limits(Limits(max_clip_bytes=CLIP_BYTES))
    assert read_clip(counting_video).nbytes == CLIP_BYTES
    assert read_frames(counting_video, [7] * 40).nbytes == CLIP_BYTES
    with pytest.raises(ValueError, match=f"more than {CLIP_BYTES}"):
        read_frames(counting_video, [7] * 41)
    set_limits(Limits(max_clip_bytes=CLIP_BYTES - 1))
    with pytest.raises(ValueError, match=f"more than {CLIP_BYTES - 1}"):
        read_clip(counting_video)


def test_clip_above_the_limit_is_refused_at_once(reader: str, counting_video: Path) -> None:
    with pytest.raises(ValueError, match="more than 4294967296"):
        read_clip(counting_video, size=8192)


@pytest.mark.parametrize("frames", [40, None])
def test_twin_refuses_a_large_clip_before_it_decodes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counting_video: Path, frames: int | None
) -> None:
    monkeypatch.setattr(native, "video_available", False)
    # the header stays, the frames are gone: to decode one is another error
    content = bytearray(counting_video.read_bytes())
    start = content.index(b"mdat") + 4
    length = int.from_bytes(content[start - 8 : start - 4], "big") - 8
    content[start : start + length] = bytes(length)
    path = tmp_path / "empty.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError):
        read_clip(path, frames=frames, size=(64, 48))
    set_limits(Limits(max_clip_bytes=40 * 64 * 48 * 3 - 1))
    with pytest.raises(ValueError, match="more than 368639"):
        read_clip(path, frames=frames, size=(64, 48))


def test_missing_frames_are_told_though_the_clip_would_be_large(
    reader: str, counting_video: Path
) -> None:
    with pytest.raises(MediaError, match="has 40 frames, frame 2000000 was asked for"):
        read_clip(counting_video, frames=2_000_001)


def test_bytes_of_a_clip_of_pictures(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    set_limits(Limits(max_clip_bytes=3 * 4 * 5 * 3))
    assert read_clip(tmp_path, crop=(0, 0, 4, 5)).nbytes == 180
    set_limits(Limits(max_clip_bytes=179))
    # to decode it would be another error
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="has 180 bytes, more than 179"):
        read_clip(tmp_path, crop=(0, 0, 4, 5))


def test_limits_may_change_while_others_read(reader: str, counting_video: Path) -> None:
    wide, narrow = Limits(), Limits(max_side=48, max_pixels=48 * 32, max_frames=40)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert read_clip(counting_video, frames=4).shape == (4, 32, 48, 3)
        except BaseException as error:  # for the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        set_limits(narrow)
        set_limits(wide)
    assert not failures
