"""Clips of a video that is not the best one of its file."""

from pathlib import Path

import numpy as np
import pytest

from fastvd import cli
from fastvd.data import ClipConfig, ClipDataset, prepare_cache
from fastvd.errors import MediaError
from fastvd.media import read_frames

CONFIG = ClipConfig(frames=4, stride=2, size=24)
SMALL = ClipConfig(frames=4, stride=2, size=24, stream=0)


@pytest.fixture
def path(shared_videos: Path) -> Path:
    """Two videos: number 0 has 325 frames, number 1, the best one, 390."""
    return shared_videos / "nasa_13013.mp4"


def test_clips_are_of_the_video_asked_for(path: Path) -> None:
    for config, frames in ((CONFIG, 390), (SMALL, 325)):
        clips = ClipDataset(path, config)
        assert clips.report.files[0].frames == frames
        clip, source = clips[0]
        numbers = clips.frame_numbers(source).tolist()
        assert np.array_equal(clip, read_frames(path, numbers, size=24, stream=config.stream))
        other = read_frames(path, numbers, size=24, stream=1 if frames == 325 else 0)
        assert not np.array_equal(clip, other)


def test_clips_by_time_are_of_the_video_asked_for(path: Path) -> None:
    clips = ClipDataset(path, ClipConfig(frames=4, fps=5, size=24, stream=0))
    clip, source = clips[1]
    numbers = clips.frame_numbers(source).tolist()
    assert np.diff(numbers).tolist() == [5, 5, 5]
    assert np.array_equal(clip, read_frames(path, numbers, size=24, stream=0))


def test_a_cache_keeps_the_videos_of_a_file_apart(path: Path, tmp_path: Path) -> None:
    reports = [prepare_cache(path, tmp_path, config) for config in (CONFIG, SMALL, SMALL)]
    assert [report.written for report in reports] == [1, 1, 0]
    for config in (CONFIG, SMALL):
        cached, plain = ClipDataset(path, config, cache=tmp_path)[3], ClipDataset(path, config)[3]
        assert np.array_equal(cached.clip, plain.clip)


def test_prepare_cache_is_told_the_video(path: Path, tmp_path: Path, capsys) -> None:
    argv = ["prepare", "cache", str(path), str(tmp_path), "--size", "24", "--stream", "0"]
    assert cli.main(argv) == 0
    assert "325 frames" in capsys.readouterr().out


def test_missing_videos_are_refused(path: Path) -> None:
    with pytest.raises(MediaError, match="has 2 video streams, number 2 was asked for"):
        ClipDataset(path, ClipConfig(stream=2))
    with pytest.raises(ValueError, match="stream must be at least 0, got -1"):
        ClipConfig(stream=-1)
