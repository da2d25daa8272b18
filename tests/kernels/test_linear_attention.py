"""Spatial linear attention, fused: by its kernels, and by cuBLAS where channels are many."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from oracle import FusedOps, assert_fused, leaf, reference_of
from torch import Tensor

from fastvd import kernels
from fastvd.kernels import linear_block

Block = tuple[list[Tensor], dict[str, object]]

SHAPES = {
    # [B, T, H, W, C], heads, D
    "even": ((1, 2, 8, 8, 64), 2, 32),
    "odd": ((2, 1, 17, 5, 96), 1, 16),
    "one token": ((1, 1, 1, 1, 6), 3, 16),
    "wide head": ((1, 1, 3, 5, 33), 1, 64),
    "part of a tile of columns": ((1, 1, 9, 9, 128), 3, 32),
}
WIDE = {
    "many channels": ((1, 2, 3, 3, 160), 2, 32),
    "narrow head": ((2, 1, 3, 5, 24), 2, 8),
    "head of no power of 2": ((1, 1, 2, 3, 24), 2, 24),
}


pytestmark = pytest.mark.usefixtures("tensor_cores")


def block(shape: tuple[int, ...], heads: int, d: int, **offset: float) -> Block:
    """Arguments of the op."""
    c, wide = shape[-1], heads * d
    weights = [1 + leaf(c, scale=0.1), leaf(3 * wide, c, scale=c**-0.5)]
    out = (leaf(c, wide, scale=wide**-0.5), leaf(c))
    return [leaf(*shape, **offset), *weights], {"out": out, "heads": heads}


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that are launched."""
    called, start = [], linear_block.launch

    def spy(kernel: Callable[..., None], *args: object, **options: object) -> None:
        called.append(kernel.fn.__name__)
        start(kernel, *args, **options)

    monkeypatch.setattr(linear_block, "launch", spy)
    return called


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_kernels(case, dtype, monkeypatch):
    called = spied(monkeypatch)
    args, options = block(*case)
    assert_fused("linear_attention", dtype, *args, **options)
    assert len(set(called)) == 7


@pytest.mark.parametrize("programs", [2, 3, 100])
def test_tokens_split_over_programs(programs, monkeypatch):
    monkeypatch.setattr(linear_block, "PROGRAMS", programs)
    args, options = block((1, 1, 5, 29, 20), 1, 16)
    assert_fused("linear_attention", torch.float32, *args, **options)


@pytest.mark.parametrize("case", WIDE.values(), ids=WIDE)
def test_products_by_cublas(case, dtype, monkeypatch):
    called = spied(monkeypatch)
    args, options = block(*case)
    assert_fused("linear_attention", dtype, *args, **options)
    assert not called


@pytest.fixture(params=[(1, 2, 3, 5, 24), (1, 2, 3, 5, 144)], ids=["kernels", "cuBLAS"])
def small(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """A shape of each path, for one head of 16."""
    return request.param


@pytest.mark.parametrize(
    ("channels", "mean"),
    # torch's own layer norm knows a mean of a thousand to four digits
    [(24, 1e3), (144, 1e2)],
    ids=["kernels", "cuBLAS"],
)
def test_mean_of_many_deviations(channels, mean):
    args, options = block((1, 2, 3, 5, channels), 1, 16, offset=mean)
    assert_fused("linear_attention", torch.float32, *args, **options)


def test_rows_of_no_variance(small, dtype):
    args, options = block(small, 1, 16)
    args[0][:, :, 1] = 3.0
    args[0][:, 1] = 0.0
    assert_fused("linear_attention", dtype, *args, **options)


def test_large_scores_stay_finite(small, dtype):
    args, options = block(small, 1, 16)
    args[2] *= 300
    x, *rest = (a.to(dtype) for a in args)
    x.requires_grad_()
    out = tuple(o.to(dtype) for o in options["out"])
    y = kernels.linear_attention(x, *rest, out=out, heads=1)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:All-NaN slice")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_spreads_over_its_frame(small, value):
    args, options = block(small, 1, 16)
    args[0][0, 0, 1, 2, 3] = value
    for op in (kernels.linear_attention, reference_of("linear_attention")):
        args[0] = args[0].float().detach().requires_grad_()
        options["out"] = tuple(o.float() for o in options["out"])
        y = op(*(a.float() for a in args), **options)
        y.sum().backward()
        for tensor in (y, args[0].grad):
            assert tensor[0, 0].isnan().all()
            assert tensor[0, 1].isfinite().all()


def test_layouts(small):
    args, options = block(small, 1, 16)
    first = args[0].movedim(-1, 1).contiguous().movedim(1, -1)
    with FusedOps() as ops:
        got = [
            kernels.linear_attention(x.float(), *(a.float() for a in args[1:]), **as_float(options))
            for x in (args[0], first, args[0][:, :1].expand(-1, 2, -1, -1, -1))
        ]
    assert ops.called == {"fastvd::linear_attention"}
    assert torch.equal(got[0], got[1])
    assert torch.equal(got[0][:, :1].expand_as(got[2]), got[2])


def as_float(options: dict[str, object]) -> dict[str, object]:
    return {**options, "out": tuple(o.float() for o in options["out"])}


def test_empty_batch(small):
    args, options = block((0, *small[1:]), 1, 16)
    leaves = [a.float().requires_grad_() for a in args]
    y = kernels.linear_attention(*leaves, **as_float(options))
    y.sum().backward()
    assert y.shape == (0, *small[1:])
    assert not any(a.grad.any() for a in leaves)


def test_weights_of_another_dtype(small):
    args, options = block(small, 1, 16)
    wide = [a.float().requires_grad_() for a in args[1:]]
    x = args[0].bfloat16().requires_grad_()
    y = kernels.linear_attention(x, *wide, **as_float(options))
    y.float().square().sum().backward()
    exact = [a.detach().double().requires_grad_() for a in (x, *wide)]
    wanted = reference_of("linear_attention")(*exact, **options)
    wanted.square().sum().backward()
    assert (y.dtype, x.grad.dtype, wide[1].grad.dtype) == (x.dtype, x.dtype, torch.float32)
    for got, want in zip(
        (y, x.grad, *(w.grad for w in wide)), (wanted, *(e.grad for e in exact)), strict=True
    ):
        assert (got - want).norm() <= 2e-2 * want.norm()


def test_autocast(small):
    args, options = block(small, 1, 16)
    leaves = [a.float().requires_grad_() for a in args]
    with torch.autocast(leaves[0].device.type, torch.bfloat16), FusedOps() as ops:
        y = kernels.linear_attention(*leaves, **as_float(options))
        y.sum().backward()
    assert len(ops.called) == 2
    assert y.dtype == torch.bfloat16
    assert all(a.grad.dtype == torch.float32 for a in leaves)


# it looks at the gradients of copies
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_registration(small):
    args, options = block(small, 1, 16)
    tensors = [a.float() for a in (*args, *options["out"])]
    wide = small[-1] > 128
    leaves = [t.clone().requires_grad_() for t in tensors]
    torch.library.opcheck(torch.ops.fastvd.linear_attention.default, (*leaves, 1, wide))
    y, *kept = torch.ops.fastvd.linear_attention(*tensors, 1, wide)
    torch.library.opcheck(
        torch.ops.fastvd.linear_attention_backward.default,
        (torch.ones_like(y), tensors[0], tensors[1:], kept, 1, wide),
    )


def test_full_graph(small):
    args, options = block(small, 1, 16)
    leaves = [a.float().requires_grad_() for a in args]
    options = as_float(options)
    compiled = torch.compile(kernels.linear_attention, fullgraph=True, backend="aot_eager")
    results = []
    for op in (kernels.linear_attention, compiled):
        y = op(*leaves, **options)
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    assert all(map(torch.equal, *results))


def test_full_graph_of_changing_sizes(small):
    compiled = torch.compile(
        kernels.linear_attention, fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for size in (3, 4):
        args, options = block((1, size, size, 5, small[-1]), 1, 16)
        args, options = [a.float() for a in args], as_float(options)
        assert torch.equal(compiled(*args, **options), kernels.linear_attention(*args, **options))


@pytest.mark.parametrize("path", ["fused", "eager"])
def test_wrong_shapes_are_named(path):
    args, options = block((1, 1, 2, 2, 24), 2, 16)
    x, norm, qkv = (a.float() for a in args)
    weight, bias = as_float(options)["out"]
    with kernels.eager() if path == "eager" else nullcontext():
        for wrong, message in (
            ((x[0], norm, qkv, weight, bias), r"takes x \[B, T, H, W, C\], got \[1, 2, 2, 24\]"),
            ((x, norm[1:], qkv, weight, bias), r"takes norm_weight \[24\], got \[23\]"),
            ((x, norm, qkv[:, 1:], weight, bias), r"takes qkv_weight \[96, 24\], got \[96, 23\]"),
            ((x, norm, qkv[1:], weight, bias), r"3 . 2 heads . D, C\], got \[95, 24\]"),
            ((x, norm, qkv, weight.mT, bias), r"takes out weight \[24, 32\], got \[32, 24\]"),
            ((x, norm, qkv, weight, bias[1:]), r"takes out bias \[24\], got \[23\]"),
            ((x.long(), norm, qkv, weight, bias), "torch.float64, got torch.int64"),
        ):
            a, b, c, *out = wrong
            with pytest.raises(ValueError, match=message):
                kernels.linear_attention(a, b, c, out=tuple(out), heads=2)


def test_exact_float32_products_go_to_cublas(monkeypatch):
    torch.backends.cuda.matmul.allow_tf32 = False
    called = spied(monkeypatch)
    args, options = block(*SHAPES["even"])
    assert_fused("linear_attention", torch.float32, *args, **options)
    assert not called
