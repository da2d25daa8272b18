"""The held-out loss is the same number for the same network, and samples fit in memory."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastvd.diffusion import ColdConfig, ProcessConfig, make_process
from fastvd.media.gif import read_gif
from fastvd.train.evaluate import NUM_LEVELS, Evaluation

CPU = torch.device("cpu")


class Answer(nn.Module):
    """A network that answers one value everywhere and notes what it was asked."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.asked = value, []

    def forward(self, x, t, cond=None):  # noqa: ARG002
        self.asked.append((tuple(x.shape), t.tolist(), x.sum().item()))
        return torch.full_like(x, self.value)


def _evaluation(config, *, clips=5, frames=2, batch_size=2):
    fill = torch.linspace(0, 255, clips).round().to(torch.uint8)
    video = fill.view(-1, 1, 1, 1, 1).expand(clips, frames, 4, 4, 3)
    options = {"precision": "float32", "device": CPU, "seed": 0}
    return Evaluation(make_process(config), video, batch_size=batch_size, **options), video


def test_loss_is_the_mean_over_clips_and_levels():
    evaluation, video = _evaluation(ProcessConfig(prediction="sample"))
    losses = evaluation.loss(Answer(0.0))
    # of an answer of zero, the mean square of the clips at every noise level
    expected = (video.double() / 127.5 - 1).square().mean().item()
    assert losses["held_out_loss"] == pytest.approx(expected, rel=1e-5)
    assert [name for name in losses if name != "held_out_loss"] == [
        f"held_out_loss_{t}" for t in (125, 375, 624, 874)
    ]


def test_network_is_asked_the_same_each_time():
    evaluation, _ = _evaluation(ProcessConfig())
    first, second = Answer(0.0), Answer(0.0)
    evaluation.loss(first)
    evaluation.loss(second)
    assert first.asked == second.asked
    assert len({noise for _, _, noise in first.asked}) == len(first.asked)


def test_levels_lie_in_the_range_that_is_trained():
    evaluation, _ = _evaluation(ProcessConfig(t_min=10, t_max=20))
    losses = evaluation.loss(Answer(0.0))
    levels = [int(name.rpartition("_")[2]) for name in losses if name != "held_out_loss"]
    assert len(levels) == NUM_LEVELS
    assert all(10 <= level <= 20 for level in levels)


@pytest.mark.parametrize(
    ("config", "frames"),
    [(ProcessConfig(sample_steps=2), 2), (ColdConfig(sample_steps=2), 3)],
    ids=["gaussian", "cold"],
)
def test_samples_come_in_batches_and_equal_from_one_call_to_the_next(config, frames):
    evaluation, _ = _evaluation(config, frames=frames)
    network = Answer(0.0)
    drawn = evaluation.draw(network, 5)
    assert (drawn.shape, drawn.dtype) == ((5, frames, 4, 4, 3), torch.uint8)
    assert {shape[0] for shape, _, _ in network.asked} == {2, 1}
    assert torch.equal(drawn, evaluation.draw(network, 5))


def test_interpolator_keeps_the_ends_of_its_clips():
    evaluation, video = _evaluation(ColdConfig(sample_steps=2), frames=3)
    drawn = evaluation.draw(Answer(0.0), 4)
    assert torch.equal(drawn[:, [0, 2]], video[:4, [0, 2]])


def test_files_are_a_grid_and_a_strip(tmp_path):
    evaluation, video = _evaluation(ProcessConfig(sample_steps=1))
    evaluation.write_samples(Answer(0.0), 5, tmp_path / "new" / "step-00000001", fps=4)
    gif = read_gif(tmp_path / "new" / "step-00000001.gif")
    # 5 clips of 4x4 in 2 columns, 2 pixels apart
    assert gif.frames.shape == (2, 16, 10, 3)
    assert gif.delays_s.tolist() == [0.25, 0.25]
    with Image.open(tmp_path / "new" / "step-00000001.png") as image:
        strip = np.asarray(image)
    # 4 real and 4 drawn clips of 2 frames
    assert strip.shape == (46, 10, 3)
    assert [strip[6 * i, 0, 0] for i in range(4)] == video[:4, 0, 0, 0, 0].tolist()


def test_no_gradient_is_kept():
    evaluation, _ = _evaluation(ProcessConfig(sample_steps=1))
    network = Answer(0.0)
    network.scale = nn.Parameter(torch.ones(()))
    network.register_forward_hook(lambda module, _, out: out * module.scale)
    evaluation.loss(network)
    assert not evaluation.draw(network, 2).requires_grad
    assert network.scale.grad is None
