"""Crop, fit, resize and grey: Rust against the NumPy twin and Pillow."""

import numpy as np
import pytest
from PIL import Image

from fastvd import native
from fastvd.media.resize import make_plan, make_view, resize, resize_twin, to_grey

SIZES = [((48, 64), (16, 16)), ((17, 31), (40, 9)), ((5, 3), (64, 64)), ((1, 1), (3, 2))]


def noise(height: int, width: int, *, frames: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@pytest.mark.skipif(not native.available, reason="no Rust core")
@pytest.mark.parametrize("resample", ["bilinear", "area"])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("source", "size"), SIZES)
@pytest.mark.parametrize("grey", [False, True])
def test_rust_equals_the_twin(
    source: tuple[int, int], size: tuple[int, int], fit: str, resample: str, grey: bool
) -> None:
    frames = noise(*source)
    view = make_view(size, fit=fit, resample=resample, grey=grey)
    twin = resize_twin(frames, view, make_plan(view, *source))
    rust = resize(frames, view)
    assert rust.shape == twin.shape == (2, *size, 1 if grey else 3)
    np.testing.assert_array_equal(rust, twin)


@pytest.mark.parametrize(("source", "size"), SIZES)
def test_bilinear_is_pillows(reader: str, source: tuple[int, int], size: tuple[int, int]) -> None:
    frames = noise(*source, frames=1)
    height, width = size
    image = Image.fromarray(frames[0]).resize((width, height), Image.Resampling.BILINEAR)
    ours = resize(frames, make_view(size, fit="stretch"))[0]
    assert np.abs(ours.astype(int) - np.asarray(image)).max() <= 1


def test_area_is_the_mean_of_whole_blocks(reader: str) -> None:
    frames = noise(12, 20)
    blocks = frames.reshape(2, 4, 3, 5, 4, 3).mean(axis=(2, 4))
    ours = resize(frames, make_view((4, 5), fit="stretch", resample="area"))
    assert np.abs(ours - blocks).max() <= 1


def test_crop_takes_the_centre(reader: str) -> None:
    frames = np.zeros((1, 8, 16, 3), np.uint8)
    frames[:, :, 4:12] = 90
    assert np.unique(resize(frames, make_view(4))).tolist() == [90]


def test_pad_adds_black_to_both_sides(reader: str) -> None:
    frames = np.full((1, 8, 16, 3), 200, np.uint8)
    padded = resize(frames, make_view(16, fit="pad"))[0, :, 0, 0]
    assert padded.tolist() == [0] * 4 + [200] * 8 + [0] * 4
    halved = resize(frames, make_view(8, fit="pad", resample="area"))[0, :, 0, 0]
    assert halved.tolist() == [0] * 2 + [200] * 4 + [0] * 2


def test_same_size_changes_nothing(reader: str) -> None:
    frames = noise(9, 7)
    for fit in ("crop", "pad", "stretch"):
        assert np.array_equal(resize(frames, make_view((9, 7), fit=fit)), frames)
    assert np.array_equal(resize(frames, make_view()), frames)


def test_explicit_crop_comes_first(reader: str) -> None:
    frames = noise(10, 10)
    part = resize(frames, make_view((4, 5), (2, 3, 4, 5)))
    assert np.array_equal(part, frames[:, 2:6, 3:8])


def test_grey_is_pillows(reader: str) -> None:
    frames = noise(6, 5, frames=1)
    grey = np.asarray(Image.fromarray(frames[0]).convert("L"))
    assert np.array_equal(to_grey(frames)[0, ..., 0], grey)
    assert np.array_equal(resize(frames, make_view(grey=True))[0, ..., 0], grey)


def test_frames_that_are_no_rgb_bytes_are_refused(reader: str) -> None:
    with pytest.raises(ValueError, match=r"\[T, H, W, 3\], got uint8 \(2, 4, 4, 1\)"):
        resize(np.zeros((2, 4, 4, 1), np.uint8), make_view(2))
    with pytest.raises(ValueError, match="got float64"):
        resize(np.zeros((2, 4, 4, 3)), make_view(2))  # type: ignore[arg-type]
