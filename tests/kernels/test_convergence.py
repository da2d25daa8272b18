"""Training with fused kernels goes as training without: equal but for rounding."""

import numpy as np
import pytest
import small_network
import torch
import torch.nn.functional as F
from einops import rearrange
from oracle import FusedOps
from small_network import CONFIG
from torch import Tensor, nn

from fastvd import kernels
from fastvd.models.attention import Context
from fastvd.models.embed import RelativeBias, TimeEmbedding
from fastvd.models.stages import make_head, make_stage, make_stem

STEPS, SMOOTH = 200, 20
FRAMES, SIZE, SIDE = 2, 4, 2


class Denoiser(nn.Module):
    """One level of a network: a residual block and both attentions."""

    def __init__(self) -> None:
        super().__init__()
        self.time = TimeEmbedding(16, 32, layers=2, cond_dim=None)
        self.stem = make_stem(CONFIG)
        self.stage = make_stage(CONFIG, 0, (16, 16, None), num_blocks=1, emb_dim=32)
        self.bias = RelativeBias(1)
        self.head = make_head(CONFIG)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        emb = F.silu(self.time(t, dtype=x.dtype, cond=None, drop_cond=None))
        context = Context(emb, self.bias(FRAMES))
        x = self.stem(rearrange(x, "b c t h w -> b t h w c").contiguous(), context)
        return rearrange(self.head(self.stage(x, context), context), "b t h w c -> b c t h w")


def squares(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """A clip of a square that moves straight on, noise, and its share of their sum."""
    rng = np.random.default_rng(step)
    place = np.arange(SIZE)
    clips = np.full((1, 3, FRAMES, SIZE, SIZE), -1.0, np.float32)
    for clip in clips:
        (x, y), colour = rng.integers(0, SIZE - SIDE - FRAMES + 2, 2), rng.integers(0, 3)
        for t in range(FRAMES):
            inside = [(at + t <= place) & (place < at + t + SIDE) for at in (x, y)]
            clip[colour, t][np.outer(*inside)] = 1.0
    noise = rng.standard_normal(clips.shape, np.float32)
    share = rng.uniform(size=1).astype(np.float32)
    return torch.from_numpy(clips), torch.from_numpy(noise), torch.from_numpy(share)


def loss_curve(seed: int, device: str) -> np.ndarray:
    """Smoothed losses of a denoiser; ``seed``: of its weights, clips and noise are always equal."""
    torch.manual_seed(seed)
    net = Denoiser().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for step in range(STEPS):
        clips, noise, share = (x.to(device) for x in squares(step))
        level = share[:, None, None, None, None]
        y = net(clips * (1 - level).sqrt() + noise * level.sqrt(), 1000 * share)
        loss = (y - clips).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.convolve(losses, np.full(SMOOTH, 1 / SMOOTH), "valid")


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """How far two curves are from each other on average, in terms of the first."""
    return float((np.abs(a - b) / a).mean())


@pytest.mark.timeout(900)
def test_loss_curves_agree_within_seed_noise(device, tensor_cores):
    with kernels.eager():
        eager, *others = (loss_curve(seed, device) for seed in range(3))
    with FusedOps() as ops:
        fused = loss_curve(0, device)
    assert small_network.ops("row_norm", "temporal_block", "linear_attention") <= ops.called
    assert eager[-1] < 0.5 * eager[0], "nothing was learned"
    noise = min(apart(eager, other) for other in others)
    print(f"losses {eager[0]:.3f} to {eager[-1]:.3f}, fused to {fused[-1]:.3f}")
    print(f"fused {apart(eager, fused):.2e} from eager, seeds {noise:.2e} from each other")
    assert apart(eager, fused) < 0.5 * noise
