"""Group norm over a sample, fused."""

import pytest
import torch
from oracle import FusedOps, assert_fused, leaf, reference_of, run
from torch import Tensor

from fastvd import kernels
from fastvd.kernels import launch
from fastvd.kernels.group_norm import group_norm

OP = "group_norm_act"
SHAPES = {
    "even": (2, 4, 4, 4, 64, 8),
    "odd": (3, 5, 3, 1, 96, 32),
    "one row": (1, 1, 1, 1, 320, 32),
    "narrow": (2, 3, 17, 9, 20, 4),
}
"""[B, T, H, W, C] and groups."""
ORDERS = {
    "conv-norm-act": {"act": True, "pre_act": False},
    "conv-act-norm": {"act": False, "pre_act": True},
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple[int, ...]:
    return request.param


@pytest.fixture(params=ORDERS.values(), ids=ORDERS)
def order(request) -> dict[str, bool]:
    return request.param


@pytest.fixture
def many_parts(monkeypatch) -> None:
    """A sample is shared by several programs, as on a GPU."""
    monkeypatch.setattr(launch, "INTERPRETED_PROCESSORS", 2)


def film_of(b: int, c: int) -> tuple[Tensor, Tensor]:
    """Both halves of one projection."""
    return leaf(b, 2 * c).chunk(2, dim=1)


def test_with_everything(shape, dtype, order):
    *size, c, groups = shape
    affine, film = (leaf(c), leaf(c)), film_of(size[0], c)
    options = {"conv_bias": leaf(c), "residual": leaf(*size, c), "groups": groups, **order}
    assert_fused(OP, dtype, leaf(*size, c), affine, film, **options)


@pytest.mark.parametrize("groups", [1, 5, 20])
def test_bare(dtype, groups):
    assert_fused(OP, dtype, leaf(1, 3, 5, 3, 20), groups=groups)


@pytest.mark.parametrize("has_film", [True, False], ids=["film", "affine"])
def test_either_film_or_affine(dtype, order, has_film):
    film, affine = (film_of(1, 32), None) if has_film else (None, (leaf(32), None))
    assert_fused(OP, dtype, leaf(1, 2, 3, 3, 32), affine, film, groups=8, **order)


def test_parts_of_a_sample(dtype, order, many_parts):
    # three tiles of 256 rows, the last of them ragged, in two parts
    x = leaf(2, 3, 31, 7, 32)
    options = {"groups": 8, "conv_bias": leaf(32), **order}
    assert_fused(OP, dtype, x, (leaf(32), leaf(32)), film_of(2, 32), **options)


def test_far_from_zero(dtype, order, many_parts):
    x = leaf(1, 2, 31, 7, 32, offset=1e3)
    assert_fused(OP, dtype, x, (leaf(32), leaf(32)), groups=4, **order)


def test_a_first_row_far_from_the_others():
    x = leaf(1, 2, 3, 6, 16, offset=1e3)
    x[:, 0, 0, 0] = -1e3
    assert_fused(OP, torch.float32, x, groups=4, act=False)


def test_no_variance(dtype, order):
    x = torch.full((1, 2, 2, 2, 32), 3.0, dtype=torch.float64)
    assert_fused(OP, dtype, x, (leaf(32), leaf(32)), groups=8, **order)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_spreads_as_in_the_reference(bad, order, many_parts):
    x, weight, film = torch.randn(2, 2, 31, 7, 32), torch.randn(32), torch.randn(2, 32)
    x[1, 1, 3, 2, 9] = bad
    args = (x, (weight, weight), (film, film))
    got, wanted = (
        op(*args, groups=4, **order) for op in (kernels.group_norm_act, reference_of(OP))
    )
    assert wanted[1, ..., 8:16].isnan().all()
    torch.testing.assert_close(got, wanted, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_eager_twin_equals_the_reference(shape, order):
    *size, c, groups = shape
    args = (leaf(*size, c), (leaf(c), None), film_of(size[0], c))
    options = {"conv_bias": leaf(c), "residual": leaf(*size, c), "groups": groups, **order}
    probe = torch.randn(*size, c, dtype=torch.float64)
    with FusedOps() as ops:
        got = run(kernels.group_norm_act, torch.float64, probe, args, options)
    assert not ops.called
    torch.testing.assert_close(got, run(reference_of(OP), torch.float64, probe, args, options))


def test_bias_of_channels_that_are_groups():
    # the norm takes the bias out again: all that is left of its gradient is rounding
    x, bias = torch.randn(2, 3, 5, 3, 16), torch.randn(16, requires_grad=True)
    y = kernels.group_norm_act(x, groups=16, conv_bias=bias)
    (gradient,) = torch.autograd.grad(y, bias, torch.randn_like(y))
    assert gradient.abs().max() < 1e-5


def test_any_layout():
    x, weight, film = torch.randn(2, 64, 3, 4, 5), torch.randn(128)[::2], torch.randn(64, 2).t()
    for view in (x.movedim(1, -1), x[..., :1].expand(-1, -1, -1, -1, 5).movedim(1, -1)):
        args, options = (view, (weight, weight), (film, film)), {"groups": 8, "residual": view}
        got = kernels.group_norm_act(*args, **options)
        torch.testing.assert_close(got, reference_of(OP)(*args, **options))


@pytest.mark.parametrize("size", [(0, 2, 3), (2, 0, 3)], ids=["batch", "frames"])
def test_nothing_at_all(size, order):
    x = torch.randn(*size, 8, requires_grad=True)
    weight, bias = torch.ones(8, requires_grad=True), torch.ones(8, requires_grad=True)
    y = kernels.group_norm_act(x, (weight, None), groups=2, conv_bias=bias, **order)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not weight.grad.any()
    assert not bias.grad.any()


def test_weights_of_another_dtype(order):
    x, weight = torch.randn(2, 3, 64), torch.randn(64, requires_grad=True)
    film = torch.randn(2, 64, requires_grad=True)
    options = {"groups": 8, "conv_bias": weight, **order}
    y = kernels.group_norm_act(x.bfloat16(), (weight, weight), (film, film.bfloat16()), **options)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert weight.grad.dtype == film.grad.dtype == torch.float32
    wanted = kernels.group_norm_act(x, (weight, weight), (film, film), **options)
    torch.testing.assert_close(y.float(), wanted, rtol=5e-2, atol=5e-2)


def arguments(*, act: bool, pre_act: bool, dtype=torch.float32) -> tuple:
    """What the op takes, everything given."""
    x, residual = (torch.randn(1, 3, 2, 6, dtype=dtype) for _ in "ab")
    per_channel = [torch.randn(6, dtype=dtype) for _ in "cwb"]
    film = torch.randn(1, 12, dtype=dtype).chunk(2, dim=1)
    tensors = [t.detach().requires_grad_() for t in (x, *per_channel, *film, residual)]
    return *tensors, 3, act, pre_act, 1e-5


def test_gradients_in_float64(order):
    *tensors, groups, act, pre_act, eps = arguments(**order, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *t: group_norm(*t, groups, act, pre_act, eps)[0], tensors, fast_mode=True
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of opcheck's own views
@pytest.mark.parametrize("mixed", [False, True], ids=["all", "film alone, in float32"])
def test_the_op_is_registered_well(mixed):
    x, *args = arguments(act=not mixed, pre_act=mixed)
    if mixed:
        x, args[:3] = x.detach().bfloat16().requires_grad_(), [None] * 3
    torch.library.opcheck(group_norm.custom, (x, *args))


def test_compiles_whole(order):
    def block(x, weight, scale, shift):
        options = {"groups": 2, "residual": x, "conv_bias": weight, **order}
        return kernels.group_norm_act(x, (weight, weight), (scale, shift), **options) * 2

    x, weight = torch.randn(2, 3, 8, requires_grad=True), torch.randn(8, requires_grad=True)
    film = torch.randn(2, 16).chunk(2, dim=1)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    got, wanted = compiled(x, weight, *film), block(x, weight, *film)
    assert torch.equal(got, wanted)
    a, b = (torch.autograd.grad(y.sum(), (x, weight)) for y in (got, wanted))
    assert all(map(torch.equal, a, b))


def test_autocast_leaves_the_dtype():
    x, film = torch.randn(1, 2, 3, 3, 16), torch.randn(1, 16)
    with torch.autocast(x.device.type, torch.bfloat16):
        got = kernels.group_norm_act(x.bfloat16(), None, (film, film), groups=4)
    assert got.dtype == torch.bfloat16


@pytest.mark.parametrize("is_eager", [False, True])
def test_wrong_tensors_are_refused(is_eager):
    if is_eager:
        with kernels.eager():
            assert_refused()
    else:
        assert_refused()


def assert_refused() -> None:
    x = torch.ones(2, 3, 6)
    for groups in (0, 4, -2, 12):
        with pytest.raises(ValueError, match=f"divide the 6 channels, got {groups}"):
            kernels.group_norm_act(x, groups=groups)
    with pytest.raises(ValueError, match=r"takes conv_bias \[6\], got \[4\]"):
        kernels.group_norm_act(x, groups=2, conv_bias=torch.ones(4))
    with pytest.raises(ValueError, match=r"takes bias \[6\], got \[1, 6\]"):
        kernels.group_norm_act(x, (torch.ones(6), torch.ones(1, 6)), groups=2)
    with pytest.raises(ValueError, match=r"takes scale \[2, 6\], got \[6\]"):
        kernels.group_norm_act(x, None, (torch.ones(6), torch.ones(6)), groups=2)
    with pytest.raises(ValueError, match=r"takes residual \[2, 3, 6\], got \[2, 6\]"):
        kernels.group_norm_act(x, groups=2, residual=torch.ones(2, 6))
    with pytest.raises(ValueError, match=r"x \[B, ..., C\], got \[6\]"):
        kernels.group_norm_act(torch.ones(6), groups=2)
    with pytest.raises(ValueError, match=r"one device, got \S+, meta"):
        kernels.group_norm_act(x, groups=2, conv_bias=torch.ones(6, device="meta"))


def test_groups_of_too_many_channels_are_eager():
    with FusedOps() as ops:
        kernels.group_norm_act(torch.ones(1, 2, 2049), groups=1)
    assert not ops.called
