"""Grids and strips: where each clip lies."""

import numpy as np
import pytest

from fastvd.media.grid import strip, tile


def levels(*shape: int) -> np.ndarray:
    """Clips [N, T, 2, 3, 1]: clip n, frame t holds the level 10 * n + t + 1."""
    n, t = np.indices(shape)
    return np.broadcast_to((10 * n + t + 1)[..., None, None, None], (*shape, 2, 3, 1)).astype(
        np.uint8
    )


def test_clips_lie_row_by_row_with_gaps_between() -> None:
    grid = tile(levels(3, 2), columns=2, gap=1)
    wanted = [
        [1, 1, 1, 0, 11, 11, 11],
        [1, 1, 1, 0, 11, 11, 11],
        [0, 0, 0, 0, 0, 0, 0],
        [21, 21, 21, 0, 0, 0, 0],
        [21, 21, 21, 0, 0, 0, 0],
    ]
    assert grid.shape == (2, 5, 7, 1)
    assert grid[0, ..., 0].tolist() == wanted
    np.testing.assert_array_equal(grid[1][grid[0] > 0], grid[0][grid[0] > 0] + 1)


def test_sixteen_clips_make_four_by_four() -> None:
    clips = np.random.default_rng(0).integers(1, 256, (16, 2, 8, 6, 3), dtype=np.uint8)
    grid = tile(clips, columns=4)
    assert grid.shape == (2, 4 * 8 + 3 * 2, 4 * 6 + 3 * 2, 3)
    np.testing.assert_array_equal(grid[:, 10:18, 16:22], clips[4 + 2])


def test_no_gap_keeps_every_pixel() -> None:
    assert tile(levels(2, 1), columns=2, gap=0)[0, 0, :, 0].tolist() == [1, 1, 1, 11, 11, 11]


def test_more_columns_than_clips_leave_no_empty_cell() -> None:
    assert tile(levels(2, 1), columns=5).shape == (1, 2, 3 + 2 + 3, 1)


def test_strip_shows_frames_left_to_right_and_clips_as_rows() -> None:
    long, short = levels(2, 3)
    picture = strip([long, short[:2]], gap=1)
    assert picture.shape == (5, 11, 1)
    assert picture[0, ::4, 0].tolist() == [1, 2, 3]
    assert picture[3, ::4, 0].tolist() == [11, 12, 0]


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        (np.zeros((2, 3, 4, 1), np.uint8), {"columns": 2}, r"got \[2, 3, 4, 1\]"),
        (np.zeros((0, 1, 3, 4, 1), np.uint8), {"columns": 2}, "none empty"),
        (np.zeros((1, 1, 3, 4, 1), np.uint8), {"columns": 0}, "columns must be >= 1"),
        (np.zeros((1, 1, 3, 4, 1), np.uint8), {"columns": 1, "gap": -1}, "gap >= 0"),
    ],
)
def test_bad_grid_is_named(clips: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tile(clips, **options)


def test_unlike_clips_make_no_strip() -> None:
    with pytest.raises(
        ValueError, match=r"alike in H, W and C, got \[\[1, 2, 3, 1\], \[1, 2, 4, 1\]\]"
    ):
        strip([np.zeros((1, 2, 3, 1), np.uint8), np.zeros((1, 2, 4, 1), np.uint8)])
    with pytest.raises(ValueError, match=r"got \[\]"):
        strip([])
