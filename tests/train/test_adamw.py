"""AdamW's step in one kernel, interpreted here, trains as torch's does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fastvd import checkpoint
from fastvd.kernels import adamw_ema, launch
from fastvd.train import OptimConfig, Trainer
from fastvd.train.ema import Ema, EmaConfig
from fastvd.train.optim import Optim


@pytest.fixture(autouse=True)
def on_a_cpu() -> None:
    if not launch.interpreted:
        pytest.skip("kernels are not interpreted here")


@contextmanager
def fused() -> Iterator[None]:
    """Run AdamW's kernel, and no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adamw_ema, "fused", lambda *_, limit: not limit)
        yield


class Net(nn.Module):
    """A convolution whose weight lies channels last, and a part that comes in late."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.late = nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Tensor, *, late: bool) -> Tensor:
        y = self.conv(x).mean(dim=(2, 3))
        return self.frozen(self.late(y)) if late else y


class Run:
    """A network that is trained on noise, fused or not."""

    def __init__(self) -> None:
        self.network = Net()
        self.ema = Ema(self.network, EmaConfig(decay=0.9))
        config = OptimConfig(lr=1e-2, lr_factors={"late": 0.5}, warmup_steps=2)
        self.optim = Optim(self.network, config, steps=8, averages=self.ema.averages)

    def step(self, number: int) -> None:
        x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(number))
        self.network(x, late=number >= 2).square().mean().backward()
        self.optim.set_lr(number)
        moved = self.optim.update(torch.tensor(0.5), decay=self.ema.decay)
        self.ema.update(moved=moved)
        self.network.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        averages = {f"ema/{name}": t for name, t in self.ema.network.state_dict().items()}
        return {**self.network.state_dict(), **averages, **self.optim.state()}


def assert_near(got: dict[str, Tensor], wanted: dict[str, Tensor], **tolerance: float) -> None:
    assert got.keys() == wanted.keys()
    for name, t in wanted.items():
        torch.testing.assert_close(got[name], t, **tolerance, msg=lambda m, n=name: f"{n}: {m}")


def test_fused_steps_are_the_eager_ones():
    eager, run = Run(), Run()
    for number in range(4):
        eager.step(number)
        with fused():
            run.step(number)
        assert_near(run.tensors(), eager.tensors(), rtol=1e-5, atol=1e-6)
    assert float(run.tensors()["step/late.weight"]) == 2


@pytest.mark.parametrize("first", ["fused", "eager"])
def test_a_run_goes_on_by_the_other_path(first):
    whole, before, after = Run(), Run(), Run()
    for number in range(4):
        whole.step(number)
    for number in range(2):
        if first == "eager":
            before.step(number)
            continue
        with fused():
            before.step(number)
    # as from a checkpoint, whose tensors are contiguous
    after.network.load_state_dict(before.network.state_dict())
    after.ema.network.load_state_dict(before.ema.network.state_dict())
    after.ema.updates = before.ema.updates
    after.optim.load_state({n: t.clone().contiguous() for n, t in before.optim.state().items()})
    for number in range(2, 4):
        if first == "fused":
            after.step(number)
            continue
        with fused():
            after.step(number)
    assert_near(after.tensors(), whole.tensors(), rtol=1e-5, atol=1e-6)


def saved(run_dir: Path) -> dict[str, Tensor]:
    """Every tensor of the newest checkpoint."""
    directory = checkpoint.newest(run_dir)
    assert directory is not None
    parts = checkpoint.load(directory).tensors.items()
    return {f"{part}/{name}": t for part, named in parts for name, t in named.items()}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_fused_trainer_is_the_eager_one(tmp_path, videos, tiny_config, name):
    config = tiny_config(optim=OptimConfig(name=name, lr=1e-3, warmup_steps=2), sample_clips=0)
    Trainer(config, videos=videos, run_dir=tmp_path / "eager").fit()
    with fused():
        Trainer(config, videos=videos, run_dir=tmp_path / "fused").fit()
    got, wanted = saved(tmp_path / "fused"), saved(tmp_path / "eager")
    assert {n: t.shape for n, t in got.items()} == {n: t.shape for n, t in wanted.items()}
    # AdamW's first steps are the sign of the gradient, whatever its size
    weights = {n: t for n, t in wanted.items() if not n.startswith("optim/")}
    assert_near({n: got[n] for n in weights}, weights, rtol=1e-4, atol=1e-5)
