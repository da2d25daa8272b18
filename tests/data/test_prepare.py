import os
import shutil

import numpy as np
import pytest

from fastvd import cli
from fastvd.data import ClipConfig, ClipDataset, prepare_cache
from fastvd.data import reader as reader_module

CONFIG = ClipConfig(frames=5, size=8)


@pytest.fixture
def copied(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "videos")
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return copy


def test_prepared_videos_are_not_decoded_in_training(copied, tmp_path, monkeypatch):
    steps = []
    report = prepare_cache(
        copied, tmp_path / "c", CONFIG, progress=lambda done, of: steps.append((done, of))
    )
    assert (report.written, report.present, report.failed, report.frames) == (3, 0, {}, 68)
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    plain = ClipDataset(copied, CONFIG)
    wanted = [clip.clip for clip in plain]
    cached = ClipDataset(copied, CONFIG, cache=tmp_path / "c")

    def decode(*args, **options):
        raise AssertionError("decoded")

    monkeypatch.setattr(reader_module, "read_clip", decode)
    monkeypatch.setattr(reader_module, "read_frames", decode)
    for clip, expected in zip(cached, wanted, strict=True):
        assert np.array_equal(clip.clip, expected)


def test_broken_off_run_goes_on(copied, tmp_path):
    def stop(done, of):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_cache(copied, tmp_path / "c", CONFIG, workers=1, progress=stop)
    done = len(list((tmp_path / "c").glob("*.frames")))
    assert 1 <= done <= 3
    report = prepare_cache(copied, tmp_path / "c", CONFIG)
    assert (report.written, report.present) == (3 - done, done)
    assert list((tmp_path / "c").glob("*.tmp")) == []


def test_shards_share_the_videos_out(copied, tmp_path):
    reports = [prepare_cache(copied, tmp_path / "c", CONFIG, shard=(i, 2)) for i in range(2)]
    assert [report.written for report in reports] == [2, 1]
    assert [report.present for report in reports] == [0, 0]
    assert prepare_cache(copied, tmp_path / "c", CONFIG).present == 3
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        prepare_cache(copied, tmp_path / "c", CONFIG, shard=(2, 2))


def test_bad_files_and_full_caches_are_reported(copied, tmp_path):
    (copied / "text.mp4").write_text("not a video")
    steps = []
    report = prepare_cache(
        copied,
        tmp_path / "c",
        CONFIG,
        cache_bytes=9000,
        progress=lambda done, of: steps.append((done, of)),
    )
    assert (report.written, len(report.failed)) == (1, 3)
    size = 4096 + 40 * 8 * 8 * 3
    said = f"the cache is full: cache_bytes=9000 leaves no room for its {size} bytes"
    assert report.failed[str(copied / "2.mp4")] == said
    # what can't be read counts as done
    assert steps == [(0, 4), (2, 4), (3, 4), (4, 4)]


def test_command_prepares_and_sums_up(copied, tmp_path, capsys):
    argv = ["prepare", "cache", str(copied), str(tmp_path / "c"), "--size", "8"]
    assert cli.main([*argv, "--shard", "1/2"]) == 0
    assert "2 videos decoded, 0 were there: 48 frames" in capsys.readouterr().out
    assert cli.main(argv) == 0
    assert "1 videos decoded, 2 were there: 68 frames" in capsys.readouterr().out
    (copied / "text.mp4").write_text("not a video")
    assert cli.main(argv) == 1
    out = capsys.readouterr().out
    assert "not cached" in out
    assert "1 failed" in out


def test_cache_may_be_named_memory(copied, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare_cache(copied, "memory", CONFIG).written == 3
    assert len(list((tmp_path / "memory").glob("*.frames"))) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cache_bytes", "-1"], "cache_bytes must be at least 0, got -1"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--timeout_s", "0"], "timeout_s must be above 0, got 0.0"),
    ],
)
def test_no_progress_is_shown_before_a_refusal(copied, tmp_path, capsys, words, said):
    for source, target, wanted in [
        (copied, tmp_path / "c", said),
        (copied, copied / "2.mp4", "2.mp4: the cache must be a folder"),
        (tmp_path / "none", tmp_path / "c", "none: No such file or directory"),
    ]:
        more = words if wanted == said else []
        assert cli.main(["prepare", "cache", str(source), str(target), *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert wanted in line


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "-1/2"])
def test_bad_shard_is_refused(copied, tmp_path, capsys, shard):
    with pytest.raises(SystemExit):
        cli.main(["prepare", "cache", str(copied), str(tmp_path / "c"), f"--shard={shard}"])
    assert "1/N" in capsys.readouterr().err
