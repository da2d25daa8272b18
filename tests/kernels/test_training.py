"""A run's steps with fused kernels: update, average, checkpoint; and a GPU's batches and waits."""

import pytest
import torch
from oracle import FusedOps
from small_network import network
from torch import Tensor

from fastvd import kernels
from fastvd.data import to_network
from fastvd.diffusion import ColdConfig, ProcessConfig, make_process
from fastvd.train import EmaConfig, OptimConfig
from fastvd.train.ema import Ema
from fastvd.train.optim import Optim
from fastvd.train.step import Precision, TrainStep

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CLIP = (1, 3, 2, 4, 4)


class Run:
    """A training run of the smallest network, its weights laid out as on a GPU."""

    def __init__(self, precision: Precision, device: str, optimizer: str = "adamw") -> None:
        torch.manual_seed(0)
        self.network = network().to(memory_format=torch.channels_last)
        self.process = make_process(ProcessConfig())
        self.ema = Ema(self.network, EmaConfig())
        config = OptimConfig(name=optimizer, lr=1e-2)
        self.optim = Optim(self.network, config, steps=9, averages=self.ema.averages)
        self.step = TrainStep(
            self.network, self.optim, self.ema, precision=precision, device=torch.device(device)
        )
        self.device = device

    def steps(self, *numbers: int) -> None:
        """Make these steps on clips and noise of their own."""
        for number in numbers:
            generator = torch.Generator(self.device).manual_seed(number)
            clip = torch.randn(CLIP, generator=generator, device=self.device)
            clip = clip.contiguous(memory_format=torch.channels_last_3d)
            result = self.step.run(number, [clip], loss=self.loss, generator=generator)
            assert not result.skipped

    def loss(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        return self.process.loss(self.network, clip, generator=generator)

    def tensors(self) -> list[Tensor]:
        """Weights and averages."""
        return [*self.network.state_dict().values(), *self.ema.network.state_dict().values()]


@pytest.mark.parametrize(
    ("precision", "optimizer"), [("float32", "adamw"), ("bfloat16", "muon"), ("float16", "adamw")]
)
def test_a_run_goes_on_as_if_it_had_not_stopped(precision, optimizer, device):
    run = Run(precision, device, optimizer)
    before = [t.clone() for t in run.tensors()]
    with FusedOps() as ops:
        run.steps(0)
    assert "fastvd::row_norm_backward" in ops.called
    assert not any(map(torch.equal, run.tensors(), before))
    saved = {name: t.cpu().contiguous().clone() for name, t in run.optim.state().items()}
    other = Run(precision, device, optimizer)
    for own, t in zip(other.tensors(), run.tensors(), strict=True):
        own.copy_(t.cpu().contiguous())
    other.optim.load_state(saved)
    other.ema.updates = run.ema.updates
    other.step.load_state(run.step.state())
    for each in (run, other):
        each.steps(1)
    assert all(map(torch.equal, other.tensors(), run.tensors()))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_an_update_waits_for_nothing():
    params = [torch.randn(1000, requires_grad=True), torch.randn(8, 4, 3, 3)]
    zeros = ([torch.zeros_like(p) for p in params] for _ in "mv")
    state = kernels.AdamState(*zeros, [torch.zeros(()) for _ in params])
    averages = [p.detach().clone() for p in params]
    optimizer = kernels.AdamWEma(params, state, averages, betas=(0.9, 0.99))
    grads, scale = [torch.randn_like(p) for p in params], torch.tensor(0.5)
    for mode in ("default", "error"):  # the first compiles
        torch.cuda.set_sync_debug_mode(mode)
        try:
            optimizer.update(grads, rates=[(1e-3, 0.0)] * 2, decay=0.9, scale=scale)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert [int(t) for t in state.steps] == [2, 2]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize(
    "process", [make_process(ProcessConfig(min_snr_gamma=5.0)), make_process(ColdConfig())]
)
def test_a_loss_waits_for_nothing(process):
    clip, generator = torch.randn(2, 3, 3, 8, 8), torch.Generator("cuda")
    weight = torch.ones(1, requires_grad=True)
    for mode in ("default", "error"):  # the first brings the levels up
        torch.cuda.set_sync_debug_mode(mode)
        try:
            loss = process.loss(lambda x, t, cond: x * weight, clip, generator=generator)  # noqa: ARG005
            loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


@pytest.mark.gpu
@needs_gpu
def test_batches_go_up_on_a_stream_of_their_own():
    from fastvd.data.tensors import DeviceOutput

    output = DeviceOutput((2, 3, 64, 64, 3), "float32", "cuda")
    for seed in range(4):
        rows = output.rows()
        rows[...] = torch.randint(256, rows.shape, device="cpu").numpy() // (seed + 1)
        wanted = to_network(torch.from_numpy(rows.copy()))
        got = output.tensor(rows)
        del rows
        assert got.is_contiguous(memory_format=torch.channels_last_3d)
        assert torch.equal(got.cpu(), wanted)
