"""RMS and layer norm over channels, fused."""

import pytest
import torch
from oracle import assert_fused, leaf, reference_of

from fastvd import kernels
from fastvd.kernels.row_norm import row_norm

SHAPES = {
    "even": (2, 4, 4, 4, 64),
    "odd": (3, 5, 3, 1, 96),
    "one row": (1, 1, 1, 1, 320),
    "narrow": (2, 3, 17, 9, 6),
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple[int, ...]:
    return request.param


def film_of(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Both halves of one projection."""
    return leaf(shape[0], 2 * shape[-1]).chunk(2, dim=1)


@pytest.mark.parametrize("act", [True, False], ids=["act", "no act"])
def test_rms_norm_act(shape, dtype, act):
    assert_fused("rms_norm_act", dtype, leaf(*shape), leaf(shape[-1]), film_of(shape), act=act)


def test_rms_norm_bare(shape, dtype):
    assert_fused("rms_norm_act", dtype, leaf(*shape), leaf(shape[-1]), residual=leaf(*shape))


@pytest.mark.parametrize("act", [True, False], ids=["act", "no act"])
def test_layer_norm_act(shape, dtype, act):
    affine = (leaf(shape[-1]), leaf(shape[-1]))
    assert_fused("layer_norm_act", dtype, leaf(*shape), affine, film_of(shape), act=act)


def test_layer_norm_bare(shape, dtype):
    assert_fused(
        "layer_norm_act", dtype, leaf(*shape), (leaf(shape[-1]), None), residual=leaf(*shape)
    )


def test_conv_bias(dtype):
    x, weight = leaf(2, 3, 5, 3, 8), leaf(6, 8, 3, 3)
    options = {"norm_weight": leaf(6), "film": film_of((2, 6)), "residual": leaf(2, 3, 5, 3, 6)}
    assert_fused("conv_norm_act", dtype, x, weight, leaf(6), **options)


@pytest.mark.parametrize("op", ["rms_norm_act", "layer_norm_act"])
def test_far_from_zero(op, dtype):
    x, weight = leaf(2, 2, 3, 3, 64, offset=1e3), leaf(64)
    assert_fused(op, dtype, x, weight if op == "rms_norm_act" else (weight, leaf(64)))


def test_rows_without_variance(dtype):
    x = torch.full((1, 2, 2, 2, 32), 3.0, dtype=torch.float64)
    assert_fused("layer_norm_act", dtype, x, (leaf(32), leaf(32)))
    if dtype != torch.float16:  # the gradient is 1 / eps
        assert_fused("rms_norm_act", dtype, torch.zeros_like(x), leaf(32), film_of((1, 32)))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_spreads_as_in_the_reference(bad):
    x = torch.randn(1, 1, 1, 4, 16)
    x[0, 0, 0, 1, 3] = bad
    weight = torch.randn(16)
    for op, args in (("rms_norm_act", weight), ("layer_norm_act", (weight, weight))):
        got, wanted = getattr(kernels, op)(x, args), reference_of(op)(x, args)
        torch.testing.assert_close(got, wanted, equal_nan=True)


def test_any_layout():
    x = torch.randn(2, 64, 3, 4, 5)
    film, weight = torch.randn(2, 64), torch.randn(128)[::2]
    for view in (x.movedim(1, -1), x[..., :1].expand(-1, -1, -1, -1, 5).movedim(1, -1)):
        got = kernels.rms_norm_act(view, weight, (film, film), residual=view)
        wanted = reference_of("rms_norm_act")(view, weight, (film, film), residual=view)
        torch.testing.assert_close(got, wanted)


def test_an_empty_batch():
    x = torch.randn(0, 2, 3, 3, 8, requires_grad=True)
    weight = torch.ones(8, requires_grad=True)
    kernels.rms_norm_act(x, weight).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert not weight.grad.any()


def test_weights_of_another_dtype():
    x, weight = torch.randn(2, 3, 64), torch.randn(64, requires_grad=True)
    y = kernels.rms_norm_act(x.bfloat16(), weight)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), kernels.rms_norm_act(x, weight), rtol=2e-2, atol=2e-2)


def arguments(*, centered: bool, dtype=torch.float32) -> tuple:
    """What the op takes, everything given."""
    x, residual = (torch.randn(2, 3, 2, 6, dtype=dtype) for _ in "ab")
    per_channel = [torch.randn(6, dtype=dtype) for _ in "cwb"]
    film = torch.randn(2, 12, dtype=dtype).chunk(2, dim=1)
    tensors = [t.detach().requires_grad_() for t in (x, *per_channel, *film, residual)]
    return *tensors, centered, True, 1e-5


@pytest.mark.parametrize("centered", [False, True])
def test_gradients_in_float64(centered):
    *tensors, centered, act, eps = arguments(centered=centered, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *t: row_norm(*t, centered, act, eps), tensors, fast_mode=True
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of opcheck's own views
@pytest.mark.parametrize("centered", [False, True])
def test_the_op_is_registered_well(centered):
    torch.library.opcheck(row_norm.custom, arguments(centered=centered))


def test_compiles_whole():
    def block(x, weight, scale, shift):
        return kernels.rms_norm_act(x, weight, (scale, shift), residual=x) * 2

    x, weight = torch.randn(2, 3, 8, requires_grad=True), torch.randn(8, requires_grad=True)
    film = torch.randn(2, 16).chunk(2, dim=1)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    got, wanted = compiled(x, weight, *film), block(x, weight, *film)
    assert torch.equal(got, wanted)
    a, b = (torch.autograd.grad(y.sum(), (x, weight)) for y in (got, wanted))
    assert all(map(torch.equal, a, b))
