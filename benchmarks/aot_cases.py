"""Calls of every kernel, forward and backward, in every configuration that networks use."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from fastvd import kernels
from fastvd.kernels.conv_choice import Norm
from fastvd.models import VideoUNet, VideoUNetConfig, vdm

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def backward(y: Tensor) -> None:
    """Run the backward kernels of ``y``; nothing is computed, so nothing is looked at."""
    y.backward(torch.empty_like(y))


def row_norm(dtype: torch.dtype, c: int, *, op: str, film: bool) -> None:
    x = torch.empty(2, 4, 8, 8, c, dtype=dtype, requires_grad=True)
    weight = torch.empty(c, requires_grad=True)
    rows = torch.empty(2, 2 * c, dtype=dtype, requires_grad=True).chunk(2, dim=1)
    if op == "layer_norm_act":
        bias = torch.empty(c, requires_grad=True)
        y = kernels.layer_norm_act(x, (weight, bias), rows if film else None)
    else:
        y = kernels.rms_norm_act(x, weight, rows if film else None, residual=x)
    backward(y)


def conv_norm(dtype: torch.dtype, c: int) -> None:
    """The blocks of ``vdm``: few channels come in, for the convolution is torch's."""
    x, residual = (torch.empty(2, 4, 8, 8, n, dtype=dtype, requires_grad=True) for n in (8, c))
    weight, bias = torch.empty(c, 8, 3, 3, dtype=dtype), torch.empty(c, requires_grad=True)
    scale, shift = torch.empty(2, 2 * c, dtype=dtype, requires_grad=True).chunk(2, dim=1)
    norm = {"norm_weight": torch.empty(c, requires_grad=True), "film": (scale, shift)}
    backward(kernels.conv_norm_act(x, weight, bias.to(dtype), **norm, residual=residual))


def group_norm(dtype: torch.dtype, c: int, groups: int, *, pre_act: bool) -> None:
    """Norm and SiLU as after a convolution of ``vdm``, SiLU and norm as in ``two_stage``."""
    x = torch.empty(2, 4, 16, 16, c, dtype=dtype, requires_grad=True)
    rows = torch.empty(2, 2 * c, dtype=dtype, requires_grad=True).chunk(2, dim=1)
    affine = None if pre_act else (torch.empty(c, requires_grad=True),) * 2
    bias = torch.empty(c, requires_grad=True) if pre_act else None
    options = {"groups": groups, "act": not pre_act, "pre_act": pre_act, "conv_bias": bias}
    backward(kernels.group_norm_act(x, affine, rows, **options))


def temporal_core(dtype: torch.dtype, t: int) -> None:
    """Temporal attention of the deeper levels of ``vdm``."""
    x = torch.empty(2, t, 4, 4, 256, dtype=dtype, requires_grad=True)
    qkv, out = torch.empty(768, 256), torch.empty(256, 256)
    tables = {"angles": torch.empty(t, 16), "bias": torch.empty(8, t, t, requires_grad=True)}
    backward(kernels.temporal_attention(x, torch.empty(256), qkv, out, heads=8, **tables))


def temporal_attention(dtype: torch.dtype, c: int, t: int, *, positions: bool) -> None:
    """Eight heads of 32, turned and biased; ``positions``: frames are added, samples in focus."""
    x = torch.empty(2, t, 4, 4, c, dtype=dtype, requires_grad=True)
    weights = (torch.empty(shape, requires_grad=True) for shape in ((c,), (768, c), (c, 256)))
    y = kernels.temporal_attention(
        x,
        *weights,
        heads=8,
        angles=torch.zeros(t, 16),
        bias=torch.empty(8, t, t, requires_grad=True),
        frames=torch.empty(t, c, requires_grad=True) if positions else None,
        focus_present=torch.zeros(2, dtype=torch.bool) if positions else None,
    )
    backward(y)


def linear_attention(dtype: torch.dtype, c: int, d: int) -> None:
    """8 heads of d; float32 with tensor cores, without them no kernel takes it."""
    x = torch.empty(2, 4, 32, 32, c, dtype=dtype, requires_grad=True)
    norm, qkv = torch.empty(c, requires_grad=True), torch.empty(24 * d, c, requires_grad=True)
    out = (torch.empty(c, 8 * d, requires_grad=True), torch.empty(c, requires_grad=True))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    backward(kernels.linear_attention(x, norm, qkv, out=out, heads=8))
    torch.backends.cuda.matmul.allow_tf32 = before


def adamw_ema(dtype: torch.dtype, *, offset: int, averaged: bool) -> None:
    """The update of all weights; ``offset``: how many numbers off 16 bytes they start."""
    params, exp_avgs, exp_avg_sqs, averages = ([torch.zeros(5 + offset)[offset:]] for _ in "pmva")
    state = kernels.AdamState(exp_avgs, exp_avg_sqs, [torch.zeros(())])
    optimizer = kernels.AdamWEma(params, state, averages if averaged else (), betas=(0.9, 0.99))
    scale = torch.ones(()) if averaged else None
    optimizer.update([torch.zeros(5, dtype=dtype)], rates=[(1e-4, 0.0)], scale=scale)


def conv_gemm(dtype: torch.dtype, c: int, norm: Norm) -> None:
    """A residual block's convolution as a matrix product; its backward pass is the norm's."""
    x = torch.empty(2, 4, 16, 16, c, dtype=dtype, requires_grad=True)
    weight, vector = torch.empty(c, c, 3, 3), torch.empty(c)
    rows = torch.empty(2, 2 * c, dtype=dtype).chunk(2, dim=1)
    is_group = norm == "group"
    options = {"norm_weight": None if is_group else vector, "groups": 32, "film": rows}
    order = {"act": not is_group, "pre_act": is_group}
    before = torch.backends.cuda.matmul.allow_tf32
    # without tensor cores at the widths of the finest level alone
    torch.backends.cuda.matmul.allow_tf32 = c > 64
    kernels.conv_norm_act(
        *(x, weight, vector), norm=norm, residual=x, **options, **order, implementation="gemm"
    )
    torch.backends.cuda.matmul.allow_tf32 = before


def bare_attention(c: int, t: int) -> None:
    """Frames that nothing tells apart."""
    x = torch.empty(2, t, 2, 2, c, dtype=torch.bfloat16, requires_grad=True)
    weights = (torch.empty(shape, requires_grad=True) for shape in ((c,), (96, c), (c, 32)))
    backward(kernels.temporal_attention(x, *weights, heads=1))


def bare_group_norm() -> None:
    """Neither weights nor FiLM."""
    x = torch.empty(2, 4, 4, 4, 20, dtype=torch.bfloat16, requires_grad=True)
    backward(kernels.group_norm_act(x, groups=5))


def bare_layer_norm() -> None:
    """A weight alone."""
    x = torch.empty(2, 4, 4, 4, 6, dtype=torch.bfloat16, requires_grad=True)
    backward(kernels.layer_norm_act(x, (torch.empty(6, requires_grad=True), None)))


BARE: dict[str, Callable[[], None]] = {
    "temporal_attention bare": partial(bare_attention, 32, 9),
    "temporal_core bare": partial(bare_attention, 160, 10),
    "group_norm_act bare": bare_group_norm,
    "layer_norm_act bare": bare_layer_norm,
}
"""Calls with less than networks of the table have: pointers that are none. They must compile; the
table has none of them.
"""


def network(config: VideoUNetConfig, frames: int) -> None:
    """A training step's launches under autocast: what a network hands to its kernels."""
    # the deepest level has 16 pixels: grids are multiples of 16, as those of real clips
    net, side = VideoUNet(config), 4 * config.divisor()
    x, t = torch.zeros(2, config.in_channels, frames, side, side), torch.zeros(2)
    with torch.autocast("cpu", torch.bfloat16):
        backward(net(x, t))


CASES: dict[str, Callable[[], None]] = {
    f"{op} C={c} {name}": partial(row_norm, dtype, c, op=op, film=film)
    for name, dtype in DTYPES.items()
    for op, c, film in (
        ("rms_norm_act", 64, True),
        ("rms_norm_act", 96, False),
        ("rms_norm_act", 512, True),
        ("layer_norm_act", 64, False),
        ("layer_norm_act", 512, True),
    )
    # as everywhere, float16 once: its code is bfloat16's but for conversions
    if name != "fp16" or c == 64
}
CASES |= {
    f"conv_norm_act C={c} {name}": partial(conv_norm, DTYPES[name], c)
    for name, c in (("fp32", 64), ("bf16", 64), ("bf16", 512))
}
CASES |= {
    f"group_norm_act C={c} {name}": partial(group_norm, DTYPES[name], c, groups, pre_act=pre_act)
    for name, c, groups, pre_act in (
        ("fp32", 64, 8, False),
        ("fp16", 64, 8, False),
        ("bf16", 64, 8, False),
        ("fp32", 256, 32, True),
        ("bf16", 256, 32, True),
    )
}

CASES |= {
    f"temporal_core T={t} {name}": partial(temporal_core, DTYPES[name], t)
    for name, t in (("fp32", 16), ("fp16", 16), ("bf16", 10), ("bf16", 16), ("bf16", 64))
}

CASES |= {
    f"temporal_attention C={c} f={t} {name}": partial(
        temporal_attention, DTYPES[name], c, t, positions=positions
    )
    for name, c, t, positions in (
        ("bf16", 64, 16, False),
        ("bf16", 128, 16, False),
        ("bf16", 64, 64, True),
        ("fp16", 64, 10, True),
    )
}

CASES |= {
    f"linear_attention C={c} D={d} {name}": partial(linear_attention, DTYPES[name], c, d)
    for name, c, d in (
        ("fp32", 64, 32),
        ("fp32", 128, 32),
        ("fp32", 64, 64),
        ("fp16", 64, 32),
        ("bf16", 64, 16),
        ("bf16", 64, 32),
        ("bf16", 64, 64),
        ("bf16", 128, 16),
        ("bf16", 128, 32),
    )
}

CASES |= {
    "adamw_ema fp32": partial(adamw_ema, torch.float32, offset=0, averaged=True),
    "adamw_ema bf16": partial(adamw_ema, torch.bfloat16, offset=0, averaged=True),
    "adamw_ema fp32 alone": partial(adamw_ema, torch.float32, offset=0, averaged=False),
    "adamw_ema fp32 unaligned": partial(adamw_ema, torch.float32, offset=1, averaged=True),
}

CASES |= {
    f"conv_norm_act gemm {norm} C={c} {name}": partial(conv_gemm, DTYPES[name], c, norm)
    for norm, name, widths in (
        ("rms", "fp32", (64, 128)),
        ("rms", "fp16", (64,)),
        ("rms", "bf16", (64, 128, 256)),
        ("group", "fp32", (64, 256)),
        ("group", "bf16", (64, 128, 256)),
    )
    for c in widths
}

ADAPTIVE = VideoUNetConfig(
    layout="plain",
    mults=(1, 2),
    attention=("none", "linear"),
    norm="group",
    block="norm-act-conv",
    film="both",
    frame_embedding=16,
    relative_bias=False,
)
NETWORKS: dict[str, Callable[[], None]] = {
    "network vdm 64": partial(network, vdm(64), 16),
    "network adaptive": partial(network, ADAPTIVE, 16),
}
"""Behind all others: they have rows for what no single op launches."""
