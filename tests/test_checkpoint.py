"""Checkpoints are whole or not there, and damage is found and named."""

import errno
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fastvd import checkpoint
from fastvd.errors import CheckpointError
from fastvd.limits import Limits, set_limits

FILES = ["MANIFEST.json", "ema.safetensors", "model.safetensors", "state.json"]


def _tensors(value: float = 1.0, *, size: int = 8) -> dict[str, dict[str, torch.Tensor]]:
    weight = torch.full((size, 3), value)
    return {"model": {"weight": weight, "step": torch.tensor(2)}, "ema": {"weight": weight / 2}}


def _flip(path: Path, position: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, tensors=_tensors(step), state={"step": step})
    return tmp_path


def test_saved_checkpoint_loads_equal(tmp_path):
    tensors = _tensors(3.25)
    tensors["model"]["turned"] = torch.arange(6.0).view(2, 3).T
    state = {"step": 5, "loss": 0.1 + 0.2, "names": ["a"]}
    directory = checkpoint.save(tmp_path, 5, tensors=tensors, state=state)
    loaded = checkpoint.load(directory)
    assert directory == tmp_path / "checkpoints" / "step-00000005"
    assert sorted(path.name for path in directory.iterdir()) == FILES
    assert loaded.state == state
    for part, named in tensors.items():
        assert loaded.tensors[part].keys() == named.keys()
        assert all(torch.equal(loaded.tensors[part][name], t) for name, t in named.items())


def test_one_part_loads_though_another_is_damaged(run_dir):
    directory = checkpoint.newest(run_dir)
    _flip(directory / "model.safetensors", -1)
    assert checkpoint.load(directory, parts=["ema"]).tensors["ema"]["weight"][0, 0] == 15.0
    with pytest.raises(CheckpointError, match=r"step-00000030: model\.safetensors is damaged"):
        checkpoint.load(directory)


def test_absent_part_is_named(run_dir):
    with pytest.raises(CheckpointError, match=r"has no optim; it holds ema, model"):
        checkpoint.load(checkpoint.newest(run_dir), parts=["optim"])


def test_every_flipped_byte_of_manifest_state_and_tensors_is_found(tmp_path):
    directory = checkpoint.save(tmp_path, 1, tensors=_tensors(size=1), state={"step": 1})
    missed = []
    for name in FILES:
        content = (directory / name).read_bytes()
        for position in range(len(content)):
            _flip(directory / name, position)
            try:
                checkpoint.verify(directory)
            except CheckpointError:
                pass
            else:
                missed.append((name, position))
            (directory / name).write_bytes(content)
    assert missed == []


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(run_dir, name):
    directory = checkpoint.newest(run_dir)
    (directory / name).unlink()
    reason = "half written" if name == "MANIFEST.json" else f"{name} is missing"
    with pytest.raises(CheckpointError, match=rf"step-00000030: .*{reason}"):
        checkpoint.verify(directory)


def test_truncated_file_is_damage(run_dir):
    directory = checkpoint.newest(run_dir)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.verify(directory)


def test_newer_format_asks_for_an_update(run_dir):
    directory = checkpoint.newest(run_dir)
    manifest = json.loads((directory / "MANIFEST.json").read_text())
    (directory / "MANIFEST.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(CheckpointError, match="format 2 is newer than 1, please update"):
        checkpoint.load(directory)


def test_manifest_may_not_name_files_elsewhere(run_dir):
    directory = checkpoint.newest(run_dir)
    manifest = json.loads((directory / "MANIFEST.json").read_text())
    manifest["files"]["../state.json"] = "0"
    (directory / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.verify(directory)


@pytest.mark.parametrize("name", ["MANIFEST.json", "state.json", "model.safetensors"])
def test_json_at_the_limit_is_read_and_a_byte_more_is_not(tmp_path, name):
    # the one that is asked about has the most JSON
    state = {"note": "n" * 4000} if name == "state.json" else {}
    tensors = {"model": {"w" * 4000 if name == "model.safetensors" else "w": torch.ones(2)}}
    if name == "MANIFEST.json":
        tensors |= {f"part{i}": {"w": torch.ones(2)} for i in range(40)}
    directory = checkpoint.save(tmp_path, 1, tensors=tensors, state=state)
    content = (directory / name).read_bytes()
    is_json = name.endswith("json")
    size = len(content) if is_json else int.from_bytes(content[:8], "little")
    set_limits(Limits(max_header_bytes=size))
    assert checkpoint.load(directory).state == state
    set_limits(Limits(max_header_bytes=size - 1))
    with pytest.raises(CheckpointError, match=rf"{name} has {size} bytes of JSON, more than"):
        checkpoint.load(directory)


def test_manifest_nested_too_deep_is_damage(run_dir):
    directory = checkpoint.find(run_dir)[-1]
    (directory / "MANIFEST.json").write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json is damaged"):
        checkpoint.load(directory)


def test_absent_directory_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="step-00000001"):
        checkpoint.load(tmp_path / "step-00000001")


def test_newest_passes_over_damaged_ones_with_a_warning_each(run_dir, caplog):
    found = checkpoint.find(run_dir)
    _flip(found[2] / "ema.safetensors", -2)
    (found[1] / "MANIFEST.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(run_dir) == found[0]
    assert [("30" in m, "20" in m) for m in caplog.messages] == [(True, False), (False, True)]


def test_no_sound_checkpoint_is_an_error_and_none_at_all_is_not(run_dir, tmp_path_factory):
    for directory in checkpoint.find(run_dir):
        (directory / "state.json").unlink()
    with pytest.raises(CheckpointError, match="none of 3 checkpoints is sound"):
        checkpoint.newest(run_dir)
    assert checkpoint.newest(tmp_path_factory.mktemp("fresh")) is None


def test_half_written_directory_is_never_seen_and_is_cleaned_up(run_dir):
    leftover = run_dir / "checkpoints" / "step-00000040.tmp"
    shutil.copytree(checkpoint.find(run_dir)[0], leftover)
    assert checkpoint.newest(run_dir).name == "step-00000030"
    checkpoint.save(run_dir, 50, tensors=_tensors(), state={})
    assert not leftover.exists()


def test_saving_a_step_again_replaces_it(run_dir):
    damaged = checkpoint.directory_of(run_dir, 30)
    _flip(damaged / "state.json", 3)
    checkpoint.save(run_dir, 30, tensors=_tensors(7.0), state={"step": 30})
    assert checkpoint.load(damaged).tensors["model"]["weight"][0, 0] == 7.0
    assert len(checkpoint.find(run_dir)) == 3


def test_prune_keeps_the_last_and_the_chosen(run_dir):
    checkpoint.save(run_dir, 40, tensors=_tensors(), state={})
    deleted = checkpoint.prune(run_dir, keep_last=2, keep=[10])
    assert [path.name for path in deleted] == ["step-00000020"]
    assert [checkpoint.step_of(path) for path in checkpoint.find(run_dir)] == [10, 30, 40]


def test_prune_with_room_for_more_keeps_all(run_dir, caplog):
    assert checkpoint.prune(run_dir, keep_last=4) == []
    assert len(checkpoint.find(run_dir)) == 3
    assert caplog.text == ""


def test_prune_never_goes_below_two(run_dir):
    checkpoint.prune(run_dir, keep_last=1)
    assert [checkpoint.step_of(path) for path in checkpoint.find(run_dir)] == [20, 30]


def test_prune_deletes_nothing_while_fewer_than_two_are_sound(run_dir, caplog):
    _flip(checkpoint.directory_of(run_dir, 30) / "model.safetensors", -1)
    assert checkpoint.prune(run_dir, keep_last=2) == []
    assert len(checkpoint.find(run_dir)) == 3
    assert "fewer than two sound" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), object()], ids=["nan", "not-json"])
def test_state_that_json_cannot_hold_leaves_nothing_behind(run_dir, value):
    with pytest.raises((ValueError, TypeError)):
        checkpoint.save(run_dir, 40, tensors=_tensors(), state={"value": value})
    assert len(list((run_dir / "checkpoints").iterdir())) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_found_before_writing(small_disk):
    checkpoint.save(small_disk, 1, tensors=_tensors(), state={})
    before = sorted(small_disk.rglob("*"))
    with pytest.raises(OSError, match=r"disk full: .* MB wanted") as caught:
        checkpoint.save(small_disk, 2, tensors=_tensors(size=400_000), state={})
    assert caught.value.errno == errno.ENOSPC
    assert sorted(small_disk.rglob("*")) == before


def test_disk_that_fills_up_while_saving_leaves_the_old_checkpoints(small_disk, monkeypatch):
    checkpoint.save(small_disk, 1, tensors=_tensors(), state={})
    before = sorted(small_disk.rglob("*"))
    monkeypatch.setattr(checkpoint, "check_space", lambda *_: None)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save(small_disk, 2, tensors=_tensors(size=400_000), state={})
    assert caught.value.errno == errno.ENOSPC
    assert sorted(small_disk.rglob("*")) == before
    checkpoint.verify(checkpoint.newest(small_disk))


@pytest.mark.parametrize("limit", [100, 3000], ids=["tensors", "state"])
def test_file_size_limit_at_any_file_leaves_the_old_checkpoints(run_dir, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError) as caught:
            checkpoint.save(run_dir, 40, tensors=_tensors(size=9), state={"long": "x" * 4000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert len(list((run_dir / "checkpoints").iterdir())) == 3
    assert checkpoint.newest(run_dir).name == "step-00000030"


SAVER = """
import sys, torch
from fastvd import checkpoint
step = int(sys.argv[2])
while True:
    step += 1
    value = torch.full((50_000,), float(step))
    tensors = {"model": {"weight": value}}
    checkpoint.save(sys.argv[1], step, tensors=tensors, state={"step": step})
    checkpoint.prune(sys.argv[1], keep_last=2)
    print(step, flush=True)
"""


def test_killed_at_any_moment_the_last_reported_checkpoint_is_sound(tmp_path):
    step = 0
    for round_ in range(2):
        command = [sys.executable, "-c", SAVER, str(tmp_path), str(step)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as process:
            for _ in range(3 + round_):
                reported = int(process.stdout.readline())
            process.kill()
        found = checkpoint.newest(tmp_path)
        step = checkpoint.step_of(found)
        assert step >= reported
        assert checkpoint.load(found).tensors["model"]["weight"].unique().tolist() == [step]
