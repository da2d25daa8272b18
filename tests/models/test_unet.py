import dataclasses

import numpy as np
import pytest
import torch

from fastvd.kernels import dispatch
from fastvd.models import VideoUNet, VideoUNetConfig

SMALL = VideoUNetConfig(
    dim=8, mults=(1, 2), attention=("linear", "none"), heads=2, head_dim=4, temporal_head_dim=4
)
OPTIONS = {
    "vdm": {},
    "plain": {"layout": "plain"},
    "wide": {"layout": "wide"},
    "conv-act-norm": {"block": "conv-act-norm"},
    "norm-act-conv": {"block": "norm-act-conv"},
    "group": {"norm": "group", "groups": 4},
    "group first": {"norm": "group", "groups": 4, "block": "norm-act-conv"},
    "layer": {"norm": "layer"},
    "film in both": {"film": "both"},
    "group film in both": {"film": "both", "norm": "group", "groups": 4, "block": "conv-act-norm"},
    "full and space-time": {"attention": ("full", "space_time"), "mid_attention": "none"},
    "linear middle": {"mid_attention": "linear"},
    "wide head": {"head_dim": 300, "heads": 1, "attention": ("space_time", "none")},
    "heads that fill": {"heads": None, "relative_bias": False},
    "head width that fills": {"head_dim": None, "temporal_head_dim": None},
    "temporal convolution": {"temporal_conv": True},
    "no temporal attention": {"temporal_attention": False},
    "no rotary": {"rotary": False},
    "no bias": {"relative_bias": False},
    "frame embedding": {"frame_embedding": 2, "rotary": False, "relative_bias": False},
    "patch": {"patch_size": 2},
    "stem": {"stem_kernel": 3},
    "blocks": {"blocks_down": 1, "blocks_up": 3, "attend_every_block": True},
    "time": {"time_layers": 4, "time_dim": 12, "time_features": 10},
    "tanh": {"tanh": True},
    "cond": {"cond_dim": 5},
    "channels": {"in_channels": 5, "out_channels": 2},
}


def network(**changes) -> VideoUNet:
    torch.manual_seed(0)
    return VideoUNet(dataclasses.replace(SMALL, **changes))


def wake(net: VideoUNet) -> VideoUNet:
    """Fill what starts at zero, so that every part shows in the output."""
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def clips(batch: int = 2, channels: int = 3, frames: int = 3, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, frames, size, size, generator=generator)


T = torch.tensor([10.0, 900.0])


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_every_option_trains_every_parameter(changes):
    net = wake(network(**changes))
    config = net.config
    x = clips(channels=config.in_channels)
    cond = None if config.cond_dim is None else torch.ones(2, config.cond_dim)
    drop = None if cond is None else torch.tensor([True, False])
    y = net(x, T, cond=cond, drop_cond=drop)
    assert y.shape == (2, config.out_channels or config.in_channels, 3, 8, 8)
    (y - 1).square().mean().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("changes", [{}, {"frame_embedding": 4, "layout": "plain"}])
def test_other_frame_counts_are_accepted(frames, changes):
    assert wake(network(**changes))(clips(frames=frames), T).shape[2] == frames


@pytest.mark.parametrize("layout", ["vdm", "plain", "wide"])
def test_checkpointing_changes_nothing(layout):
    results = []
    for keep in (False, True):
        net = wake(network(layout=layout, gradient_checkpointing=keep, temporal_conv=True))
        net(clips(), T).square().mean().backward()
        results.append([p.grad for p in net.parameters()])
    for kept, recomputed in zip(*results, strict=True):
        assert torch.equal(kept, recomputed)


def test_checkpointing_keeps_fewer_activations():
    kept = []
    for recompute in (False, True):
        net, sizes = network(gradient_checkpointing=recompute), []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        )
        with hooks:
            net(clips(), T)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize(
    "changes",
    [{"temporal_conv": True}, {"attention": ("space_time", "space_time")}],
    ids=["temporal", "space-time"],
)
def test_focused_samples_do_not_see_other_frames(changes):
    net = wake(network(layout="plain", **changes))
    x, focus = clips(), torch.tensor([True, False])
    changed = x.clone()
    changed[:, :, 2] += 1
    with torch.no_grad():
        before = net(x, T, focus_present=focus)
        after = net(changed, T, focus_present=focus)
    moved = (after - before).abs().amax(dim=(1, 3, 4))  # [B, T]
    assert moved[0, :2].max() < 1e-6
    assert moved[1, :2].min() > 1e-5
    assert moved[:, 2].min() > 1e-3


def test_frames_in_space_alone_do_not_mix():
    net = wake(network(temporal_attention=False))
    x = clips()
    alone = net(x[:, :, 1:2], T)
    torch.testing.assert_close(net(x, T)[:, :, 1:2], alone, rtol=1e-5, atol=1e-5)


def test_equal_seeds_give_equal_outputs():
    x = clips()
    assert torch.equal(wake(network())(x, T), wake(network())(x, T))


def test_integer_and_float_timesteps_agree():
    net = network()
    assert torch.equal(net(clips(), T), net(clips(), T.long()))


def test_plain_layout_starts_at_zero():
    assert not network(layout="plain")(clips(), T).any()


def test_autocast_stays_close():
    net, x = wake(network(temporal_conv=True)), clips()
    with torch.no_grad():
        exact = net(x, T)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = net(x, T)
    assert (rough - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize(
    ("weights", "given", "autocast"),
    [
        (torch.bfloat16, torch.bfloat16, False),
        (torch.float64, torch.float64, True),
        (torch.float32, torch.float16, True),
        (torch.bfloat16, torch.float32, True),
    ],
)
@torch.no_grad()
def test_clips_of_the_weights_dtype_and_those_that_autocast_casts_are_taken(
    weights, given, autocast
):
    net = wake(network()).to(weights)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert net(clips().to(given), T).isfinite().all()


BAD = {
    "channels": ({"x": clips(channels=4)}, r"x must be \[B, 3, T, H, W\], got \[2, 4, 3, 8, 8\]"),
    "no clips": ({"x": clips(0)}, r"x must not be empty, got \[0, 3, 3, 8, 8\]"),
    "no frames": ({"x": clips(frames=0)}, r"x must not be empty, got \[2, 3, 0, 8, 8\]"),
    "frames": ({"x": clips(frames=65)}, "temporal attention takes up to 64 frames, got 65"),
    "size": ({"x": clips(size=7)}, "height and width must be multiples of 2, got 7 x 7"),
    "bytes": ({"x": clips().byte()}, r"x must be floating, -1\.\.1, got torch.uint8"),
    "half": ({"x": clips().half()}, "x is torch.float16, the weights are torch.float32: .* auto"),
    "double": ({"x": clips().double()}, "x is torch.float64, the weights are torch.float32"),
    "device": ({"x": clips().to("meta")}, "x lies on meta, the weights on"),
    "t of 3": ({"t": torch.ones(3)}, r"t must be \[2\], got \[3\]"),
    "t of 1": ({"t": torch.ones(1)}, r"t must be \[2\], got \[1\]"),
    "t of none": ({"t": torch.tensor(1.0)}, r"t must be \[2\], got \[\]"),
    "t of truths": ({"t": T > 10}, "t must be real numbers, got torch.bool"),
    "t elsewhere": ({"t": T.to("meta")}, "t lies on meta, x on"),
    "cond": ({"cond": torch.ones(2, 9)}, r"cond must be None, got \[2, 9\]"),
    "focus of 1": ({"focus_present": T[:1] > 0}, r"focus_present must be \[2\], got \[1\]"),
    "focus of numbers": ({"focus_present": T}, "focus_present must be bool, got torch.float32"),
    "drop of numbers": ({"drop_cond": T.long()}, "drop_cond must be bool, got torch.int64"),
}


@pytest.mark.parametrize("path", ["eager", "fused"])
@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_a_tensor_that_does_not_fit_is_named(monkeypatch, bad, message, path):
    monkeypatch.setattr(dispatch, "_open_blocks", int(path == "eager"))
    arguments = {"x": clips(), "t": T} | bad
    with pytest.raises(ValueError, match=message):
        network()(arguments.pop("x"), arguments.pop("t"), **arguments)


def test_autocast_takes_no_double_and_no_whole_numbers():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for x in (clips().double(), clips().long()):
            with pytest.raises(ValueError, match=f"x .*{x.dtype}"):
                network()(x, T)


@pytest.mark.parametrize("name", ["x", "t", "cond", "drop_cond", "focus_present"])
def test_what_is_no_tensor_is_named(name):
    arguments = {"x": clips(), "t": T} | {name: np.ones(2)}
    with pytest.raises(
        TypeError, match=rf"^{name} must be a torch.Tensor, got array\(\[1., 1.\]\)"
    ):
        network()(arguments.pop("x"), arguments.pop("t"), **arguments)
