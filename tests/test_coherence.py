"""The check of benchmarks/coherence.py passes real clips and nothing else."""

import coherence
import numpy as np
import pytest

from fastvd.data.synthetic import moving_shapes, write_shape_videos
from fastvd.media import read_clip


@pytest.fixture(scope="module")
def real():
    return moving_shapes(6, frames=17, seed=4)


def faults(clips):
    return [coherence.judge(clip).fault for clip in clips]


def test_real_clips_are_coherent_and_told_apart(real):
    verdicts = [coherence.judge(clip) for clip in real]
    assert [verdict.fault for verdict in verdicts] == [None] * 6
    assert [verdict.kind for verdict in verdicts] == ["square", "disc", "triangle"] * 2


def test_real_clips_stay_coherent_through_video_files(tmp_path):
    paths = write_shape_videos(tmp_path, seed=1, num_videos=8, frames=40)
    clips = np.stack([read_clip(path, start=20, frames=17) for path in paths])
    assert coherence.count_coherent(clips) == 8


def test_shuffled_frames_jump(real):
    order = np.random.default_rng(0).permutation(17)
    assert set(faults(real[:, order])) == {"jump"}


def test_a_still_frame_does_not_move(real):
    assert set(faults(real[:, [8] * 17])) == {"still"}


def test_blank_clips_and_one_blank_frame_are_seen(real):
    real = real.copy()
    real[:, 5] = 0
    assert set(faults(real)) == {"blank"}
    assert coherence.count_coherent(np.zeros_like(real)) == 0


@pytest.mark.parametrize("brightest", [110, 150, 255])
def test_noise_is_not_coherent(brightest):
    shape = (3, 17, 32, 32, 3)
    noise = np.random.default_rng(0).integers(0, brightest, shape, dtype=np.uint8)
    assert coherence.count_coherent(noise) == 0


def test_a_clip_that_changes_colour_is_seen(real):
    real = real.copy()
    real[:, 9:] = real[:, 9:, :, :, ::-1]
    assert set(faults(real[[0, 2]])) == {"colour"}


def test_a_clip_that_changes_kind_is_seen(real):
    grey = np.repeat(real.max(axis=-1, keepdims=True), 3, axis=-1)
    square, disc, _ = grey[:3]
    changed = np.where(np.arange(17)[:, None, None, None] < 8, square, disc)
    assert coherence.judge(changed).fault == "kind"


def test_a_shape_with_a_bite_is_no_shape(real):
    square = real[0].copy()
    lit = np.argwhere(square[3].max(axis=-1) > 100)
    (top, left), (bottom, right) = lit.min(axis=0), lit.max(axis=0)
    # only the outline is left, so that the centre stays
    square[3, top + 2 : bottom - 1, left + 2 : right - 1] = 0
    assert coherence.judge(square).fault == "shape"
