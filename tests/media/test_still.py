"""Clips from pictures: folders, single images, GIF and animated WebP."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastvd.errors import MediaError
from fastvd.media.still import frame_files
from fastvd.media.video import frame_times, probe, read_clip, read_frames


def flat(level: int, *, size: tuple[int, int] = (12, 8)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Frames 1, 2, 10 and 100 with levels 1, 2, 10 and 100; and files that are no frames."""
    for number in (100, 2, 10, 1):
        flat(number).save(tmp_path / f"frame_{number}.png")
    (tmp_path / "notes7.txt").write_text("no frame")
    flat(9).save(tmp_path / "cover.png")
    return tmp_path


def test_folder_is_read_by_number(reader: str, folder: Path) -> None:
    assert [f.name for f in frame_files(folder)] == [f"frame_{i}.png" for i in (1, 2, 10, 100)]
    clip = read_clip(folder)
    assert clip.shape == (4, 8, 12, 3)
    assert clip[:, 0, 0, 0].tolist() == [1, 2, 10, 100]
    assert read_clip(folder, start=1, frames=2, stride=2)[:, 0, 0, 0].tolist() == [2, 100]
    assert read_frames(folder, [3, 0, 3], size=4)[:, 0, 0, 0].tolist() == [100, 1, 100]


def test_folder_counts_as_25_fps(folder: Path) -> None:
    info = probe(folder)
    assert (info.frames, info.fps, info.width, info.height) == (4, 25, 12, 8)
    assert frame_times(folder).tolist() == [0, 0.04, 0.08, 0.12]


def test_folder_of_two_sizes_needs_a_size(reader: str, folder: Path) -> None:
    flat(200, size=(6, 6)).save(folder / "frame_200.png")
    with pytest.raises(MediaError, match="more than one size"):
        read_clip(folder)
    assert read_clip(folder, size=4)[-1].min() == 200


def test_folder_without_numbered_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"holds no numbered \.jpg or \.png itself"):
        read_clip(tmp_path)


def test_single_image_is_a_clip_of_one_frame(reader: str, tmp_path: Path) -> None:
    flat(77).save(tmp_path / "one.jpg", quality=95)
    clip = read_clip(tmp_path / "one.jpg")
    assert clip.shape == (1, 8, 12, 3)
    assert np.abs(clip.astype(int) - 77).max() <= 2
    with pytest.raises(MediaError, match="has 1 frames, frame 4"):
        read_clip(tmp_path / "one.jpg", frames=5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "I;16"])
def test_every_mode_becomes_rgb_over_black(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 4), 100 * 256, np.uint16))
    elif mode == "LA":
        image = Image.new("LA", (4, 4), (200, 128))
    elif mode == "RGBA":
        image = Image.new("RGBA", (4, 4), (200, 200, 200, 128))
    else:
        image = flat(100, size=(4, 4))
        image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "image.png")
    assert np.unique(read_clip(tmp_path / "image.png")).tolist() == [100]


def test_photo_is_shown_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (12, 8))
    exif = image.getexif()
    exif[0x0112] = 6  # turn clockwise to show
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert read_clip(tmp_path / "photo.jpg").shape == (1, 12, 8, 3)


def test_animated_webp_keeps_its_times(tmp_path: Path) -> None:
    images = [flat(level) for level in (10, 60, 200)]
    path = tmp_path / "clip.webp"
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=[40, 100, 60], lossless=True
    )
    assert read_clip(path)[:, 0, 0, 0].tolist() == [10, 60, 200]
    assert frame_times(path).tolist() == pytest.approx([0, 0.04, 0.14])
    info = probe(path)
    assert (info.frames, info.codec, info.is_variable_rate) == (3, "webp", True)
    assert info.duration == pytest.approx(0.2)


def test_gif_keeps_its_times(reader: str, shared_videos: Path) -> None:
    info = probe(shared_videos / "newtonscradle.gif")
    assert (info.frames, info.width, info.height) == (36, 200, 150)
    assert info.is_variable_rate
    clip = read_clip(shared_videos / "newtonscradle.gif", start=3, frames=4, stride=5, size=32)
    assert clip.shape == (4, 32, 32, 3)


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip.png", "clip.jpg"])
def test_damaged_pictures_are_refused(reader: str, tmp_path: Path, name: str) -> None:
    heads = {
        "clip.gif": b"GIF89a\xff\xff\xff\xff\x00\x00\x00,",
        "clip.webp": b"RIFF\x10\x00\x00\x00WEBP",
        "clip.png": b"\x89PNG\r\n\x1a\n" + bytes(8),
        "clip.jpg": b"\xff\xd8\xff\xe0" + bytes(8),
    }
    path = tmp_path / name
    path.write_bytes(heads[name])
    with pytest.raises(MediaError, match=rf"{name}: "):
        read_clip(path)


def test_zero_byte_gif_is_refused(reader: str, tmp_path: Path) -> None:
    (tmp_path / "clip.gif").write_bytes(b"")
    with pytest.raises(MediaError, match=r"clip\.gif: "):
        read_clip(tmp_path / "clip.gif")


def test_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    flat(0, size=(9000, 1)).save(tmp_path / "wide.png")
    with pytest.raises(MediaError, match="frame size 9000x1 is outside"):
        read_clip(tmp_path / "wide.png")
