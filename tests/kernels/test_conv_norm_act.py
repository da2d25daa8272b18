"""Convolution and norm in one kernel, and what else ``conv_norm_act`` may run as."""

from functools import partial

import pytest
import torch
from oracle import FusedOps, assert_fused, leaf, reference_of
from torch import Tensor

from fastvd import kernels
from fastvd.kernels import conv_choice, conv_group_norm, launch
from fastvd.kernels.conv_row_norm import conv_row_norm

OP = "conv_norm_act"
SHAPES = {
    "even": ((2, 1, 6, 10, 32), (64, 32, 3, 3), 1),
    "odd, several tiles": ((1, 1, 17, 9, 20), (24, 20, 3, 3), 1),
    "stride": ((2, 2, 7, 4, 16), (32, 16, 3, 3), 2),
    "time": ((1, 5, 3, 3, 24), (40, 24, 3, 1, 1), 1),
    "one pixel": ((2, 1, 1, 1, 3), (8, 3, 1, 1, 1), 1),
    "volume": ((1, 2, 2, 3, 80), (16, 80, 3, 1, 3), 1),
}
"""x, weight and stride."""
ORDERS = {
    "conv-norm-act": {"act": True, "pre_act": False},
    "conv-act-norm": {"act": False, "pre_act": True},
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple:
    return request.param


@pytest.fixture(params=ORDERS.values(), ids=ORDERS)
def order(request) -> dict[str, bool]:
    return request.param


@pytest.fixture
def gemm(monkeypatch) -> None:
    """The op is the implicit matrix product."""
    monkeypatch.setattr(kernels, OP, partial(kernels.conv_norm_act, implementation="gemm"))


def film_of(b: int, c: int) -> tuple[Tensor, Tensor]:
    """Both halves of one projection."""
    return leaf(b, 2 * c).chunk(2, dim=1)


def everything(shape: tuple) -> tuple[tuple[Tensor, ...], dict]:
    """Tensors and options of the op, a norm's bias apart."""
    x, (c, *kernel), stride = shape
    b, t, h, w, _ = x
    size = (b, t, -(-h // stride), -(-w // stride), c)
    tensors = (leaf(*x), leaf(c, *kernel, scale=(3 * x[-1]) ** -0.5), leaf(c))
    rest = {"norm_weight": leaf(c), "film": film_of(b, c), "residual": leaf(*size)}
    return tensors, {**rest, "stride": stride}


def test_rms_norm(shape, dtype, gemm):
    tensors, options = everything(shape)
    assert_fused(OP, dtype, *tensors, **options)


def test_group_norm(shape, dtype, gemm):
    tensors, options = everything(shape)
    c = len(tensors[2])
    options |= {"norm": "group", "groups": c // 8, "norm_bias": leaf(c)}
    assert_fused(OP, dtype, *tensors, **options)


def test_layer_norm(dtype, gemm):
    tensors, options = everything(SHAPES["odd, several tiles"])
    assert_fused(OP, dtype, *tensors, norm="layer", norm_bias=leaf(24), **options)


@pytest.mark.parametrize("norm", ["rms", "layer", "group"])
def test_bare(norm, dtype, gemm):
    x, weight, bias = leaf(1, 2, 3, 5, 16), leaf(20, 16, 3, 3, scale=0.1), leaf(20)
    norm_weight = None if norm == "group" else leaf(20)
    assert_fused(OP, dtype, x, weight, bias, norm=norm, norm_weight=norm_weight, act=False)


def test_most_channels(gemm):
    tensors, options = everything(((1, 1, 3, 3, 96), (256, 96, 1, 1), 1))
    assert_fused(OP, torch.bfloat16, *tensors, **options)
    assert_fused(OP, torch.bfloat16, *tensors, norm="group", groups=64, **options)


def test_parts_of_several_tiles(dtype, gemm, monkeypatch):
    # two parts of a sample, each of two tiles or, in float32, of four, merged two by two
    monkeypatch.setattr(launch, "INTERPRETED_PROCESSORS", 2)
    monkeypatch.setattr(conv_group_norm, "TILES", 2)
    tensors, options = everything(((2, 3, 17, 9, 16), (32, 16, 1, 1), 1))
    options |= {"norm": "group", "groups": 8, **ORDERS["conv-act-norm"]}
    assert_fused(OP, dtype, *tensors, **options)


def test_far_from_zero(order, gemm):
    # in 16 bits it is the convolution's output that is rounded off
    x, weight = leaf(1, 2, 17, 9, 16, offset=1e3), leaf(32, 16, 1, 1, offset=0.1, scale=0.01)
    options = {"norm": "group", "groups": 4, "norm_weight": leaf(32), **order}
    assert_fused(OP, torch.float32, x, weight, leaf(32), **options)


def test_no_variance(dtype, order, gemm):
    x, weight = torch.full((1, 2, 2, 2, 16), 3.0).double(), torch.zeros(32, 16, 1, 1).double()
    options = {"norm": "group", "groups": 8, "norm_weight": leaf(32), **order}
    assert_fused(OP, dtype, x, weight, torch.full((32,), 0.5).double(), **options)
    if order["act"]:
        options = {"norm": "layer", "norm_weight": leaf(32)}
        assert_fused(OP, dtype, x, weight, torch.full((32,), 0.5).double(), **options)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("norm", ["rms", "layer", "group"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_spreads_as_in_the_reference(norm, bad, gemm):
    x, weight = torch.randn(2, 1, 5, 4, 16), torch.randn(16, 16, 3, 3)
    x[1, 0, 3, 2, 9] = bad
    given = (x, weight, torch.randn(16))
    options = {"norm": norm, "norm_weight": torch.randn(16), "groups": 4}
    got, wanted = (op(*given, **options) for op in (kernels.conv_norm_act, reference_of(OP)))
    assert wanted[1].isnan().any()
    assert wanted[0].isfinite().all()
    torch.testing.assert_close(got, wanted, equal_nan=True, rtol=1e-4, atol=1e-4)


def test_any_layout(gemm):
    x, weight = torch.randn(2, 16, 3, 4, 5), torch.randn(3, 3, 16, 16).permute(3, 2, 0, 1) / 12
    vector, film = torch.randn(32)[::2], torch.randn(16, 2).t()
    for view in (x.movedim(1, -1), x[..., :1].expand(-1, -1, -1, -1, 5).movedim(1, -1)):
        for norm in ("rms", "group"):
            options = {"norm": norm, "norm_weight": vector, "film": (film, film), "residual": view}
            got = kernels.conv_norm_act(view, weight, vector, **options)
            wanted = reference_of(OP)(view, weight, vector, **options)
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["rms", "group"])
def test_an_empty_batch(norm, gemm):
    x = torch.randn(0, 2, 3, 3, 8, requires_grad=True)
    weight = torch.ones(4, 8, 3, 3, requires_grad=True)
    y = kernels.conv_norm_act(x, weight, torch.ones(4), norm=norm, norm_weight=torch.ones(4))
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not weight.grad.any()


@pytest.mark.parametrize("norm", ["rms", "group"])
def test_autocast_takes_the_product_in_its_dtype(norm, gemm):
    tensors, options = everything(((2, 1, 3, 5, 16), (32, 16, 3, 3), 1))
    x, weight, bias = (t.float().requires_grad_() for t in tensors)
    rest = {"norm_weight": options["norm_weight"].float(), "norm": norm, "groups": 8}
    with torch.autocast(x.device.type, torch.bfloat16):
        y = kernels.conv_norm_act(x, weight, bias, **rest)
    assert y.dtype == torch.bfloat16
    wanted = kernels.conv_norm_act(x, weight, bias, **rest)
    torch.testing.assert_close(y.float(), wanted, rtol=2e-2, atol=5e-2)
    probe = torch.randn_like(wanted)
    got, exact = (torch.autograd.grad(z, (x, weight, bias), probe.to(z.dtype)) for z in (y, wanted))
    for a, b in zip(got, exact, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=5e-2, atol=5e-2 * float(b.abs().max()))


def test_nothing_is_kept_without_gradients(gemm):
    tensors, options = everything(((1, 1, 3, 5, 16), (16, 16, 3, 3), 1))
    x, weight, bias = (t.float() for t in tensors)
    norm_weight = options["norm_weight"].float()
    z, y = conv_row_norm(
        x, weight[:, :, None], bias, norm_weight, *[None] * 4, 1, False, True, 1e-12, False
    )
    assert not y.numel()
    kept = kernels.conv_norm_act(x, weight.requires_grad_(), bias, norm_weight=norm_weight)
    assert torch.equal(z, kept)


@pytest.mark.parametrize("norm", ["rms", "layer", "group"])
@pytest.mark.parametrize(
    ("name", "kernel"), [("conv2d", (1, 3, 3)), ("conv2d", (3, 1, 1)), ("conv3d", (1, 3, 3))]
)
def test_with_a_convolution_by_cudnn(name, kernel, norm, dtype, monkeypatch):
    monkeypatch.setattr(kernels, OP, partial(kernels.conv_norm_act, implementation=name))
    x, weight, bias = leaf(2, 3, 3, 2, 8), leaf(6, 8, *kernel, scale=0.2), leaf(6)
    options = {"norm": norm, "groups": 2, "norm_weight": leaf(6), "film": film_of(2, 6)}
    assert_fused(OP, dtype, x, weight, bias, residual=leaf(2, 3, 3, 2, 6), **options)


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_silu_before_a_norm_of_rows(norm, dtype):
    tensors, options = everything(((2, 1, 3, 3, 8), (6, 8, 3, 3), 1))
    assert_fused(OP, dtype, *tensors, norm=norm, **ORDERS["conv-act-norm"], **options)


def test_the_table_chooses(monkeypatch):
    def called(stride: int) -> set[str]:
        x, weight, one = torch.ones(1, 1, 4, 4, 3), torch.ones(8, 3, 3, 3), torch.ones(8)
        with FusedOps() as ops:
            kernels.conv_norm_act(x, weight, one, norm_weight=one, stride=stride)
        return ops.called

    assert called(1) == called(2) == {"fastvd::row_norm"}
    monkeypatch.setitem(conv_choice.QUICKEST, (3, 8, (1, 3, 3), 2, "rms"), "gemm")
    assert called(1) == {"fastvd::row_norm"}
    assert called(2) == {"fastvd::conv_row_norm"}


def arguments(*options: object, dtype: torch.dtype = torch.float32) -> tuple:
    """What both ops take, everything given."""
    x, weight = torch.randn(2, 2, 3, 4, 5, dtype=dtype), torch.randn(6, 5, 1, 1, 1)
    per_channel = [torch.randn(6) for _ in "cwb"]
    film = torch.randn(2, 12, dtype=dtype).chunk(2, dim=1)
    residual = torch.randn(2, 2, 2, 2, 6, dtype=dtype)
    tensors = (x, weight, *per_channel, *film, residual)
    return *(t.detach().requires_grad_() for t in tensors), 2, *options


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of opcheck's own views
def test_the_ops_are_registered_well():
    torch.library.opcheck(conv_row_norm.custom, arguments(False, True, 1e-12, True))
    mixed = arguments(3, False, True, 1e-5, dtype=torch.bfloat16)
    torch.library.opcheck(conv_group_norm.conv_group_norm.custom, mixed)


@pytest.mark.parametrize("norm", ["rms", "group"])
def test_compiles_whole(norm, gemm):
    def block(x, weight, bias, scale, shift):
        options = {"norm": norm, "norm_weight": bias, "residual": x, "film": (scale, shift)}
        return kernels.conv_norm_act(x, weight, bias, **options) * 2

    x, weight, bias = (leaf(*s).float() for s in ((2, 1, 3, 4, 8), (8, 8, 3, 3), (8,)))
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    film = torch.randn(2, 16).chunk(2, dim=1)
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    got, wanted = compiled(*leaves, *film), block(*leaves, *film)
    assert torch.equal(got, wanted)
    a, b = (torch.autograd.grad(y.sum(), leaves) for y in (got, wanted))
    assert all(map(torch.equal, a, b))


@pytest.mark.parametrize("is_eager", [False, True])
def test_wrong_arguments_are_refused(is_eager):
    if is_eager:
        with kernels.eager():
            assert_refused()
    else:
        assert_refused()


def assert_refused() -> None:
    x, weight, six = torch.ones(2, 3, 4, 4, 5), torch.ones(6, 5, 3, 3), torch.ones(6)

    def refuses(match: str, weight: Tensor = weight, **options: object) -> None:
        with pytest.raises(ValueError, match=match):
            kernels.conv_norm_act(x, weight, six, **{"norm_weight": six, **options})

    refuses(r"takes x \[B, T, H, W, 4\], got \[2, 3, 4, 4, 5\]", torch.ones(6, 4, 3, 3))
    refuses(r"k odd, got \[6, 5, 1, 4, 4\]", torch.ones(6, 5, 4, 4))
    refuses(r"k odd, got \[6, 5\]", torch.ones(6, 5))
    refuses(r"takes bias \[8\], got \[6\]", torch.ones(8, 5, 3, 3))
    refuses("stride of at least 1, got 0", stride=0)
    refuses("takes a norm of rms, layer, group, got 'batch'", norm="batch")
    refuses(r"takes norm_weight \[6\] with layer norm, got None", norm="layer", norm_weight=None)
    refuses("takes no norm_bias with rms norm", norm_bias=six)
    refuses("groups that divide the 6 channels, got 4", norm="group", groups=4)
    refuses(r"takes norm_weight \[6\], got \[3\]", norm_weight=torch.ones(3))
    large = torch.ones(2, 3, 4, 4, 6)
    refuses(r"residual \[2, 3, 2, 2, 6\], got \[2, 3, 4, 4, 6\]", stride=2, residual=large)
    cube = torch.ones(6, 5, 3, 3, 3)
    refuses("conv2d: .* sees frames and pixels at once", cube, implementation="conv2d")
    refuses("there are conv2d, conv3d, gemm", implementation="cutlass")
    refuses("gemm: no SiLU before rms norm", implementation="gemm", pre_act=True)
    wide = torch.ones(257, 5, 1, 1)
    with pytest.raises(ValueError, match="257 channels are more than 256"):
        kernels.conv_norm_act(x, wide, wide[:, 0, 0, 0], norm="group", implementation="gemm")
