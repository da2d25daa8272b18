"""The average follows the weights as its formula says."""

import pytest
from torch import nn

from fastvd.train.ema import Ema, EmaConfig


def _network(value: float) -> nn.Module:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_decay_warms_up_to_its_limit():
    ema = Ema(_network(0), EmaConfig(decay=0.5))
    decays = []
    for _ in range(12):
        decays.append(ema.decay)
        ema.update()
    assert decays[:3] == [1 / 10, 2 / 11, 3 / 12]
    assert decays[8:] == [0.5] * 4


def test_decay_without_warmup_is_constant():
    assert Ema(_network(0), EmaConfig(decay=0.9, has_warmup=False)).decay == 0.9


def test_update_is_the_weighted_mean():
    network = _network(1)
    ema = Ema(network, EmaConfig(decay=0.75, has_warmup=False))
    nn.init.constant_(network.weight, 5)
    ema.update()
    assert ema.network.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 5)


def test_what_has_moved_already_stays():
    network = nn.Linear(1, 1)
    ema = Ema(network, EmaConfig(decay=0, has_warmup=False))
    nn.init.constant_(network.weight, 5)
    nn.init.constant_(network.bias, 7)
    before = ema.network.weight.item()
    ema.update(moved={network.weight})
    assert (ema.network.weight.item(), ema.network.bias.item()) == (before, 7)


def test_buffers_are_copied():
    network = nn.BatchNorm1d(1)
    ema = Ema(network, EmaConfig())
    network.running_mean.fill_(3)
    network.num_batches_tracked.fill_(7)
    ema.update()
    assert (ema.network.running_mean.item(), ema.network.num_batches_tracked.item()) == (3, 7)


def test_average_takes_no_gradient_and_is_in_eval_mode():
    ema = Ema(_network(1), EmaConfig())
    assert not any(p.requires_grad for p in ema.network.parameters())
    assert not ema.network.training


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"ema\.decay must be in 0\.\.1"):
        EmaConfig(decay=decay)
