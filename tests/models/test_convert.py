import warnings

import pytest
import torch

from fastvd.models import VideoUNet, from_lucidrains

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from video_diffusion_pytorch import Unet3D

MULTS = {16: (1, 2), 32: (1, 2, 4), 64: (1, 2, 4, 8)}
FOCUS = {"none": None, "all": [True, True], "one": [False, True]}


def twins(dim: int, cond_dim: int | None = None) -> tuple[torch.nn.Module, VideoUNet]:
    torch.manual_seed(dim)
    theirs = Unet3D(dim=dim, cond_dim=cond_dim, dim_mults=MULTS[dim])
    return theirs, from_lucidrains(theirs.state_dict())


def inputs(frames: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(2, 3, frames, 8, 8, generator=generator), torch.tensor([20, 900])


@pytest.mark.parametrize(
    ("dim", "cond_dim", "focus"),
    [(32, None, "all"), (32, 6, "one"), (32, 6, "none"), (64, None, "none"), (64, 6, "one")],
)
def test_outputs_equal_lucidrains(dim, cond_dim, focus):
    theirs, ours = twins(dim, cond_dim)
    x, t = inputs()
    cond = None if cond_dim is None else torch.linspace(-1, 1, 2 * cond_dim).view(2, -1)
    focus = None if FOCUS[focus] is None else torch.tensor(FOCUS[focus])
    with torch.no_grad():
        wanted = theirs(x, t, cond=cond, focus_present_mask=focus)
        got = ours(x, t, cond=cond, focus_present=focus)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 3, 11, 40])
def test_any_frame_count_equals_lucidrains(frames):
    theirs, ours = twins(16)
    x, t = inputs(frames)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), theirs(x, t), rtol=0, atol=1e-5)


def test_null_cond_and_cond_scale_equal_lucidrains():
    theirs, ours = twins(16, cond_dim=6)
    x, t = inputs()
    cond = torch.linspace(-1, 1, 12).view(2, 6)
    with torch.no_grad():
        null = theirs(x, t, cond=cond, null_cond_prob=1.0)
        scaled = theirs.forward_with_cond_scale(x, t, cond=cond, cond_scale=3.0)
        ours_null, ours_cond = ours(x, t), ours(x, t, cond=cond)
        dropped = ours(x, t, cond=cond, drop_cond=torch.tensor([True, False]))
    torch.testing.assert_close(ours_null, null, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours_null + 3 * (ours_cond - ours_null), scaled, rtol=0, atol=3e-5)
    assert (dropped[0] - ours_null[0]).abs().max() < 1e-5
    assert (dropped[1] - ours_cond[1]).abs().max() < 1e-5


@pytest.mark.parametrize("dim", [16, 32])
def test_gradients_equal_lucidrains(dim):
    theirs, ours = twins(dim)
    x, t = inputs()
    for network in (theirs, ours):
        (network(x, t) - x).square().mean().backward()
    gradients = {k: p.grad for k, p in theirs.named_parameters() if p.grad is not None}
    # read through the converter: equal layout, equal names
    for parameter in theirs.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    wanted = dict(from_lucidrains(theirs.state_dict()).named_parameters())
    assert len(gradients) == len(wanted)
    for name, parameter in ours.named_parameters():
        error = (parameter.grad - wanted[name]).norm() / wanted[name].norm()
        assert error < 1e-5, f"{name}: {error}"


def test_dim_64_has_their_parameters_but_for_16_constant_angles():
    theirs, ours = twins(64)
    assert sum(p.numel() for p in theirs.parameters()) == 35_706_259
    assert sum(p.numel() for p in ours.parameters()) == 35_706_259 - 16


def test_unusual_arguments_are_read_off_the_tensors():
    torch.manual_seed(0)
    theirs = Unet3D(
        dim=16, channels=1, out_dim=2, dim_mults=(1, 3), attn_heads=2, attn_dim_head=16,
        init_kernel_size=3, use_sparse_linear_attn=False,
    )  # fmt: skip
    ours = from_lucidrains({f"denoise_fn.{k}": v for k, v in theirs.state_dict().items()})
    x = torch.randn(1, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = theirs(x, torch.tensor([5]))
        torch.testing.assert_close(ours(x, torch.tensor([5])), wanted, rtol=0, atol=1e-5)


def test_wrong_state_dicts_are_refused():
    state = Unet3D(dim=16, dim_mults=(1, 2)).state_dict()
    with pytest.raises(ValueError, match=r"not the state dict of a Unet3D.*init_conv.weight"):
        from_lucidrains({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"lacks what becomes middle.block1.block2.conv.bias"):
        from_lucidrains({k: v for k, v in state.items() if k != "mid_block1.block2.proj.bias"})
    with pytest.raises(ValueError, match="not tensors of a Unet3D: extra"):
        from_lucidrains(state | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"mid_block1.block2.proj.bias must hold \[32\]"):
        from_lucidrains(state | {"mid_block1.block2.proj.bias": torch.zeros(3)})
