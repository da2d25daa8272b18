"""Every kernel at the shapes of a network's levels, and the network itself."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from fastvd import kernels
from fastvd.bench.config import BenchConfig
from fastvd.kernels.conv_choice import Implementation, refusal
from fastvd.kernels.convolution import as_3d
from fastvd.models import VideoUNet, VideoUNetConfig
from fastvd.models.config import SpatialKind
from fastvd.models.device import Precision, autocast, move

Mode = Literal["forward", "backward", "both"]
MODES: tuple[Mode, ...] = ("forward", "backward", "both")
HEADS, HEAD_DIM = 8, 32
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far fused and plain may be apart, in terms of the largest plain value."""
NETWORK_TOLERANCE = 0.05


class Form(NamedTuple):
    """A call, and the block that it runs in; the compiler sees the call alone."""

    block: Callable[[], AbstractContextManager[None]]
    call: Callable[[], Tensor]

    def run(self) -> Tensor:
        """Run it."""
        with self.block():
            return self.call()

    def compiled(self) -> "Form":
        """As torch.compile makes it; takes minutes for a network."""
        call = torch.compile(self.call, mode="max-autotune-no-cudagraphs", dynamic=False)
        return Form(self.block, call)


class Case(NamedTuple):
    """One op at one shape."""

    op: str
    shape: tuple[int, ...]
    """[B, T, H, W, C]"""
    args: tuple[Any, ...]
    options: dict[str, Any]
    tensors: list[Tensor]
    """What gradients are taken of, the clip first."""
    dtype: torch.dtype
    """That results are as exact as."""

    def call(self, **how: Implementation) -> Tensor:
        """Run the op, fused where it can be; how: its implementation, where it has several."""
        y: Tensor = getattr(kernels, self.op)(*self.args, **self.options, **how)
        return y

    def formula(self) -> Tensor:
        """Run the op's formula, step by step in PyTorch."""
        y: Tensor = _formula_of(self.op)(*self.args, **self.options)
        return y

    def plain(self) -> dict[str, Form]:
        """Run the op in plain PyTorch: as it does on a CPU, and by its formula."""
        return {"eager": Form(kernels.eager, self.call), "formula": Form(nullcontext, self.formula)}

    def moved_bytes(self, mode: Mode) -> int | None:
        """Bytes of the clips that go in and come out: x and y; x, dy and dx; or all of them."""
        x = self.tensors[0]
        passes = {"forward": 2, "backward": 3, "both": 5}[mode]
        return passes * x.numel() * x.element_size()


class NetworkCase(Case):
    """A pass of a whole network, ``args`` it, noisy clips and timesteps."""

    __slots__ = ()

    def call(self, **_: Implementation) -> Tensor:
        """Predict, in ``dtype`` where autocast says so."""
        net, x, t = self.args
        with autocast(x.device, self.options["precision"]):
            y: Tensor = net(x, t)
        return y

    def formula(self) -> Tensor:
        """Predict by the formula of every op."""
        return Form(formulas, self.call).run()

    def plain(self) -> dict[str, Form]:
        """Predict in plain PyTorch: as on a CPU, and by the formula of every op."""
        return {"eager": Form(kernels.eager, self.call), "formula": Form(formulas, self.call)}

    def moved_bytes(self, mode: Mode) -> int | None:  # noqa: ARG002
        """Nobody counts them."""
        return None


def _formula_of(op: str) -> Any:
    return importlib.import_module(f"fastvd.kernels.{op}").reference


@contextmanager
def formulas() -> Iterator[None]:
    """Run every op as its file's formula, step by step."""
    ops = [name for name in kernels.__all__ if name.endswith(("_act", "_pair", "_attention"))]
    public = {op: getattr(kernels, op) for op in ops}
    for op in ops:
        setattr(kernels, op, _formula_of(op))
    try:
        yield
    finally:
        for op, function in public.items():
            setattr(kernels, op, function)


def cases(config: BenchConfig, device: torch.device) -> Iterator[Case]:
    """Every kernel at every level, then on a GPU the whole network."""
    if not 1 <= config.frames <= kernels.MAX_FRAMES:
        raise ValueError(f"frames must be 1..{kernels.MAX_FRAMES}, got {config.frames}")
    least = {"dim": config.dim, "batch": config.batch, "mults": min(config.mults, default=0)}
    for name, value in (least | {"size": config.size}).items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    divisor = 1 << (len(config.mults) - 1)
    if config.size % divisor:
        told = f"{divisor} for {len(config.mults)} levels"
        raise ValueError(f"size must be a multiple of {told}, got {config.size}")
    for level, mult in enumerate(config.mults):
        side = config.size >> level
        shape = (config.batch, config.frames, side, side, config.dim * mult)
        yield from level_cases(shape, getattr(torch, config.dtype), device)
    if device.type == "cuda":
        yield network_case(config, device)


def network_case(config: BenchConfig, device: torch.device) -> NetworkCase:
    """The vdm network of ``config``; two calls give equal weights and inputs."""
    linear: SpatialKind = "linear"
    attention = (linear,) * len(config.mults)
    layout = VideoUNetConfig(dim=config.dim, mults=config.mults, attention=attention)
    generator = torch.Generator().manual_seed(0)
    clips = (config.batch, layout.in_channels, config.frames, config.size, config.size)
    x = torch.randn(clips, generator=generator).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = VideoUNet(layout)
    move(net, device)
    precision: Precision = config.dtype
    return NetworkCase(
        op="VideoUNet",
        shape=(config.batch, config.frames, config.size, config.size, config.dim),
        args=(net, x, torch.arange(config.batch, device=device)),
        options={"precision": precision},
        tensors=list(net.parameters()),
        dtype=getattr(torch, precision),
    )


def level_cases(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Every kernel on clips [B, T, H, W, C]."""
    b, _, _, _, c = shape
    width = HEADS * HEAD_DIM
    generator = torch.Generator(device).manual_seed(0)

    def leaf(*size: int, scale: float = 1.0) -> Tensor:
        numbers = torch.randn(size, device=device, generator=generator) * scale
        return numbers.to(dtype).requires_grad_()

    def case(op: str, args: tuple[Any, ...], options: dict[str, Any], *tensors: Tensor) -> Case:
        return Case(op, shape, args, options, list(tensors), dtype)

    x, gain, bias = leaf(*shape), leaf(c), leaf(c)
    conv, conv_bias = leaf(c, c, 3, 3, scale=(9 * c) ** -0.5), leaf(c)
    qkv, out = leaf(3 * width, c, scale=c**-0.5), leaf(c, width, scale=width**-0.5)
    scale, shift = leaf(b, c), leaf(b, c)
    film, rows = (scale, shift), [x, scale, shift, gain]
    yield case("rms_norm_act", (x, gain, film), {}, *rows)
    affine = (x, (gain, bias), film)
    yield case("layer_norm_act", affine, {}, *rows, bias)
    groups = {"groups": 8 if c % 8 == 0 else 1}
    yield case("group_norm_act", affine, groups, *rows, bias)
    norm = {"norm_weight": gain, "film": film}
    yield case("conv_norm_act", (x, conv, conv_bias), norm, *rows, conv, conv_bias)
    pair = (kernels.Conv(conv, conv_bias, gain, film),) * 2
    yield case("conv_pair", (x, *pair), {}, *rows, conv, conv_bias)
    heads = {"out": (out, conv_bias), "heads": HEADS}
    yield case("linear_attention", (x, gain, qkv), heads, x, gain, qkv, out, conv_bias)
    angles = torch.outer(torch.arange(shape[1]), 0.6 ** torch.arange(HEAD_DIM // 2)).to(device)
    scores = leaf(HEADS, shape[1], shape[1])
    told = {"heads": HEADS, "angles": angles, "bias": scores}
    yield case("temporal_attention", (x, gain, qkv, out), told, x, gain, qkv, out, scores)


def implementations(case: Case) -> list[Implementation]:
    """What the fused op can run as at this shape; nothing where there is no choice."""
    if case.op != "conv_norm_act":
        return []
    weight, how = as_3d(case.args[1]), case.options
    stride, norm, pre_act = how.get("stride", 1), how.get("norm", "rms"), how.get("pre_act", False)
    names: tuple[Implementation, ...] = get_args(Implementation)
    return [name for name in names if not refusal(name, weight, stride, norm, pre_act=pre_act)]


def assert_agreement(case: Case, **how: Implementation) -> None:
    """Raise AssertionError where the op and its plain form differ by more than their dtype may.

    Of a network's pass it is the prediction that must agree, by its RMS.
    """
    got, wanted = case.call(**how), case.formula()
    if isinstance(case, NetworkCase):
        assert_predictions_agree("network", got, wanted)
        return
    probe = torch.randn_like(wanted)
    pairs = [(got, wanted)]
    grads = (torch.autograd.grad(y, case.tensors, probe.to(y.dtype)) for y in (got, wanted))
    pairs += zip(*grads, strict=True)
    for a, b in pairs:
        a, b = a.detach().float(), b.detach().float()
        largest, apart = float(b.abs().max()), float((a - b).abs().max())
        allowed = TOLERANCE[case.dtype] * largest
        assert apart <= allowed, f"{case.op} {case.shape}: {apart:.2e} apart, {allowed:.2e} allowed"


def assert_predictions_agree(name: str, got: Tensor, wanted: Tensor) -> None:
    """Raise AssertionError where two predictions differ by more than bfloat16 may."""
    apart, size = (float(t.detach().float().norm()) for t in (got - wanted, wanted))
    assert apart <= NETWORK_TOLERANCE * size, f"{name}: {apart:.2e} apart of {size:.2e}"
