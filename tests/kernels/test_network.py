"""The networks give the same with fused kernels as without."""

from typing import Any

import pytest
import torch
from oracle import FusedOps
from torch import Tensor, nn

from fastvd import kernels
from fastvd.models import VideoUNet, VideoUNetConfig

TINY: dict[str, Any] = {"dim": 16, "mults": (1, 2), "heads": 2, "head_dim": 16, "groups": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "vdm": {"attention": ("linear", "linear"), "temporal_head_dim": 16},
    "two_stage": {
        "layout": "wide",
        "attention": ("none", "full"),
        "norm": "layer",
        "block": "conv-act-norm",
        "temporal_attention": False,
        "temporal_conv": True,
    },
    "adaptive": {
        "layout": "plain",
        "attention": ("none", "linear"),
        "norm": "group",
        "block": "norm-act-conv",
        "film": "both",
        "frame_embedding": 8,
        "temporal_head_dim": 16,
        "relative_bias": False,
    },
}


def network(name: str) -> VideoUNet:
    """A tiny network whose every output depends on every weight."""
    net = VideoUNet(VideoUNetConfig(**TINY, **CONFIGS[name]))
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return net


def results(net: VideoUNet, x: Tensor, t: Tensor, focus: Tensor) -> list[Tensor]:
    """The prediction and every gradient."""
    net.zero_grad()
    y = net(x, t, focus_present=focus)
    (y - 1).square().mean().backward()
    return [y.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", CONFIGS)
def test_fused_and_eager_agree(name):
    net = network(name)
    x, t = torch.randn(2, 3, 3, 8, 8), torch.tensor([10, 900])
    focus = torch.tensor([True, False])
    with kernels.eager():
        wanted = results(net, x, t, focus)
    with FusedOps() as ops:
        got = results(net, x, t, focus)
    assert ops.called
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 * float(b.abs().max()) + 1e-7)
