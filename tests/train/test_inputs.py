"""Held-out files are not trained on, and held-out clips do not change."""

import shutil

import pytest
import torch

from fastvd.data import ClipDataset
from fastvd.errors import MediaError
from fastvd.train.inputs import fixed_clips, open_inputs, split_videos

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory, videos):
    folder = tmp_path_factory.mktemp("many")
    for number in range(21):
        shutil.copy(videos / f"{number % 2}.mp4", folder / f"{number}.mp4")
    return folder


def _names(paths):
    return [int(path.rpartition("/")[2].removesuffix(".mp4")) for path in paths]


def test_each_tenth_file_in_natural_order_is_held_out(many_videos):
    train, held_out = split_videos(many_videos)
    assert _names(held_out) == [9, 19]
    assert _names(train) == [*range(9), *range(10, 19), 20]


def test_training_never_reads_a_held_out_file(many_videos, tiny_config):
    inputs = open_inputs(tiny_config(), many_videos, device=CPU, workers=0)
    dataset = inputs.loader.clips
    files = {dataset.source(epoch, i).path for epoch in range(20) for i in range(len(dataset))}
    assert {9, 19}.isdisjoint(_names(files))
    assert len(files) == 19


def test_few_files_are_all_trained_on_and_judged_by(videos, tiny_config):
    inputs = open_inputs(tiny_config(held_out_clips=6), videos, device=CPU, workers=0)
    assert len(inputs.loader.clips.report.usable) == 2
    assert inputs.held_out.shape == (6, 4, 8, 8, 3)


def test_nothing_is_held_out_where_no_clip_is_judged(many_videos, tiny_config):
    options = {"held_out_clips": 0, "sample_clips": 0}
    inputs = open_inputs(tiny_config(**options), many_videos, device=CPU, workers=0)
    assert inputs.held_out is None
    assert len(inputs.loader.clips.report.usable) == 21


def test_fixed_clips_depend_on_the_seed_alone(videos, tiny_config):
    clips = tiny_config().clips
    one, two = ClipDataset(videos, clips), ClipDataset(videos, clips, seed=8)
    two.set_epoch(3)
    assert torch.equal(fixed_clips(one, 9, seed=5), fixed_clips(two, 9, seed=5))
    assert not torch.equal(fixed_clips(one, 9, seed=5), fixed_clips(one, 9, seed=6))


def test_fingerprint_tells_other_files(many_videos, videos, tiny_config):
    prints = {
        open_inputs(tiny_config(), folder, device=CPU, workers=0).fingerprint
        for folder in (many_videos, videos, videos)
    }
    assert len(prints) == 2


def test_folder_without_videos_is_named(tmp_path, tiny_config):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(MediaError, match=r"notes\.txt"):
        open_inputs(tiny_config(), tmp_path, device=CPU, workers=0)


def test_unusable_held_out_files_stop_the_run_or_are_left_out(many_videos, tmp_path, tiny_config):
    folder = shutil.copytree(many_videos, tmp_path / "videos")
    for number in (9, 19):
        (folder / f"{number}.mp4").write_text("no video")
    inputs = open_inputs(tiny_config(on_error="replace"), folder, device=CPU, workers=0)
    assert inputs.held_out.shape == (2, 4, 8, 8, 3)
    with pytest.raises(MediaError, match=r"9\.mp4"):
        open_inputs(tiny_config(), folder, device=CPU, workers=0)
