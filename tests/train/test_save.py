"""A full disk costs checkpoints, never those that are there."""

import errno
import resource
import shutil
import subprocess

import pytest
import torch

from fastvd import checkpoint
from fastvd.train import Trainer
from fastvd.train.save import save_and_prune


def _with_file_limit(limit, act):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        return act()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_run_goes_on_where_a_checkpoint_cannot_be_written(tmp_path, videos, tiny_config, caplog):
    Trainer(tiny_config(steps=2), videos=videos, run_dir=tmp_path).fit()
    trainer = Trainer(tiny_config(steps=6), videos=videos, run_dir=tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    # room again once step 4 is over, whose checkpoint fails
    def make_room(*_):
        if trainer.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    trainer.network.register_forward_pre_hook(make_room)
    result = _with_file_limit(20_000, trainer.fit)
    assert result.steps == 6
    assert "NO CHECKPOINT OF STEP 4, the run goes on: [Errno 27]" in caplog.text
    assert [checkpoint.step_of(path) for path in checkpoint.find(tmp_path)] == [2, 6]


def test_full_disk_is_found_before_the_first_step(tmp_path, videos, tiny_config):
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with pytest.raises(OSError, match=r"disk full: .* free, twice .* wanted") as caught:
            Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert caught.value.errno == errno.ENOSPC


def test_last_checkpoint_that_cannot_be_written_is_an_error(tmp_path, videos, tiny_config):
    Trainer(tiny_config(steps=2), videos=videos, run_dir=tmp_path).fit()
    trainer = Trainer(tiny_config(steps=4), videos=videos, run_dir=tmp_path)
    with pytest.raises(OSError, match="File too large"):
        _with_file_limit(20_000, trainer.fit)
    left = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert left == ["step-00000002"]
    checkpoint.verify(checkpoint.newest(tmp_path))


def _save(run_dir, step, *, best=None):
    weight = torch.full((50_000,), float(step))
    return save_and_prune(
        run_dir,
        step,
        tensors={"model": {"weight": weight}},
        state={},
        keep_last=9,
        keep=[] if best is None else [best],
        is_last=False,
    )


def test_old_checkpoints_make_room_for_a_new_one_but_not_the_best(tmp_path, caplog):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1600k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        # a checkpoint takes 200 kB and wants twice as much free
        assert all(_save(tmp_path, step, best=2) for step in range(1, 8))
        left = [checkpoint.step_of(path) for path in checkpoint.find(tmp_path)]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert "CHECKPOINT NOT WRITTEN, making room: [Errno 28] disk full" in caplog.text
    assert 1 not in left
    assert {2, 6, 7} <= set(left)
