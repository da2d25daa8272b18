"""A run from videos to checkpoints, and what may come between."""

import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from fastvd import checkpoint, config
from fastvd.data import ClipConfig
from fastvd.diffusion import ColdConfig
from fastvd.errors import NonFiniteError
from fastvd.train import OptimConfig, TrainConfig, Trainer
from fastvd.train.log import read_log


def _final(run_dir):
    """All tensors and losses of a run."""
    found = checkpoint.load(checkpoint.newest(run_dir))
    tensors = {f"{p}/{n}": t for p, named in found.tensors.items() for n, t in named.items()}
    losses = {r["step"]: r["loss"] for r in read_log(run_dir) if "loss" in r}
    return found.state["step"], tensors, losses


def _assert_same_run(one, other):
    (step, tensors, losses), (other_step, other_tensors, other_losses) = map(_final, (one, other))
    assert step == other_step
    assert losses == other_losses
    assert tensors.keys() == other_tensors.keys()
    assert [n for n in tensors if not torch.equal(tensors[n], other_tensors[n])] == []


def _at_call(module, number, act):
    """Call ``act`` before the ``number``-th forward pass of ``module``."""
    calls = []

    def hook(*_):
        calls.append(1)
        if len(calls) == number:
            act()

    module.register_forward_pre_hook(hook)


def _send(number):
    return lambda: os.kill(os.getpid(), number)


def test_run_directory_holds_all_that_is_promised(tmp_path, videos, tiny_config):
    result = Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit()
    assert (result.steps, result.skipped, result.stopped_by) == (4, 0, None)
    assert config.load_config(tmp_path / "config.yaml", TrainConfig) == tiny_config()
    saved = [checkpoint.step_of(path) for path in checkpoint.find(tmp_path)]
    drawn = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert saved == [2, 4]
    assert drawn == [f"step-{s:08d}.{e}" for s in (0, 2, 4) for e in ("gif", "png")]
    records = read_log(tmp_path)
    assert [r["step"] for r in records if "loss" in r] == [1, 2, 3, 4]
    assert [r["step"] for r in records if "held_out_loss" in r] == [0, 1, 2, 3, 4]
    assert {"step", "loss", "grad_norm", "lr", "skipped", "clips_per_s", "time"} == set(records[1])
    assert result.held_out_loss == records[-1]["held_out_loss"]


def test_strip_shows_real_clips_above_drawn_ones(tmp_path, videos, tiny_config):
    trainer = Trainer(tiny_config(steps=1), videos=videos, run_dir=tmp_path)
    trainer.fit()
    real = trainer._inputs.held_out
    with Image.open(tmp_path / "samples" / "step-00000000.png") as image:
        assert np.array_equal(np.asarray(image)[:8, :8], real[0, 0].numpy())


def test_loss_falls(tmp_path, videos, tiny_config):
    run = tiny_config(steps=40, sample_clips=0, held_out_clips=0, checkpoint_every=40)
    result = Trainer(run, videos=videos, run_dir=tmp_path).fit()
    assert result.last_loss < 0.8 * result.first_loss
    assert result.held_out_loss is None


def test_interpolator_trains(tmp_path, videos, tiny_config):
    run = tiny_config(clips=ClipConfig(frames=3, size=8), process=ColdConfig(sample_steps=2))
    result = Trainer(run, videos=videos, run_dir=tmp_path).fit()
    assert result.steps == 4
    assert math.isfinite(result.held_out_loss)


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(tmp_path, videos, tiny_config):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        Trainer(tiny_config(seed=seed), videos=videos, run_dir=tmp_path / name).fit()
    _assert_same_run(tmp_path / "a", tmp_path / "b")
    assert _final(tmp_path / "a")[2] != _final(tmp_path / "c")[2]


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_run_stopped_twice_equals_unbroken_run(tmp_path, videos, tiny_config, precision, name):
    optim = OptimConfig(name=name, lr=1e-2, schedule="cosine", warmup_steps=2)
    run = tiny_config(precision=precision, optim=optim, steps=6, held_out_clips=0, sample_clips=0)
    Trainer(run, videos=videos, run_dir=tmp_path / "unbroken").fit()
    for workers, calls in ((0, 2), (1, 5)):
        trainer = Trainer(run, videos=videos, run_dir=tmp_path / "broken", workers=workers)
        # two forward passes a step
        _at_call(trainer.network, calls, _send(signal.SIGTERM))
        assert trainer.fit().stopped_by == "SIGTERM"
    assert trainer.step == 4
    result = Trainer(run, videos=videos, run_dir=tmp_path / "broken", workers=4).fit()
    assert result.steps == 6
    _assert_same_run(tmp_path / "unbroken", tmp_path / "broken")


def test_more_steps_later_equal_more_steps_at_once(tmp_path, videos, tiny_config):
    options = {"optim": OptimConfig(lr=1e-2), "held_out_clips": 0, "sample_clips": 0}
    Trainer(tiny_config(**options, steps=5), videos=videos, run_dir=tmp_path / "once").fit()
    for steps in (2, 5):
        run = tiny_config(**options, steps=steps)
        Trainer(run, videos=videos, run_dir=tmp_path / "later").fit()
    _assert_same_run(tmp_path / "once", tmp_path / "later")


def test_run_goes_on_from_the_newest_sound_checkpoint(tmp_path, videos, tiny_config, caplog):
    Trainer(tiny_config(), videos=videos, run_dir=tmp_path / "unbroken").fit()
    Trainer(tiny_config(), videos=videos, run_dir=tmp_path / "damaged").fit()
    damaged = checkpoint.newest(tmp_path / "damaged") / "optim.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 16
    damaged.write_bytes(content)
    Trainer(tiny_config(), videos=videos, run_dir=tmp_path / "damaged").fit()
    assert "PASSED OVER A DAMAGED CHECKPOINT" in caplog.text
    _assert_same_run(tmp_path / "unbroken", tmp_path / "damaged")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["step", "evaluation", "data"])
def test_signal_anywhere_saves_and_leaves(tmp_path, videos, tiny_config, place, number):
    before = signal.getsignal(number)
    trainer = Trainer(tiny_config(), videos=videos, run_dir=tmp_path, workers=0)
    if place == "step":
        _at_call(trainer.network, 3, _send(number))
    elif place == "evaluation":
        # at step 0 four noise levels and two sampling steps, so this is the first at step 1
        _at_call(trainer.ema.network, 7, _send(number))
    else:
        dataset = trainer._inputs.loader.clips
        ready, calls = dataset.ready, []

        def counted(*args):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), number)
            return ready(*args)

        dataset.ready = counted
    result = trainer.fit()
    assert result.stopped_by == number.name
    assert result.is_interrupted
    assert signal.getsignal(number) is before
    assert checkpoint.step_of(checkpoint.newest(tmp_path)) == result.steps == trainer.step
    assert result.steps == {"step": 2, "evaluation": 1, "data": 1}[place]
    assert Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit().steps == 4


def test_time_limit_saves_and_leaves(tmp_path, videos, tiny_config):
    result = Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit(max_minutes=0)
    assert (result.steps, result.stopped_by) == (1, "time")
    assert checkpoint.step_of(checkpoint.newest(tmp_path)) == 1


class Poison:
    """Makes some of a network's forward passes NaN."""

    def __init__(self, network, calls):
        self.calls, self.count = calls, 0
        network.register_forward_hook(self)

    def __call__(self, module, args, output):  # noqa: ARG002
        self.count += 1
        return output * math.nan if self.count in self.calls else None


def test_bad_step_is_skipped_counted_and_logged(tmp_path, videos, tiny_config):
    trainer = Trainer(tiny_config(), videos=videos, run_dir=tmp_path)
    # the second pass of step 2
    Poison(trainer.network, [4])
    result = trainer.fit()
    assert (result.steps, result.skipped, trainer.ema.updates) == (4, 1, 3)
    lines = (tmp_path / "log.jsonl").read_text()
    bad = [record for record in map(json.loads, lines.splitlines()) if "not_finite" in record]
    assert "NaN" not in lines
    assert [(r["step"], r["skipped"], "loss" in r) for r in bad] == [(2, 1, False)]


def test_ten_bad_steps_end_the_run_and_the_sound_checkpoint_stays(tmp_path, videos, tiny_config):
    run = tiny_config(steps=40)
    trainer = Trainer(run, videos=videos, run_dir=tmp_path)
    Poison(trainer.network, range(7, 100))
    with pytest.raises(NonFiniteError, match="10 steps in a row"):
        trainer.fit()
    assert trainer.step == 12
    for path in checkpoint.find(tmp_path):
        tensors = checkpoint.load(path).tensors
        assert all(t.isfinite().all() for named in tensors.values() for t in named.values())
    assert checkpoint.find(tmp_path)


def test_weights_that_are_not_finite_are_not_saved(tmp_path, videos, tiny_config):
    Trainer(tiny_config(steps=2), videos=videos, run_dir=tmp_path).fit()
    trainer = Trainer(tiny_config(), videos=videos, run_dir=tmp_path)
    weight = next(trainer.network.parameters())

    def spoil():
        weight.data[0] = math.inf

    _at_call(trainer.network, 4, spoil)
    with pytest.raises(NonFiniteError, match=r"is not finite at step 4, so it is not saved"):
        trainer.fit()
    assert checkpoint.step_of(checkpoint.newest(tmp_path)) == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("batch_size", 0), ("accumulate", -1), ("held_out_clips", -1), ("seed", -1)],
)
def test_value_out_of_range_is_refused(tiny_config, field, value):
    with pytest.raises(ValueError, match=f"{field} must be .* got {value}"):
        tiny_config(**{field: value})
