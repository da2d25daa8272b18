"""A step that is not finite leaves no trace, and ten in a row end the run."""

import math

import pytest
import torch
from torch import nn

from fastvd.errors import NonFiniteError
from fastvd.models.device import autocast
from fastvd.train.ema import Ema, EmaConfig
from fastvd.train.optim import Optim, OptimConfig
from fastvd.train.step import MAX_BAD_IN_A_ROW, TrainStep, seed_of

CPU = torch.device("cpu")
GOOD, NAN, INF = (torch.full((2, 3), value) for value in (1.0, math.nan, math.inf))


class Run:
    """A linear network, whose loss is the mean square of its output."""

    def __init__(self, precision="float32", **options):
        self.network = nn.Linear(3, 2)
        self.ema = Ema(self.network, EmaConfig())
        config = OptimConfig(lr=0.1, **options)
        self.optim = Optim(self.network, config, steps=100, averages=self.ema.averages)
        self.train_step = TrainStep(
            self.network, self.optim, self.ema, precision=precision, device=CPU
        )

    def step(self, *clips, number=0):
        def loss(clip, generator):
            return self.network(clip).float().square().mean()

        return self.train_step.run(number, clips, loss=loss, generator=torch.Generator())

    def everything(self):
        averages = {f"ema/{name}": t for name, t in self.ema.network.state_dict().items()}
        tensors = {**self.network.state_dict(), **averages, **self.optim.state()}
        return {name: tensor.clone() for name, tensor in tensors.items()}


def _equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("bad", [NAN, INF], ids=["nan", "inf"])
def test_bad_batch_changes_nothing_and_is_counted(name, bad):
    run = Run(name=name)
    run.step(GOOD)
    before = run.everything()
    result = run.step(bad)
    assert result.skipped
    assert not math.isfinite(result.loss)
    assert _equal(before, run.everything())
    assert (run.train_step.skipped, run.train_step.bad_in_a_row) == (1, 1)


def test_bad_gradient_of_a_finite_loss_is_skipped():
    run = Run()
    # the slope of a square root is infinite at zero
    with torch.no_grad():
        run.network.weight.zero_()
        run.network.bias.zero_()
    before = run.everything()
    result = run.train_step.run(
        0,
        [GOOD],
        loss=lambda clip, _: run.network(clip).sqrt().sum(),
        generator=torch.Generator(),
    )
    assert result.loss == 0
    assert result.skipped
    assert _equal(before, run.everything())


def test_bad_part_of_an_accumulated_batch_skips_the_whole_step():
    run = Run()
    before = run.everything()
    assert run.step(GOOD, NAN, GOOD).skipped
    assert _equal(before, run.everything())
    assert run.network.weight.grad is None


def test_good_step_after_a_bad_one_is_as_if_it_had_not_been():
    with_bad, without = Run(), Run()
    for network in (without.network, without.ema.network):
        network.load_state_dict(with_bad.network.state_dict())
    with_bad.step(NAN)
    with_bad.step(GOOD)
    without.step(GOOD)
    assert _equal(with_bad.everything(), without.everything())
    assert with_bad.train_step.bad_in_a_row == 0


def test_ten_bad_steps_in_a_row_end_the_run():
    run = Run()
    for number in range(MAX_BAD_IN_A_ROW - 1):
        run.step(NAN, number=number)
    with pytest.raises(
        NonFiniteError, match=r"10 steps in a row, the last at step 9 with loss nan"
    ):
        run.step(NAN, number=9)


def test_nine_bad_steps_around_a_good_one_do_not():
    run = Run()
    for clip in [*[NAN] * 9, GOOD, *[NAN] * 9]:
        run.step(clip)
    assert run.train_step.skipped == 18


def test_accumulated_batches_weigh_as_one():
    apart, together = Run(), Run()
    together.network.load_state_dict(apart.network.state_dict())
    parts = torch.randn(2, 4, 3)
    result = apart.step(*parts)
    assert result.loss == pytest.approx(together.step(parts.flatten(0, 1)).loss)
    torch.testing.assert_close(apart.network.weight, together.network.weight)


def test_long_gradient_is_cut_to_the_norm():
    run = Run(max_grad_norm=0.5)
    result = run.step(100 * GOOD)
    assert result.grad_norm > 100
    # the first mean is a tenth of the gradient
    means = [t for name, t in run.optim.state().items() if name.startswith("exp_avg/")]
    norm = torch.nn.utils.get_total_norm(means)
    assert norm.item() == pytest.approx(0.05, rel=1e-4)


def test_float16_overflow_lowers_the_scale_and_is_no_reason_to_stop():
    run = Run("float16")
    with torch.no_grad():
        run.network.weight.fill_(1)
    before = run.everything()
    results = [run.step(10 * GOOD) for _ in range(12)]
    assert results[0].skipped
    assert math.isfinite(results[0].loss)
    assert run.train_step.bad_in_a_row == 0
    assert not results[-1].skipped
    assert not _equal(before, run.everything())


def test_counts_and_scale_come_back():
    run, other = Run("float16"), Run("float16")
    run.step(NAN)
    other.train_step.load_state(run.train_step.state())
    assert other.train_step.state() == run.train_step.state()
    assert other.train_step.state()["scaler"]["scale"] == 2.0**15
    assert other.train_step.skipped == 1


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_network_runs_at_the_precision_asked_for(precision, dtype):
    with autocast(CPU, precision):
        assert nn.Linear(3, 2)(GOOD).dtype == dtype


def test_seeds_differ_by_run_step_and_purpose_and_fit_a_generator():
    seeds = {seed_of(*use) for use in [(0, 0, "a"), (0, 1, "a"), (1, 0, "a"), (0, 0, "b")]}
    assert len(seeds) == 4
    for seed in seeds:
        torch.Generator().manual_seed(seed)
    assert seed_of(3, 5, "noise") == seed_of(3, 5, "noise")
