"""Two convolutions, RMS norm, FiLM and SiLU behind each, and a residual; the middle is not kept.

The backward pass of the second convolution takes what comes in between: it is made again there
from the first convolution's output, which the norm keeps as it is. That takes two passes over it
and saves one of the four activations of a residual block.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import (
    MAYBE_PAIR,
    MAYBE_TENSOR,
    TENSOR,
    Film,
    check_clip,
    check_kinds,
    check_norm,
    check_shapes,
    told,
)
from .conv_norm_act import conv_norm_act
from .conv_norm_act import reference as conv_reference
from .conv_shortcut import conv_shortcut
from .convolution import conv_gradients, convolve_frames
from .dispatch import cast, cast_dtype, fused, in_dtype
from .empty import empty
from .modulation import rows
from .ops import op
from .rms_norm_act import EPS
from .row_norm import row_limit, row_norm, row_norm_act, row_norm_backward


class Conv(NamedTuple):
    """A convolution and the norm behind it."""

    weight: Tensor
    """[O, C, k, k], k odd."""
    bias: Tensor
    """[O]"""
    norm_weight: Tensor
    """[O]"""
    film: Film | None = None
    """Scale and shift, each [B, O]."""


Shortcut = tuple[Tensor, Tensor]
"""Weight [O, C] and bias [O]."""


def reference(
    x: Tensor,
    first: Conv,
    second: Conv,
    *,
    residual: Tensor | None = None,
    shortcut: Shortcut | None = None,
) -> Tensor:
    """The formula of ``conv_pair``, step by step."""
    residual = residual if shortcut is None else F.linear(x, *shortcut)
    (w1, b1, gain1, film1), (w2, b2, gain2, film2) = first, second
    z = conv_reference(x, w1, b1, norm_weight=gain1, film=film1)
    return conv_reference(z, w2, b2, norm_weight=gain2, film=film2, residual=residual)


@op("row_norm_conv")
def row_norm_conv(
    y: Tensor,
    conv_bias: Tensor,
    norm_weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    weight: Tensor,
) -> Tensor:
    """The second convolution of what the first norm makes of y [B, T, H, W, C]."""
    return convolve_frames(_middle(y, conv_bias, norm_weight, scale, shift), weight).contiguous()


def _middle(y: Tensor, *norm: Tensor | None) -> Tensor:
    conv_bias, norm_weight, scale, shift = norm
    z: Tensor = row_norm(y, conv_bias, norm_weight, None, scale, shift, None, False, True, EPS)
    return z


@row_norm_conv.register_fake
def _(y: Tensor, *rest: Any) -> Tensor:
    return y.new_empty(*y.shape[:-1], rest[-1].shape[0])


@op("row_norm_conv_backward")
def row_norm_conv_backward(
    du: Tensor,
    y: Tensor,
    conv_bias: Tensor,
    norm_weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of what the norm makes of y, and of weight."""
    z = _middle(y, conv_bias, norm_weight, scale, shift)
    return conv_gradients(du, z, weight)


@row_norm_conv_backward.register_fake
def _(_du: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(y), torch.empty_like(rest[-1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, du: Tensor) -> tuple[Tensor | None, ...]:
    # once: gradient checkpointing gives them away a single time
    saved = ctx.saved_tensors
    y, conv_bias, norm_weight, scale, shift, _ = saved
    dz, dw = row_norm_conv_backward(du.contiguous(), *saved)
    norm = (conv_bias, norm_weight, None, scale, shift, False, True, EPS)
    dy, d_conv_bias, d_norm_weight, _, dscale, dshift = row_norm_backward(dz, y, *norm)
    film = (None, None) if scale is None else (dscale, dshift)
    return dy, d_conv_bias, d_norm_weight, *film, dw


row_norm_conv.register_autograd(_gradients, setup_context=_save)


def conv_pair(
    x: Tensor,
    first: Conv,
    second: Conv,
    *,
    residual: Tensor | None = None,
    shortcut: Shortcut | None = None,
) -> Tensor:
    """``conv_norm_act`` by ``first``, then by ``second`` with a residual.

    ``z = rms_norm_act(conv(x) + bias)`` of the first, ``y = rms_norm_act(conv(z) + bias) +
    residual`` of the second.
    x: [B, T, H, W, C]; residual: as the output, [B, T, H, W, O], or none; shortcut: weight [O,
    C] and bias [O] that make the residual of x. In the clip's dtype, or autocast's.
    Differentiable in all. Raises TypeError for another kind of argument, ValueError where
    shapes, devices or dtypes do not go together.
    """
    first, second = (_as_conv(*named) for named in (("first", first), ("second", second)))
    _check(x, first, second, residual, shortcut)
    films = (*(first.film or ()), *(second.film or ()))
    given = (x, *first[:3], *second[:3], *films, residual, *(shortcut or ()))
    limit = row_limit(max(len(first.weight), len(second.weight)))
    is_fused, dtype = fused("conv_pair", *given, limit=limit), cast_dtype(x)
    if not x.numel():
        return empty(cast(x), (*x.shape[:-1], len(second.weight)), *given)
    if not is_fused:
        if shortcut is not None:
            residual = F.linear(cast(x), *(in_dtype(t, dtype) for t in shortcut))
        return _alone(_alone(x, first, None), second, residual)
    if shortcut is None:
        y = convolve_frames(x, first.weight).contiguous()
    else:
        y, residual = conv_shortcut(
            cast(x).contiguous(), *(in_dtype(t, dtype) for t in (first.weight, *shortcut))
        )
    vectors = (t.contiguous() for t in (first.bias, first.norm_weight))
    film = map(rows, first.film or (None, None))
    u: Tensor = row_norm_conv(y, *vectors, *film, in_dtype(second.weight, dtype))
    affine = (second.norm_weight, None)
    return row_norm_act(
        *(u, affine, second.film, residual),
        centered=False,
        act=True,
        eps=EPS,
        conv_bias=second.bias,
    )


def _alone(x: Tensor, conv: Conv, residual: Tensor | None) -> Tensor:
    weight, bias, norm_weight, film = conv
    return conv_norm_act(x, weight, bias, norm_weight=norm_weight, film=film, residual=residual)


def _as_conv(name: str, conv: object) -> Conv:
    """``conv``, which may be a plain tuple."""
    if not isinstance(conv, tuple) or not 3 <= len(conv) <= 4:
        raise TypeError(f"conv_pair takes a Conv for {name}, got {told(conv)}")
    given = Conv(*conv)
    weight, bias, norm_weight, film = given
    check_kinds(
        f"conv_pair's {name}",
        (
            ("weight", weight, TENSOR),
            ("bias", bias, TENSOR),
            ("norm_weight", norm_weight, TENSOR),
            ("film", film, MAYBE_PAIR),
        ),
    )
    return given


def _check(
    x: Tensor, first: Conv, second: Conv, residual: Tensor | None, shortcut: Shortcut | None
) -> None:
    op = "conv_pair"
    check_kinds(
        op,
        (
            ("x", x, TENSOR),
            ("residual", residual, MAYBE_TENSOR),
            ("shortcut", shortcut, MAYBE_PAIR),
        ),
    )
    check_clip(op, x)
    if residual is not None and shortcut is not None:
        raise ValueError(f"{op} takes a residual or a shortcut, got both")
    c = x.shape[-1]
    for name, conv in (("first", first), ("second", second)):
        of, shape = f"{op}'s {name}", conv.weight.shape
        if len(shape) != 4 or shape[1] != c or shape[2] != shape[3] or not shape[2] % 2:
            raise ValueError(f"{of} takes weight [O, {c}, k, k], k odd, got {list(shape)}")
        c = shape[0]
        last = residual if conv is second else None
        vectors = {"bias": conv.bias, "norm_weight": conv.norm_weight}
        check_norm(of, torch.Size((*x.shape[:-1], c)), conv.film, last, **vectors)
    if shortcut is not None:
        weight, bias = shortcut
        check_shapes(
            f"{op}'s shortcut", (("weight", weight, (c, x.shape[-1])), ("bias", bias, (c,)))
        )
