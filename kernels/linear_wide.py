"""The linear attention block for many channels: matrix products large enough for cuBLAS.

The formula of linear_forward.py and linear_backward.py a frame at a time. Nothing but x is kept:
the backward makes q, k and what lies between the sweeps again.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from .linear_block import EPS, Sizes, Weights


class Found(NamedTuple):
    """All that both directions need."""

    xhat: Tensor
    """[frames, n, C]"""
    mean: Tensor
    rstd: Tensor
    p: Tensor
    """[frames, n, heads * D]"""
    s: Tensor
    mixed: Tensor
    """G [frames, heads, D, C]"""
    context: Tensor
    """[frames, heads, D, D]"""
    output: Tensor
    """M [frames, heads, D, C]"""


def _by_head(weights: Weights, heads: int) -> tuple[Tensor, Tensor]:
    """Wv [heads, D, C] and Wo / sqrt(D) [heads, D, C]."""
    _, _, wv, wo = weights
    wv = rearrange(wv, "(a e) c -> a e c", a=heads)
    return wv, rearrange(wo, "c (a e) -> a e c", a=heads) * wv.shape[1] ** -0.5


def _find(x: Tensor, weights: Weights, sizes: Sizes) -> Found:
    frames, n, c, heads, d = sizes
    wq, wk, _, _ = weights
    wv, wo = _by_head(weights, heads)
    xhat, mean, rstd = torch.native_layer_norm(x.view(frames, n, c), [c], None, None, EPS)
    p = (xhat @ wk.mT).softmax(dim=1)
    s = (xhat @ wq.mT).view(frames, n, heads, d).softmax(dim=-1).view(frames, n, heads * d)
    mixed = torch.bmm(p.mT, xhat).view(frames, heads, d, c)
    context = torch.einsum("fadc,aec->fade", mixed, wv)
    return Found(
        *(xhat, mean, rstd, p, s, mixed, context, torch.einsum("fade,aec->fadc", context, wo))
    )


def wide_forward(x: Tensor, weights: Weights, bias: Tensor, sizes: Sizes) -> Tensor:
    """The block. weights: Wq, Wk, Wv with the gain, Wo."""
    found = _find(x, weights, sizes)
    shifted = (x + bias).to(x.dtype).view(sizes.frames, sizes.n, sizes.c)
    return torch.baddbmm(shifted, found.s, found.output.flatten(1, 2)).view_as(x)


def wide_backward(
    dy: Tensor, x: Tensor, weights: Weights, sizes: Sizes
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, of Wq, Wk and Wv [3 * heads * D, C], of Wo and of the bias."""
    frames, n, c, heads, d = sizes
    found, (wv, wo) = _find(x, weights, sizes), _by_head(weights, heads)
    xhat, rows = found.xhat, dy.view(frames, n, c)
    doutput = torch.bmm(found.s.mT, rows).view(frames, heads, d, c)
    dcontext = torch.einsum("fadc,aec->fade", doutput, wo)
    dmixed = torch.einsum("fade,aec->fadc", dcontext, wv).flatten(1, 2)
    dwv = torch.einsum("fade,fadc->aec", dcontext, found.mixed).flatten(0, 1)
    dwo = torch.einsum("fade,fadc->cae", found.context, doutput).flatten(1) * d**-0.5
    dq = torch.bmm(rows, found.output.flatten(1, 2).mT).view(frames, n, heads, d)
    dq = torch._softmax_backward_data(dq, found.s.view_as(dq), -1, x.dtype).flatten(2)
    dk = torch._softmax_backward_data(torch.bmm(xhat, dmixed.mT), found.p, 1, x.dtype)
    both = torch.cat([dq, dk], dim=-1)
    dxhat = torch.baddbmm(both @ torch.cat(weights[:2]), found.p, dmixed)
    dx, _, _ = torch.ops.aten.native_layer_norm_backward(
        *(dxhat, x.view_as(xhat), [c], found.mean, found.rstd, None, None, [True, False, False])
    )
    dqk = both.flatten(0, 1).mT @ xhat.flatten(0, 1)
    dbias = rows.sum(dim=(0, 1), dtype=torch.float32)
    return (dx + rows).view_as(x), torch.cat([dqk, dwv]), dwo, dbias
