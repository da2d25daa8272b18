"""RMS norm over channels, FiLM and SiLU in one step.

``y = act(x * sqrt(C) / max(|x|, eps) * weight * (1 + scale) + shift)``, |x| the length of a row.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12


def reference(
    x: Tensor, weight: Tensor, film: tuple[Tensor, Tensor] | None = None, *, act: bool = True
) -> Tensor:
    """The formula above, step by step."""
    y = F.normalize(x, dim=-1, eps=EPS) * x.shape[-1] ** 0.5 * weight
    if film is not None:
        scale, shift = film
        y = y * (1 + spread(scale, y)) + spread(shift, y)
    return F.silu(y) if act else y


def spread(rows: Tensor, like: Tensor) -> Tensor:
    """[B, C] as [B, 1, ..., 1, C], to broadcast over the middle axes of ``like``."""
    return rows.reshape(rows.shape[0], *[1] * (like.ndim - 2), rows.shape[1])


def rms_norm_act(
    x: Tensor, weight: Tensor, film: tuple[Tensor, Tensor] | None = None, *, act: bool = True
) -> Tensor:
    """Normalise each row of ``x`` by its RMS, modulate, and activate if ``act``.

    x: [B, ..., C]; weight: [C]; film: (scale, shift), each [B, C]. Differentiable in all.
    """
    if weight.shape != x.shape[-1:]:
        raise ValueError(f"weight must be [{x.shape[-1]}], got {list(weight.shape)}")
    gain = weight * x.shape[-1] ** 0.5
    y: Tensor = _Normalize.apply(x)
    if film is None:
        y = y * gain
    else:
        # one gain a sample folds weight, sqrt(C) and scale into a single pass over x
        y = torch.addcmul(spread(film[1], x), y, spread(gain * (1 + film[0]), x))
    return F.silu(y) if act else y


class _Normalize(torch.autograd.Function):
    """Rows at unit length, the gradient in three passes: torch's takes twice as many."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(EPS)
        y: Tensor = x / length
        ctx.save_for_backward(y, length)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, length = ctx.saved_tensors
        along = (grad * y).sum(dim=-1, keepdim=True)
        return torch.addcmul(grad, y, along, value=-1).div_(length)
