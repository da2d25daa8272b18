"""Parameters go to the right optimiser, learning rates follow the schedule, state comes back."""

import pytest
import torch
from torch import nn

from fastvd.train.optim import Optim, OptimConfig, is_hidden_matrix, lr_factor


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.hidden = nn.Conv2d(4, 4, 3, padding=1)
        self.temporal = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        h = self.hidden(self.stem(x)).mean(dim=(2, 3))
        return self.head(self.temporal(h))


def _train(network: nn.Module, optim: Optim, *, first: int, last: int) -> None:
    for step in range(first, last):
        x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(step))
        network(x).square().mean().backward()
        optim.set_lr(step)
        for optimizer in optim.optimizers:
            optimizer.step()
        network.zero_grad()


def test_muon_takes_hidden_matrices_and_nothing_else():
    config = OptimConfig(name="muon", adamw_names=("stem", "head"))
    taken = [n for n, p in Net().named_parameters() if is_hidden_matrix(n, p, config)]
    assert taken == ["hidden.weight", "temporal.weight"]
    kinds = [type(o).__name__ for o in Optim(Net(), config, steps=10).optimizers]
    assert sorted(kinds) == ["AdamW", "Muon"]


def test_every_parameter_is_in_one_group():
    network = Net()
    config = OptimConfig(name="muon", lr_factors={"temporal": 0.1})
    groups = [g for o in Optim(network, config, steps=10).optimizers for g in o.param_groups]
    counted = [id(p) for group in groups for p in group["params"]]
    assert sorted(counted) == sorted(id(p) for p in network.parameters())


def test_vectors_do_not_decay():
    optimizer = Optim(Net(), OptimConfig(weight_decay=0.3), steps=10).optimizers[0]
    decays = {p.ndim >= 2: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays == {True: 0.3, False: 0.0}


def test_factor_slows_the_parameters_with_its_word():
    network = Net()
    optim = Optim(network, OptimConfig(lr=1.0, lr_factors={"temporal": 0.1}), steps=10)
    assert optim.set_lr(0) == 1.0
    groups = optim.optimizers[0].param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(network.temporal.weight)] == pytest.approx(0.1)
    assert rates[id(network.hidden.weight)] == 1.0


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OptimConfig(), {0: 1, 99: 1}),
        (OptimConfig(warmup_steps=4), {0: 0.25, 3: 1, 4: 1}),
        (OptimConfig(schedule="cosine"), {0: 1, 50: 0.5, 100: 0}),
        (OptimConfig(schedule="cosine", warmup_steps=20), {19: 1, 20: 1, 60: 0.5, 100: 0, 200: 0}),
        (OptimConfig(schedule="cosine", lr_floor=0.2), {0: 1, 50: 0.6, 100: 0.2}),
        (OptimConfig(schedule="step", step_every=30), {29: 1, 30: 0.5, 60: 0.25}),
    ],
    ids=["constant", "warm-up", "cosine", "cosine after warm-up", "floor", "step"],
)
def test_schedule(config, expected):
    assert {s: pytest.approx(lr_factor(config, s, steps=100)) for s in expected} == expected


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_restored_goes_on_bit_for_bit(name):
    config = OptimConfig(name=name, schedule="cosine", warmup_steps=3, lr_factors={"head": 0.5})
    unbroken = Net()
    start = {name: t.clone() for name, t in unbroken.state_dict().items()}
    _train(unbroken, optim := Optim(unbroken, config, steps=8), first=0, last=8)

    before, after = Net(), Net()
    before.load_state_dict(start)
    _train(before, stopped := Optim(before, config, steps=8), first=0, last=5)
    after.load_state_dict(before.state_dict())
    resumed = Optim(after, config, steps=8)
    resumed.load_state({name: t.clone() for name, t in stopped.state().items()})
    _train(after, resumed, first=5, last=8)

    state = resumed.state()
    assert state.keys() == optim.state().keys()
    assert all(torch.equal(state[name], t) for name, t in optim.state().items())
    assert all(map(torch.equal, after.parameters(), unbroken.parameters()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, r"optim\.lr must be above 0, got 0\.0"),
        ({"weight_decay": -1.0}, r"weight_decay must be 0 or more"),
        ({"betas": (0.9, 1.0)}, r"betas must be in 0\.\.1 without 1, got 1\.0"),
        ({"lr_floor": 2.0}, r"lr_floor must be in 0\.\.1"),
        ({"step_every": 0}, r"step_every must be 1 or more"),
        ({"max_grad_norm": 0.0}, r"max_grad_norm must be above 0"),
        ({"lr_factors": {"a": -1.0}}, r"lr_factors must be 0 or more"),
    ],
)
def test_bad_value_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        OptimConfig(**values)
