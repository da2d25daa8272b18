"""Moving shapes are what they say, and survive being written to files."""

import numpy as np
import pytest

from fastvd.data.synthetic import (
    COLOURS,
    GROUND,
    moving_shapes,
    signed_distance,
    write_shape_videos,
)
from fastvd.media import probe, read_clip


def lit(clip: np.ndarray) -> np.ndarray:
    """Pixels of a clip [T, H, W, 3] that a shape covers, bool [T, H, W]."""
    return clip.max(axis=-1) > 100


def centres(clip: np.ndarray) -> np.ndarray:
    """Centre of gravity (x, y) of what each frame shows before the ground, [T, 2]."""
    weight = (clip - np.array(GROUND, float)).sum(axis=-1)
    y, x = np.mgrid[: clip.shape[1], : clip.shape[2]]
    total = weight.sum(axis=(1, 2))
    return (
        np.stack([(weight * x).sum(axis=(1, 2)), (weight * y).sum(axis=(1, 2))]).T / total[:, None]
    )


def test_same_seed_gives_same_clips_and_another_seed_others():
    first, again = (moving_shapes(3, frames=4, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, moving_shapes(3, frames=4, seed=6))


def test_more_clips_or_frames_leave_the_first_ones_alone():
    few = moving_shapes(2, frames=5, seed=1)
    np.testing.assert_array_equal(moving_shapes(4, frames=9, seed=1)[:2, :5], few)


def test_kinds_take_turns_in_their_colours():
    clips = moving_shapes(6, frames=2)
    assert clips.shape == (6, 2, 32, 32, 3)
    assert clips.dtype == np.uint8
    colours = [tuple(clip[0][lit(clip)[0]].max(axis=0).tolist()) for clip in clips]
    assert colours == list(COLOURS.values()) * 2


@pytest.mark.parametrize("size", [32, 48])
def test_shapes_lie_wholly_inside(size):
    clips = moving_shapes(30, frames=60, size=size)
    border = np.ones((size, size), bool)
    border[1:-1, 1:-1] = False
    assert (clips[:, :, border] == GROUND).all()


def test_shapes_keep_their_size_and_move_smoothly_all_the_time():
    for clip in moving_shapes(30, frames=40):
        areas = lit(clip).sum(axis=(1, 2))
        assert areas.min() > 90
        assert areas.max() < 1.3 * areas.min()
        steps = np.linalg.norm(np.diff(centres(clip), axis=0), axis=1)
        assert steps.max() < 0.95
        assert 0.3 < steps.mean() < 0.9


def test_a_shape_turns_back_at_the_border():
    [clip] = moving_shapes(1, frames=200)
    x, y = centres(clip).T
    assert (np.sign(np.diff(x[::8])) > 0).any()
    assert (np.sign(np.diff(x[::8])) < 0).any()
    assert (np.sign(np.diff(y[::8])) > 0).any()
    assert (np.sign(np.diff(y[::8])) < 0).any()


@pytest.mark.parametrize("kind", list(COLOURS))
def test_signed_distance_is_negative_inside_and_centred(kind):
    y, x = np.mgrid[-30:31:0.25, -30:31:0.25]
    inside = signed_distance(kind, x, y, radius=16.0) < 0
    area = {"triangle": 2.546}.get(kind, np.pi) * 16**2
    assert inside.sum() / 16 == pytest.approx(area, rel=0.01)
    assert x[inside].mean() == pytest.approx(0, abs=0.1)
    assert y[inside].mean() == pytest.approx(0, abs=0.1)


def test_only_named_kinds_are_drawn():
    clips = moving_shapes(4, frames=1, kinds=["disc"])
    assert (clips[..., 1].max(axis=(1, 2, 3)) == COLOURS["disc"][1]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clips": -1, "frames": 2}, "num_clips must be at least 0, got -1"),
        ({"num_clips": 1, "frames": 0}, "frames must be at least 1, got 0"),
        ({"num_clips": 1, "frames": 1, "size": 7}, "size must be at least 8 pixels, got 7"),
        ({"num_clips": 1, "frames": 1, "kinds": ["star"]}, r"disc, triangle, got \['star'\]"),
        ({"num_clips": 1, "frames": 1, "kinds": []}, r"got \[\]"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        moving_shapes(**arguments)


def test_written_videos_read_back_as_the_shapes(tmp_path):
    paths = write_shape_videos(tmp_path / "new", seed=3, num_videos=9, frames=12)
    assert [path.suffix for path in paths] == [".mp4"] * 7 + [".gif"] + [".mp4"]
    assert sorted((tmp_path / "new").iterdir()) == paths
    shapes = moving_shapes(9, frames=12, seed=3)
    for path, shape in zip(paths, shapes, strict=True):
        assert probe(path).frames == 12
        assert probe(path).fps == pytest.approx(25)
        difference = np.abs(read_clip(path).astype(int) - shape)
        assert difference.mean() < (0.01 if path.suffix == ".gif" else 4)
