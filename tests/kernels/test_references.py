"""Each op equals its reference, in the output and in every gradient."""

import importlib

import pytest
import torch
from torch import Tensor

from fastvd import kernels

SHAPES = {
    "even": (2, 4, 4, 4, 8),
    "odd": (3, 5, 3, 1, 6),
    "one row": (1, 1, 1, 1, 4),
    # 2048 pixels, which temporal attention multiplies in two pieces
    "pieces": (2, 2, 32, 32, 4),
}


def reference(op: str):
    return importlib.import_module(f"fastvd.kernels.{op}").reference


def leaf(*shape: int, offset: float = 0.0) -> Tensor:
    return (torch.randn(shape, dtype=torch.float64) + offset).requires_grad_()


def assert_equal(op: str, *tensors, **options) -> None:
    """Outputs and gradients of op and reference agree in float64."""
    leaves = [x for x in torch.utils._pytree.tree_leaves((tensors, options)) if needs_grad(x)]
    wanted = reference(op)(*tensors, **options)
    got = getattr(kernels, op)(*tensors, **options)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
    probe = torch.randn_like(wanted)
    for a, b in zip(
        torch.autograd.grad(got, leaves, probe),
        torch.autograd.grad(wanted, leaves, probe),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def needs_grad(x: object) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple[int, ...]:
    return request.param


@pytest.mark.parametrize("act", [True, False], ids=["act", "no act"])
@pytest.mark.parametrize("has_film", [True, False], ids=["film", "bare"])
def test_rms_norm_act(shape, has_film, act):
    b, c = shape[0], shape[-1]
    film = (leaf(b, c), leaf(b, c)) if has_film else None
    assert_equal("rms_norm_act", leaf(*shape), leaf(c), film, act=act)


@pytest.mark.parametrize("has_film", [True, False], ids=["film", "bare"])
def test_layer_norm_act(shape, has_film):
    b, c = shape[0], shape[-1]
    film = (leaf(b, c), leaf(b, c)) if has_film else None
    assert_equal("layer_norm_act", leaf(*shape), (leaf(c), leaf(c)), film)


@pytest.mark.parametrize("has_affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("groups", [1, 2])
def test_group_norm_act(shape, groups, has_affine):
    b, c = shape[0], shape[-1]
    affine = (leaf(c), leaf(c)) if has_affine else None
    film = (leaf(b, c), leaf(b, c))
    assert_equal("group_norm_act", leaf(*shape), affine, film, groups=groups)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_conv_norm_act(shape, kernel):
    b, c = shape[0], shape[-1]
    weight, film = leaf(5, c, kernel, kernel), (leaf(b, 5), leaf(b, 5))
    assert_equal("conv_norm_act", leaf(*shape), weight, leaf(5), norm_weight=leaf(5), film=film)


@pytest.mark.parametrize("norm", ["rms", "layer", "group"])
@pytest.mark.parametrize("pre_act", [True, False], ids=["act first", "norm first"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (3, 3, 1)])
def test_conv_norm_act_in_every_form(norm, pre_act, stride, kernel):
    x, weight = leaf(2, 3, 5, 4, 6), leaf(8, 6, *kernel)
    options = {"norm": norm, "groups": 2, "norm_weight": leaf(8), "act": not pre_act}
    if norm != "rms":
        options["norm_bias"] = leaf(8)
    residual = leaf(2, 3, -(-5 // stride), 4 // stride, 8)
    options |= {"pre_act": pre_act, "stride": stride, "residual": residual}
    assert_equal("conv_norm_act", x, weight, leaf(8), **options)


@pytest.mark.parametrize("heads", [1, 3])
def test_linear_attention(shape, heads):
    c, wide = shape[-1], 4 * heads
    out = (leaf(c, wide), leaf(c))
    assert_equal("linear_attention", leaf(*shape), leaf(c), leaf(3 * wide, c), out=out, heads=heads)


@pytest.mark.parametrize("head_dim", [4, 10], ids=["narrow head", "wide head"])
@pytest.mark.parametrize("focus", [None, "some", "all"])
@pytest.mark.parametrize("positions", [True, False], ids=["positions", "no positions"])
def test_temporal_attention(shape, head_dim, focus, positions):
    b, t, c, heads = shape[0], shape[1], shape[-1], 2
    options: dict[str, object] = {"heads": heads}
    if positions:
        options |= {"angles": torch.randn(t, 2), "bias": leaf(heads, t, t), "frames": leaf(t, c)}
    if focus:
        options["focus_present"] = torch.arange(b) >= (1 if focus == "some" else 0)
    weights = (leaf(c), leaf(3 * heads * head_dim, c), leaf(c, heads * head_dim))
    assert_equal("temporal_attention", leaf(*shape), *weights, **options)


def test_large_scores_stay_finite():
    x = 100 * torch.randn(1, 3, 2, 2, 4)
    qkv, out = 100 * torch.randn(24, 4), torch.randn(4, 8)
    assert kernels.temporal_attention(x, torch.ones(4), qkv, out, heads=2).isfinite().all()
    bias = (out, torch.zeros(4))
    assert kernels.linear_attention(x, torch.ones(4), qkv, out=bias, heads=2).isfinite().all()


def test_a_row_of_zeros_stays_zero():
    assert not kernels.rms_norm_act(torch.zeros(1, 2, 4), torch.ones(4)).any()


def test_wrong_sizes_are_named():
    x = torch.zeros(1, 2, 2, 2, 6)
    with pytest.raises(ValueError, match=r"takes weight \[6\], got \[4\]"):
        kernels.rms_norm_act(x, torch.ones(4))
    with pytest.raises(ValueError, match="groups that divide the 6 channels, got 4"):
        kernels.group_norm_act(x, groups=4)
    with pytest.raises(ValueError, match=r"takes x \[B, T, H, W, 5\], got"):
        kernels.conv_norm_act(x, torch.ones(2, 5, 3, 3), torch.ones(2), norm_weight=torch.ones(2))
    norm, qkv, out = torch.ones(6), torch.ones(24, 6), torch.ones(6, 8)
    with pytest.raises(ValueError, match=r"qkv_weight \[3 \* 3 heads \* D, C\], got \[24, 6\]"):
        kernels.temporal_attention(x, norm, qkv, out, heads=3)
    with pytest.raises(ValueError, match=r"qkv_weight \[3 \* 3 heads \* D, C\], got \[24, 6\]"):
        kernels.linear_attention(x, norm, qkv, out=(out, norm), heads=3)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("clip", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_mixed_dtypes_keep_the_clips(clip, weights):
    """As on a GPU, and of use in a network whose weights are float32."""

    def random(*shape):
        return (torch.randn(shape) * shape[-1] ** -0.5).to(weights)

    x, gain, film = torch.randn(2, 2, 3, 3, 16).to(clip), random(16), (random(2, 16),) * 2
    qkv, out = random(48, 16), random(16, 16)
    with kernels.eager():
        outputs = [
            kernels.rms_norm_act(x, gain, film, residual=x),
            kernels.layer_norm_act(x, (gain, gain), film),
            kernels.group_norm_act(x, (gain, gain), film, groups=4),
            kernels.linear_attention(x, gain, qkv, out=(out, gain), heads=1),
            kernels.temporal_attention(x, gain, qkv, out, heads=1, angles=torch.ones(2, 4)),
        ]
    assert {y.dtype for y in outputs} == {clip}
    assert all(y.isfinite().all() for y in outputs)


def test_rows_of_float16_may_be_zero_or_long():
    rows = torch.tensor([[0.0] * 16, [30000.0] * 16], dtype=torch.float16)
    with kernels.eager():
        y = kernels.rms_norm_act(rows, torch.ones(16, dtype=torch.float16), act=False)
    assert y.tolist() == [[0.0] * 16, [1.0] * 16]


def test_sums_over_rows_of_bfloat16_are_exact_enough():
    x, dy = torch.randn(2, 4, 32, 32, 32).bfloat16(), torch.randn(2, 4, 32, 32, 32).bfloat16()
    gains = []
    for dtype in (torch.bfloat16, torch.float64):
        gain = torch.ones(32, dtype=dtype, requires_grad=True)
        with kernels.eager():
            kernels.layer_norm_act(x.to(dtype), (gain, None)).backward(dy.to(dtype))
        gains.append(gain.grad.double())
    assert (gains[0] - gains[1]).abs().max() <= 1e-2 * gains[1].abs().max()


def test_second_derivatives():
    x, weight = leaf(1, 1, 2, 2, 8), leaf(8)
    with kernels.eager():
        assert torch.autograd.gradgradcheck(kernels.rms_norm_act, (x, weight), fast_mode=True)
