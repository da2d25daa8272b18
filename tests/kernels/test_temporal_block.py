"""Temporal attention of up to 128 channels, fused."""

import pytest
import torch
from oracle import FusedOps, assert_fused, leaf
from torch import Tensor

from fastvd import kernels
from fastvd.kernels import temporal_block
from fastvd.kernels.temporal_attention import reference

SHAPES = {
    "even": (2, 16, 2, 2, 64),
    "odd": (3, 5, 3, 1, 96),
    "one row": (1, 1, 1, 1, 32),
    "narrow": (1, 2, 9, 5, 6),
    "wide": (1, 10, 1, 5, 128),
    "long": (1, 31, 1, 3, 40),
    "longest": (2, 64, 1, 1, 64),
    "eight": (1, 8, 3, 3, 64),
}


def weights(c: int, *, heads: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the norm, of q, k and v, and of the output."""
    width = heads * d
    qkv, out = leaf(3 * width, c, scale=c**-0.5), leaf(c, width, scale=width**-0.5)
    return leaf(c, offset=1.0, scale=0.2), qkv, out


def positions(t: int, c: int, *, heads: int, rotated: int) -> dict[str, Tensor]:
    """All that tells frames apart."""
    return {
        "angles": 3 * torch.randn(t, rotated // 2),
        "bias": leaf(heads, t, t),
        "frames": leaf(t, c),
    }


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple[int, ...]:
    return request.param


@pytest.mark.parametrize("shape", [SHAPES["odd"], SHAPES["wide"], SHAPES["longest"]])
def test_bare_block(shape, dtype):
    args = (leaf(*shape), *weights(shape[-1], heads=1, d=16))
    assert_fused("temporal_attention", dtype, *args, heads=1)


@pytest.mark.parametrize(("d", "rotated"), [(16, 16), (32, 8)], ids=["all turned", "some turned"])
def test_block_with_positions(shape, dtype, d, rotated):
    b, t, *_, c = shape
    options = positions(t, c, heads=2, rotated=rotated)
    focus = torch.arange(b) % 2 == 0
    args = (leaf(*shape), *weights(c, heads=2, d=d))
    assert_fused("temporal_attention", dtype, *args, heads=2, focus_present=focus, **options)


def test_the_networks_own_heads(dtype):
    options = positions(16, 64, heads=8, rotated=32) | {"frames": None}
    args = (leaf(1, 16, 2, 2, 64), *weights(64, heads=8, d=32))
    assert_fused("temporal_attention", dtype, *args, heads=8, **options)


@pytest.mark.parametrize("offset", [0.0, 1e3], ids=["constant", "far from zero"])
def test_rows_that_hardly_vary(dtype, offset):
    x = leaf(1, 16, 2, 2, 32, scale=1.0 if offset else 0.0, offset=offset)
    assert_fused("temporal_attention", dtype, x, *weights(32, heads=2, d=16), heads=2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=["nan", "inf"])
@pytest.mark.parametrize("t", [5, 16])
def test_what_is_not_a_number_shows(device, t, bad):
    x = torch.randn(1, t, 3, 3, 32, device=device)
    x[0, 2, 1, 1, 3] = bad
    args = [w.float().to(device) for w in weights(32, heads=2, d=16)]
    got = kernels.temporal_attention(x, *args, heads=2).isfinite()
    wanted = reference(x, *args, heads=2).isfinite()
    assert not got[~wanted].any()
    # fewer than 16 frames share a matrix product with other pixels'
    pixels = got.all(dim=-1).all(dim=1)
    assert int((~pixels).sum()) <= (1 if t == 16 else 2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_not_a_number_in_a_weight_shows(device):
    norm, qkv, out = (w.float().to(device) for w in weights(32, heads=2, d=16))
    qkv[70, 0] = float("nan")
    x = torch.randn(1, 16, 2, 2, 32, device=device)
    assert not kernels.temporal_attention(x, norm, qkv, out, heads=2).isfinite().any()


def test_any_layout(device):
    norm, qkv, out = (w.float().to(device) for w in weights(32, heads=2, d=16))
    x = torch.randn(2, 32, 16, 3, 2, device=device)[:, :, ::2].movedim(1, -1)
    bias = torch.randn(2, 1, 8, device=device).expand(-1, 8, -1)
    args = (x, norm[:1].expand(32), qkv.t().contiguous().t(), out.t().contiguous().t())
    got = kernels.temporal_attention(*args, heads=2, bias=bias)
    torch.testing.assert_close(got, reference(*args, heads=2, bias=bias), rtol=1e-4, atol=1e-4)


def test_empty_batch(device):
    x = torch.empty(0, 16, 2, 2, 32, device=device, requires_grad=True)
    args = [w.float().to(device).requires_grad_() for w in weights(32, heads=2, d=16)]
    bias = torch.zeros(2, 16, 16, device=device, requires_grad=True)
    y = kernels.temporal_attention(x, *args, heads=2, bias=bias)
    y.sum().backward()
    assert y.shape == x.grad.shape == x.shape
    assert not any(w.grad.any() for w in (*args, bias))


def test_autocast_gives_its_dtype(device):
    x = torch.randn(1, 8, 2, 2, 32, device=device, requires_grad=True)
    args = [w.float().to(device).requires_grad_() for w in weights(32, heads=2, d=16)]
    with torch.autocast(device, torch.bfloat16):
        y = kernels.temporal_attention(x, *args, heads=2)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert all(w.grad.dtype == torch.float32 for w in (x, *args))
    wanted = reference(x, *args, heads=2)
    torch.testing.assert_close(y.float(), wanted, rtol=3e-2, atol=6e-2)


def op_arguments(device) -> tuple[object, ...]:
    """Of the op itself."""
    norm, qkv, out = (w.float().to(device).requires_grad_() for w in weights(32, heads=2, d=16))
    cos, sin = (torch.rand(4, 3, device=device) for _ in range(2))
    bias = torch.randn(2, 4, 4, device=device, requires_grad=True)
    frames = torch.randn(4, 32, device=device, requires_grad=True)
    focus = torch.tensor([True, False], device=device)
    x = torch.randn(2, 4, 1, 2, 32, device=device, requires_grad=True)
    return x, norm, qkv, out, cos, sin, bias, frames, focus, 2


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of opcheck's own views
def test_ops_keep_their_promises(device):
    x, *others = op_arguments(device)
    torch.library.opcheck(torch.ops.fastvd.temporal_block.default, (x, *others))
    detached = [
        a.detach() if isinstance(a, Tensor) else a for a in (torch.randn_like(x), x, *others)
    ]
    torch.library.opcheck(torch.ops.fastvd.temporal_block_backward.default, tuple(detached))


def test_compiles_as_one_graph(device):
    x = torch.randn(1, 8, 2, 2, 32, device=device, requires_grad=True)
    args = [w.float().to(device) for w in weights(32, heads=2, d=16)]
    angles = torch.randn(8, 4, device=device)

    def block(x: Tensor) -> Tensor:
        return kernels.temporal_attention(x, *args, heads=2, angles=angles)

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    (wanted,) = torch.autograd.grad(block(x).square().sum(), x)
    (got,) = torch.autograd.grad(compiled(x).square().sum(), x)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    ("shape", "d", "limit"),
    [
        ((1, 2, 1, 1, 136), 16, "136 channels are more than 128"),
        ((1, 17, 1, 1, 72), 16, "17 frames of 72 channels are more than 16"),
        ((1, 2, 1, 1, 32), 24, "heads of 24 channels"),
    ],
)
def test_limits_are_named(device, shape, d, limit):
    args = [w.float().to(device) for w in (leaf(*shape), *weights(shape[-1], heads=2, d=d))]
    assert limit in temporal_block.block_limit(args[0], args[2], 2)
    with FusedOps() as ops:
        kernels.temporal_attention(*args, heads=2)
    assert "fastvd::temporal_block" not in ops.called
