"""Two convolutions, RMS norm, FiLM and SiLU behind each, and a residual; the middle is not kept.

``z = rms_norm_act(conv(x) + bias)`` of the first, ``y = rms_norm_act(conv(z) + bias) + residual``
of the second. The backward pass of the second convolution takes z: it is made again there from the
first convolution's output, which the norm keeps as it is. That takes two passes over z and saves
one of the four activations of a residual block.
"""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from .checks import Film, check_norm
from .conv_norm_act import conv_frames, conv_norm_act
from .conv_norm_act import reference as conv_reference
from .dispatch import cast, cast_dtype, fused
from .modulation import rows
from .rms_norm_act import EPS
from .row_norm import row_limit, row_norm, row_norm_act, row_norm_backward


class Conv(NamedTuple):
    """A convolution and the norm behind it."""

    weight: Tensor
    """[O, C, k, k], k odd."""
    bias: Tensor
    norm_weight: Tensor
    film: Film | None = None
    """Scale and shift, each [B, O]."""


def reference(x: Tensor, first: Conv, second: Conv, *, residual: Tensor | None = None) -> Tensor:
    """The formula above, step by step."""
    (w1, b1, gain1, film1), (w2, b2, gain2, film2) = first, second
    z = conv_reference(x, w1, b1, norm_weight=gain1, film=film1)
    return conv_reference(z, w2, b2, norm_weight=gain2, film=film2, residual=residual)


@torch.library.custom_op("fastvd::row_norm_conv", mutates_args=())
def row_norm_conv(
    y: Tensor,
    conv_bias: Tensor,
    norm_weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    weight: Tensor,
) -> Tensor:
    """The second convolution of what the first norm makes of y [B, T, H, W, C]."""
    return conv_frames(_middle(y, conv_bias, norm_weight, scale, shift), weight, None).contiguous()


def _middle(y: Tensor, *norm: Tensor | None) -> Tensor:
    conv_bias, norm_weight, scale, shift = norm
    z: Tensor = row_norm(y, conv_bias, norm_weight, None, scale, shift, None, False, True, EPS)
    return z


@row_norm_conv.register_fake
def _(y: Tensor, *rest: Any) -> Tensor:
    return y.new_empty(*y.shape[:-1], rest[-1].shape[0])


@torch.library.custom_op("fastvd::row_norm_conv_backward", mutates_args=())
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
    images = (rearrange(clip, "b t h w c -> (b t) c h w") for clip in (du, z))
    padding = [weight.shape[2] // 2, weight.shape[3] // 2]
    dz, dw, _ = torch.ops.aten.convolution_backward(
        *(*images, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, False])
    )
    dz = rearrange(dz, "(b t) c h w -> b t h w c", b=y.shape[0], t=y.shape[1])
    dw = dw if dw.stride() == weight.stride() else torch.empty_like(weight).copy_(dw)
    return dz.contiguous(), dw


@row_norm_conv_backward.register_fake
def _(_du: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(y), torch.empty_like(rest[-1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, du: Tensor) -> tuple[Tensor | None, ...]:
    y, conv_bias, norm_weight, scale, shift, _ = ctx.saved_tensors
    dz, dw = row_norm_conv_backward(du.contiguous(), *ctx.saved_tensors)
    norm = (conv_bias, norm_weight, None, scale, shift, False, True, EPS)
    dy, d_conv_bias, d_norm_weight, _, dscale, dshift = row_norm_backward(dz, y, *norm)
    film = (None, None) if scale is None else (dscale, dshift)
    return dy, d_conv_bias, d_norm_weight, *film, dw


row_norm_conv.register_autograd(_gradients, setup_context=_save)


def conv_pair(x: Tensor, first: Conv, second: Conv, *, residual: Tensor | None = None) -> Tensor:
    """``conv_norm_act`` by ``first``, then by ``second`` with ``residual``.

    x: [B, T, H, W, C]; residual: as the output, [B, T, H, W, O]. Differentiable in all. Raises
    ValueError where shapes, devices or dtypes do not go together.
    """
    _check(x, first, second, residual)
    given = (x, *first[:3], *second[:3], *(first.film or ()), *(second.film or ()), residual)
    limit = row_limit(max(len(first.weight), len(second.weight)))
    if not fused("conv_pair", *given, limit=limit):
        z = _alone(x, first, None)
        return _alone(z, second, residual)
    y = cast(conv_frames(x, first.weight, None).contiguous())
    vectors = (t.contiguous() for t in (first.bias, first.norm_weight))
    film = map(rows, first.film or (None, None))
    u: Tensor = row_norm_conv(y, *vectors, *film, second.weight.to(cast_dtype(y)))
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


def _check(x: Tensor, first: Conv, second: Conv, residual: Tensor | None) -> None:
    for i, (conv, c) in enumerate(((first, x.shape[-1]), (second, len(first.weight)))):
        weight, bias, norm_weight, film = conv
        is_square = weight.ndim == 4 and weight.shape[2] % 2 == weight.shape[3] % 2 == 1
        if not is_square or weight.shape[1] != c:
            raise ValueError(
                f"conv_pair takes weight [O, {c}, k, k], k odd, got {list(weight.shape)}"
            )
        if x.ndim != 5:
            raise ValueError(f"conv_pair takes x [B, T, H, W, C], got {list(x.shape)}")
        like = x.new_empty(()).expand(*x.shape[:-1], len(weight))
        vectors = {"bias": bias, "norm_weight": norm_weight}
        check_norm("conv_pair", like, film, residual if i else None, **vectors)
