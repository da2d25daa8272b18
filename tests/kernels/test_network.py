"""The networks give the same with fused kernels as without."""

import copy
import dataclasses
from typing import Any

import pytest
import small_network
import torch
from oracle import RMS_ERROR, FusedOps, assert_close
from torch import Tensor

from fastvd import kernels
from fastvd.kernels import launch
from fastvd.models import VideoUNet, VideoUNetConfig, two_stage, vdm

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
    return small_network.awake(VideoUNet(VideoUNetConfig(**TINY, **CONFIGS[name])))


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


# the presets themselves, at their full depth, narrower
WHOLE = {
    "vdm": (vdm(16), 8, ("row_norm", "temporal_block", "linear_attention")),
    "two_stage": (dataclasses.replace(two_stage("base"), dim=32), 16, ("group_norm",)),
}
"""Network, height and width of the clip, and the ops that it runs."""


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_preset_errs_as_plain_pytorch_does(name, tensor_cores):
    config, size, ran = WHOLE[name]
    net = small_network.awake(VideoUNet(config))
    x, t = torch.randn(1, 3, 2, size, size), torch.tensor([300.0])
    torch.backends.cuda.matmul.allow_tf32 = launch.interpreted  # a GPU's products stay exact
    with kernels.eager():
        exact = small_network.results(copy.deepcopy(net).double(), x.double(), t.double())
        plain = small_network.results(net, x, t)
    with FusedOps() as ops:
        got = small_network.results(net, x, t)
    assert small_network.ops(*ran) <= ops.called
    names = ["output", *(n for n, p in net.named_parameters() if p.grad is not None)]
    rms = RMS_ERROR[torch.float32]
    for i, tensors in enumerate(zip(got, plain, exact, strict=True)):
        # gradients of the mean of squares are small: in terms of their own size
        scaled = (x.double() / exact[i].square().mean().sqrt() for x in tensors)
        assert_close(names[i], *scaled, rms=2 * rms if i else rms, times=4 if i else 2)
