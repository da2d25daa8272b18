"""Attention over frames where the projections are torch's: more than 128 channels."""

import contextlib

import pytest
import torch
from einops import rearrange
from oracle import FusedOps, assert_fused, leaf, reference_of, run
from torch import Tensor

from fastvd import kernels
from fastvd.kernels.temporal_attention import rotate
from fastvd.kernels.temporal_core import temporal_core, temporal_core_backward

# shape, heads, channels of a head, pairs of them that are turned
CASES = {
    "network": ((1, 16, 2, 1, 256), 8, 32, 16),
    "few frames": ((2, 3, 2, 1, 136), 2, 32, 16),
    "odd": ((2, 10, 3, 1, 160), 3, 32, 5),
    "one row": ((1, 1, 1, 1, 320), 1, 16, 8),
    # each of the four gradients of the bias is a sum that cancels
    "many pixels": ((2, 2, 17, 9, 130), 1, 16, 4),
    "31 frames": ((1, 31, 2, 1, 130), 2, 64, 16),
    "64 frames": ((1, 64, 1, 2, 192), 2, 32, 16),
}


def arguments(case: str) -> tuple[tuple[Tensor, ...], dict[str, object]]:
    (b, t, h, w, c), heads, d, pairs = CASES[case]
    weights = (leaf(c), leaf(3 * heads * d, c, scale=c**-0.5))
    out = leaf(c, heads * d, scale=(heads * d) ** -0.5)
    options: dict[str, object] = {
        "heads": heads,
        "angles": torch.arange(t)[:, None] * 0.7 ** torch.arange(pairs, dtype=torch.float64),
        "bias": leaf(heads, t, t),
        "focus_present": torch.arange(b) % 2 == 1,
    }
    return (leaf(b, t, h, w, c), *weights, out), options


@pytest.mark.parametrize("case", [case for case in CASES if case != "few frames"])
def test_blocks_match_the_reference(case, dtype):
    args, options = arguments(case)
    assert_fused("temporal_attention", dtype, *args, **options)


def test_blocks_without_tables(dtype):
    args, _ = arguments("odd")
    assert_fused("temporal_attention", dtype, *args, heads=3)


def test_frame_embedding(dtype):
    args, options = arguments("few frames")
    assert_fused("temporal_attention", dtype, *args, **options, frames=leaf(3, 136))


@pytest.mark.parametrize("x", ["far from zero", "constant"])
def test_inputs_that_norms_find_hard(x):
    (plain, *weights), options = arguments("odd")
    hard = plain + 1e3 if x == "far from zero" else plain[..., :1].expand_as(plain).contiguous()
    assert_fused("temporal_attention", torch.float32, hard, *weights, **options)


def test_the_core_runs_forward_and_backward():
    args, options = arguments("odd")
    with FusedOps() as ops:
        run(kernels.temporal_attention, torch.float32, None, args, options)
    assert {"fastvd::temporal_core", "fastvd::temporal_core_backward"} <= ops.called


def core_reference(qkv: Tensor, angles: Tensor, bias: Tensor, focus: Tensor, heads: int) -> Tensor:
    q, k, v = rearrange(qkv, "b t h w (three a d) -> three b h w a t d", three=3, a=heads)
    scores = rotate(q, angles) @ rotate(k, angles).transpose(-1, -2) * q.shape[-1] ** -0.5 + bias
    own = torch.eye(qkv.shape[1], dtype=torch.bool)
    hidden = rearrange(focus, "b -> b 1 1 1 1 1") & ~own
    p = scores.masked_fill(hidden, float("-inf")).softmax(dim=-1)
    return rearrange(p @ v, "b h w a t d -> b t h w (a d)")


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's numpy
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_nan_spreads_as_in_the_reference(part, value):
    heads, angles = 2, torch.randn(5, 4)
    qkv = torch.randn(2, 5, 3, 1, 3 * heads * 16)
    for sample in range(2):
        qkv[sample, 2, 1, 0, 32 * "qkv".index(part) + 16] = value
    qkv.requires_grad_()
    bias, focus = torch.randn(heads, 5, 5), torch.tensor([False, True])
    o = temporal_core(qkv, angles.cos(), angles.sin(), bias, focus, heads)
    wanted = core_reference(qkv, angles, bias, focus, heads)
    torch.testing.assert_close(o, wanted, equal_nan=True)
    got, due = (torch.autograd.grad(y, qkv, torch.ones_like(y))[0] for y in (o, wanted))
    torch.testing.assert_close(got, due, equal_nan=True)


def test_strides_do_not_matter():
    args, options = arguments("odd")
    wanted = run(kernels.temporal_attention, torch.float32, None, args, options).output
    x = rearrange(
        rearrange(args[0], "b t h w c -> c w h t b").contiguous(), "c w h t b -> b t h w c"
    )
    options["bias"] = rearrange(
        rearrange(options["bias"], "a i j -> i j a").contiguous(), "i j a -> a i j"
    )
    got = run(kernels.temporal_attention, torch.float32, None, (x, *args[1:]), options).output
    assert torch.equal(got, wanted)


def test_one_bias_for_all_heads_gets_the_sum_of_gradients():
    args, options = arguments("odd")
    bias = torch.randn(1, 10, 10, requires_grad=True)
    args = tuple(x.float() for x in args)
    options["angles"] = options["angles"].float()
    gradients = []
    for op in (kernels.temporal_attention, reference_of("temporal_attention")):
        y = op(*args, **{**options, "bias": bias.expand(3, -1, -1)})
        gradients += torch.autograd.grad(y, bias, torch.ones_like(y))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_autocast_with_float32_weights(given):
    args, options = arguments("odd")
    exact = reference_of("temporal_attention")(args[0].to(given).double(), *args[1:], **options)
    x, *weights = (x.float() for x in args)
    x, angles = x.to(given).requires_grad_(), options["angles"].float()
    bias = options["bias"].float().requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16):
        y = kernels.temporal_attention(x, *weights, **{**options, "angles": angles, "bias": bias})
    assert y.dtype == torch.bfloat16
    assert (y - exact).square().mean().sqrt() < 8e-3 * exact.square().mean().sqrt()
    dx, dbias = torch.autograd.grad(y.sum(), (x, bias))
    assert (dx.dtype, dbias.dtype) == (given, torch.float32)


def test_autocasts_dtype_decides_what_is_covered():
    """33 frames of heads of 64: they fit in bfloat16, not in float32."""
    weights = torch.randn(136), torch.randn(384, 136) / 12, torch.randn(136, 128) / 12
    x = torch.randn(1, 33, 1, 2, 136)
    called = []
    for enabled in (True, False):
        autocast = torch.autocast(x.device.type, torch.bfloat16, enabled=enabled)
        with autocast, FusedOps() as ops:
            kernels.temporal_attention(x, *weights, heads=2)
        called.append("fastvd::temporal_core" in ops.called)
    assert called == [True, False]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_ops_pass_opcheck():
    qkv, angles = torch.randn(2, 3, 2, 1, 48, requires_grad=True), torch.randn(3, 4)
    bias, focus = torch.randn(1, 3, 3, requires_grad=True), torch.tensor([False, True])
    args = qkv, angles.cos(), angles.sin(), bias, focus, 1
    torch.library.opcheck(temporal_core.custom, args)
    given = [x.detach() if isinstance(x, Tensor) else x for x in args]
    do = torch.randn(2, 3, 2, 1, 16)
    torch.library.opcheck(temporal_core_backward.custom, (do, *given))
    torch.library.opcheck(temporal_core_backward.custom, (do, given[0], None, None, None, None, 1))


def test_compiles_into_one_graph():
    args, options = arguments("few frames")
    args = tuple(x.float().requires_grad_() for x in args)
    options |= {name: options[name].float() for name in ("angles", "bias")}
    options["frames"] = torch.randn(3, 136)
    compiled = torch.compile(kernels.temporal_attention, fullgraph=True, backend="aot_eager")
    gradients = []
    for op in (compiled, kernels.temporal_attention):
        y = op(*args, **options)
        gradients.append([y, *torch.autograd.grad(y, args, torch.ones_like(y))])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("t", "d"), [(5, 24), (5, 8), (33, 128)])
def test_sizes_beyond_the_kernel_run_as_plain_torch(t, d):
    weights = leaf(136), leaf(6 * d, 136, scale=0.1), leaf(136, 2 * d, scale=0.1)
    args = leaf(1, t, 1, 2, 136), *weights
    exact = reference_of("temporal_attention")(*args, heads=2)
    with FusedOps() as ops:
        y = kernels.temporal_attention(*(x.float() for x in args), heads=2)
    assert not ops.called
    torch.testing.assert_close(y.double(), exact, rtol=1e-4, atol=1e-4)


BAD = [
    ("x", torch.zeros(2, 5, 3, 8), r"takes x \[B, T, H, W, C\], got \[2, 5, 3, 8\]"),
    ("norm_weight", torch.zeros(7), r"takes norm_weight \[8\], got \[7\]"),
    ("qkv_weight", torch.zeros(96, 7), r"takes qkv_weight \[96, 8\], got \[96, 7\]"),
    ("out_weight", torch.zeros(8, 16), r"takes out_weight \[8, 32\], got \[8, 16\]"),
    ("angles", torch.zeros(5, 9), r"takes angles \[5, 8 or less\].*; got \[5, 9\]"),
    ("bias", torch.zeros(1, 5, 5), r"takes bias \[2, 5, 5\], got \[1, 5, 5\]"),
    ("frames", torch.zeros(4, 8), r"takes frames \[5, 8\], got \[4, 8\]"),
    ("focus_present", torch.zeros(3) > 0, r"takes focus_present \[2\], got \[3\]"),
    ("focus_present", torch.zeros(2), r"takes focus_present of bool.*; got torch\.float32"),
    ("focus_present", torch.zeros(2, device="meta") > 0, r"one device, got \S+, meta"),
    ("x", torch.zeros(2, 65, 3, 1, 8), "takes 1 to 64 frames, got 65"),
    ("heads", 5, r"3 \* 5 heads \* D, C\], got \[96, 8\]"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_wrong_arguments_are_named_on_both_paths(name, value, message):
    good = {
        "x": torch.zeros(2, 5, 3, 1, 8),
        "norm_weight": torch.zeros(8),
        "qkv_weight": torch.zeros(96, 8),
        "out_weight": torch.zeros(8, 32),
        "heads": 2,
    }
    for path in (contextlib.nullcontext, kernels.eager):
        with path(), pytest.raises(ValueError, match=message):
            kernels.temporal_attention(**{**good, name: value})
