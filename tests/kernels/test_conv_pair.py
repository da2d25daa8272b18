"""Two convolutions whose middle is made again in the backward pass."""

import pytest
import torch
from oracle import FusedOps, assert_fused, leaf
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from fastvd import kernels
from fastvd.kernels import Conv
from fastvd.kernels.conv_pair import reference, row_norm_conv
from fastvd.kernels.conv_shortcut import conv_shortcut

SHAPES = {
    "even": (2, 2, 4, 4, 8, 16, 16),
    "odd": (3, 3, 5, 3, 5, 6, 7),
    "one pixel": (1, 1, 1, 1, 4, 8, 4),
}


def conv_of(b: int, c: int, o: int, *, film: bool, kernel: int = 3) -> Conv:
    rows = leaf(b, 2 * o).chunk(2, dim=1) if film else None
    weight = leaf(o, c, kernel, kernel, scale=(kernel**2 * c) ** -0.5)
    return Conv(weight, leaf(o), leaf(o, offset=1.0), rows)


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple[int, ...]:
    return request.param


# bfloat16 rounds too much on its way through two convolutions: below it is held against one and one
@pytest.mark.parametrize("coarse", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("film", [True, False], ids=["film", "no film"])
def test_conv_pair(shape, coarse, film):
    b, t, h, w, c, middle, o = shape
    first, second = conv_of(b, c, middle, film=film), conv_of(b, middle, o, film=False)
    residual = leaf(b, t, h, w, o) if film else None
    assert_fused("conv_pair", coarse, leaf(b, t, h, w, c), first, second, residual=residual)


def alone(x: Tensor, first: Conv, second: Conv, residual: Tensor | None = None) -> Tensor:
    """The two, each by itself."""
    z = kernels.conv_norm_act(x, *first[:2], norm_weight=first.norm_weight, film=first.film)
    norm = {"norm_weight": second.norm_weight, "film": second.film, "residual": residual}
    return kernels.conv_norm_act(z, *second[:2], **norm)


@pytest.mark.parametrize("kernel", [1, 3])
def test_it_is_the_two_alone_bit_for_bit(shape, dtype, kernel):
    def cast(t: Tensor) -> Tensor:
        return t.to(dtype).detach().requires_grad_()

    b, t, h, w, c, middle, o = shape
    convs = (conv_of(b, c, middle, film=True, kernel=kernel), conv_of(b, middle, o, film=False))
    clips = leaf(b, t, h, w, c), leaf(b, t, h, w, o)
    (x, residual), convs = tree_map_only(Tensor, cast, (clips, convs))
    leaves = [x, residual, *tree_leaves([conv[:3] for conv in convs]), *convs[0].film]
    got, wanted = kernels.conv_pair(x, *convs, residual=residual), alone(x, *convs, residual)
    assert torch.equal(got, wanted)
    probe = torch.randn_like(got)
    for a, b in zip(*(torch.autograd.grad(y, leaves, probe) for y in (got, wanted)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("coarse", [torch.float32, torch.float16], ids=["fp32", "fp16"])
def test_shortcut(shape, coarse):
    b, t, h, w, c, middle, o = shape
    convs = (conv_of(b, c, middle, film=True), conv_of(b, middle, o, film=False))
    shortcut = (leaf(o, c, scale=c**-0.5), leaf(o))
    assert_fused("conv_pair", coarse, leaf(b, t, h, w, c), *convs, shortcut=shortcut)


def test_shortcut_in_bfloat16_is_the_map_beside():
    x, first, second = small(torch.bfloat16)
    weight, bias = (leaf(*s).bfloat16().requires_grad_() for s in ((5, 4), (5,)))
    got = kernels.conv_pair(x, first, second, shortcut=(weight, bias))
    residual = torch.nn.functional.linear(x, weight, bias)
    wanted = kernels.conv_pair(x, first, second, residual=residual)
    assert torch.equal(got, wanted)
    leaves, probe = [x, weight, bias, *first[:3], *second[:3]], torch.randn_like(got)
    for a, b in zip(*(torch.autograd.grad(y, leaves, probe) for y in (got, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)


def small(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Conv, Conv]:
    """A clip and two convolutions, all of which take gradients."""

    def cast(t: Tensor) -> Tensor:
        return t.to(dtype).detach().requires_grad_()

    convs = []
    for conv in (conv_of(2, 4, 6, film=True), conv_of(2, 6, 5, film=True)):
        scale, shift = conv.film or ()
        convs.append(Conv(*map(cast, conv[:3]), (cast(scale), cast(shift))))
    return cast(leaf(2, 2, 3, 3, 4)), *convs


def test_the_middle_is_not_kept():
    x, first, second = small()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        kernels.conv_pair(x, first, second)
    weights = {first.weight.data_ptr(), second.weight.data_ptr()}
    clips = {t.data_ptr(): t.numel() // 36 for t in kept if t.ndim > 2}
    # channels of x and of what the convolutions give: the middle would be 6 more
    assert sorted(c for p, c in clips.items() if p not in weights) == [4, 5, 6]


def test_weights_that_lie_channels_last():
    x, first, second = small()
    wanted = kernels.conv_pair(x, first, second)
    with torch.no_grad():
        moved = second.weight.contiguous(memory_format=torch.channels_last)
    moved.requires_grad_()
    got = kernels.conv_pair(x, first, second._replace(weight=moved))
    torch.testing.assert_close(got, wanted)
    a, b = (torch.autograd.grad(y.sum(), w) for y, w in ((got, moved), (wanted, second.weight)))
    torch.testing.assert_close(a, b)


def test_autocast():
    x, first, second = small()
    wanted = kernels.conv_pair(x, first, second, residual=None)
    with torch.autocast(x.device.type, torch.bfloat16):
        got = kernels.conv_pair(x, first, second)
    assert got.dtype == torch.bfloat16
    got.sum().backward()
    assert {t.grad.dtype for t in (x, first.weight, second.weight)} == {torch.float32}
    torch.testing.assert_close(got.float(), wanted, rtol=5e-2, atol=8e-2)


def test_an_empty_batch():
    x = torch.randn(0, 2, 3, 3, 4, requires_grad=True)
    convs = (conv_of(0, 4, 6, film=False), conv_of(0, 6, 5, film=False))
    first, second = (Conv(*(t.float() for t in conv[:3])) for conv in convs)
    kernels.conv_pair(x, first, second).sum().backward()
    assert x.grad.shape == x.shape


def test_gradients_of_the_shortcut_in_float64():
    x, first, _ = small(torch.float64)
    shortcut = (leaf(5, 4).requires_grad_(), leaf(5).requires_grad_())
    args = (x, first.weight, *shortcut)
    assert torch.autograd.gradcheck(conv_shortcut, args, fast_mode=True)


def test_gradients_in_float64():
    _, first, _ = small(torch.float64)
    y = leaf(2, 2, 3, 3, 6).requires_grad_()
    weight = leaf(5, 6, 3, 3).requires_grad_()
    tensors = (y, first.bias, first.norm_weight, *first.film, weight)
    assert torch.autograd.gradcheck(row_norm_conv, tensors, fast_mode=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of opcheck's own views
def test_the_ops_are_registered_well():
    x, first, second = small()
    shortcut = (torch.randn(5, 4, requires_grad=True), torch.randn(5, requires_grad=True))
    torch.library.opcheck(conv_shortcut.custom, (x, first.weight, *shortcut))
    y = torch.randn(2, 2, 3, 3, 6, requires_grad=True)
    args = (y, first.bias, first.norm_weight, *first.film, second.weight)
    torch.library.opcheck(row_norm_conv.custom, args)


def test_compiles_whole():
    x, first, second = small()
    compiled = torch.compile(kernels.conv_pair, fullgraph=True, backend="aot_eager")
    got, wanted = compiled(x, first, second), kernels.conv_pair(x, first, second)
    torch.testing.assert_close(got, wanted)
    a, b = (torch.autograd.grad(y.sum(), (x, first.weight)) for y in (got, wanted))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("path", ["fused", "eager"])
def test_what_does_not_fit_is_refused(monkeypatch, path):
    if path == "eager":
        monkeypatch.setattr("fastvd.kernels.dispatch._open_blocks", 1)
    x, first, second = small()
    with pytest.raises(ValueError, match=r"takes weight \[O, 6, k, k\], k odd, got \[6, 4, 3, 3\]"):
        kernels.conv_pair(x, first, first)
    with pytest.raises(ValueError, match=r"takes x \[B, T, H, W, C\], got \[2, 3, 3, 4\]"):
        kernels.conv_pair(x[:, 0], first, second)
    with pytest.raises(ValueError, match=r"takes bias \[6\], got \[5\]"):
        kernels.conv_pair(x, first._replace(bias=second.bias), second)
    with pytest.raises(ValueError, match="takes residual"):
        kernels.conv_pair(x, first, second, residual=x)
    with pytest.raises(ValueError, match=r"shortcut takes weight \[5, 4\], got \[4, 5\]"):
        kernels.conv_pair(x, first, second, shortcut=(torch.ones(4, 5), torch.ones(5)))
    shortcut = (torch.ones(5, 4), torch.ones(5))
    with pytest.raises(ValueError, match="a residual or a shortcut, got both"):
        kernels.conv_pair(x, first, second, residual=x, shortcut=shortcut)


def test_eager_is_the_formula(monkeypatch):
    monkeypatch.setattr("fastvd.kernels.dispatch._open_blocks", 1)
    x, first, second = small(torch.float64)
    for more in ({"residual": leaf(2, 2, 3, 3, 5)}, {"shortcut": (leaf(5, 4), leaf(5))}):
        with FusedOps() as ops:
            got = kernels.conv_pair(x, first, second, **more)
        assert not ops.called
        torch.testing.assert_close(got, reference(x, first, second, **more))
