"""A convolution of every frame and a linear map of every pixel beside it: ``conv(x), W x + b``.

Backward, the map's share of the gradient of x is added to the convolution's by the matrix product
that makes it, rather than written, read and added: two passes over x less.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .convolution import conv_gradients, convolve_frames
from .ops import op


@op("conv_shortcut")
def conv_shortcut(
    x: Tensor, weight: Tensor, shortcut: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """x: [B, T, H, W, C]; weight: [O, C, k, k]; shortcut: [P, C]; bias: [P]."""
    return convolve_frames(x, weight).contiguous(), F.linear(x, shortcut, bias)


@conv_shortcut.register_fake
def _(x: Tensor, weight: Tensor, shortcut: Tensor, _bias: Tensor) -> tuple[Tensor, Tensor]:
    y, s = (x.new_empty(*x.shape[:-1], w.shape[0]) for w in (weight, shortcut))
    return y, s


@op("conv_shortcut_backward")
def conv_shortcut_backward(
    dy: Tensor, ds: Tensor, x: Tensor, weight: Tensor, shortcut: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, shortcut and bias."""
    dx, dw = conv_gradients(dy, x, weight)
    pixels, ds = x.reshape(-1, x.shape[-1]), ds.reshape(-1, ds.shape[-1])
    dx.view(pixels.shape).addmm_(ds, shortcut)
    return dx, dw, ds.t() @ pixels, ds.sum(dim=0)


@conv_shortcut_backward.register_fake
def _(
    _dy: Tensor, _ds: Tensor, x: Tensor, weight: Tensor, shortcut: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    vectors = shortcut.new_empty(shortcut.shape), shortcut.new_empty(shortcut.shape[0])
    return torch.empty_like(x), torch.empty_like(weight), *vectors


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:3])


def _gradients(ctx: Any, dy: Tensor, ds: Tensor) -> tuple[Tensor, ...]:
    grads: tuple[Tensor, ...] = conv_shortcut_backward(
        dy.contiguous(), ds.contiguous(), *ctx.saved_tensors
    )
    return grads


conv_shortcut.register_autograd(_gradients, setup_context=_save)
