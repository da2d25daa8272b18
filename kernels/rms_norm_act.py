"""RMS norm over channels, FiLM, SiLU and a residual in one step."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import FLAG, MAYBE_PAIR, MAYBE_TENSOR, TENSOR, Film, check_kinds, check_norm
from .dispatch import fused
from .row_norm import row_limit, row_norm_act

EPS = 1e-12


def reference(
    x: Tensor,
    weight: Tensor,
    film: Film | None = None,
    *,
    residual: Tensor | None = None,
    act: bool = True,
) -> Tensor:
    """The formula of ``rms_norm_act``, step by step."""
    y = F.normalize(x, dim=-1, eps=EPS) * x.shape[-1] ** 0.5 * weight
    if film is not None:
        scale, shift = film
        y = y * (1 + spread(scale, y)) + spread(shift, y)
    y = F.silu(y) if act else y
    return y if residual is None else y + residual


def spread(rows: Tensor, like: Tensor) -> Tensor:
    """[B, C] as [B, 1, ..., 1, C], to broadcast over the middle axes of ``like``."""
    return rows.reshape(rows.shape[0], *[1] * (like.ndim - 2), rows.shape[1])


def rms_norm_act(
    x: Tensor,
    weight: Tensor,
    film: Film | None = None,
    *,
    residual: Tensor | None = None,
    act: bool = True,
) -> Tensor:
    """Normalise each row of ``x`` by its RMS, modulate, activate if ``act``, add ``residual``.

    ``y = act(x * sqrt(C) / max(|x|, eps) * weight * (1 + scale) + shift) + residual``, |x| the
    length of a row, eps 1e-12, act SiLU: RMS norm (1910.07467, eq. 4), FiLM (1709.07871, eq. 2).
    x: [B, ..., C], residual too; weight: [C]; film: (scale, shift), each [B, C]. Differentiable
    in all. Raises TypeError for another kind of argument, ValueError where shapes, devices or
    dtypes do not go together.
    """
    check_kinds(
        "rms_norm_act",
        (
            ("x", x, TENSOR),
            ("weight", weight, TENSOR),
            ("film", film, MAYBE_PAIR),
            ("residual", residual, MAYBE_TENSOR),
            ("act", act, FLAG),
        ),
    )
    check_norm("rms_norm_act", x.shape, film, residual, weight=weight)
    if fused("rms_norm_act", x, weight, *(film or ()), residual, limit=row_limit(x.shape[-1])):
        return row_norm_act(x, (weight, None), film, residual, centered=False, act=act, eps=EPS)
    gain = weight * x.shape[-1] ** 0.5
    y: Tensor = _Normalize.apply(x)[0]
    if film is None:
        y = y * gain
    else:
        # one gain a sample folds weight, sqrt(C) and scale into a single pass over x
        y = torch.addcmul(spread(film[1], x), y, spread(gain * (1 + film[0]), x))
    return finished(y, x.dtype, act, residual)


def finished(y: Tensor, dtype: torch.dtype, act: bool, residual: Tensor | None) -> Tensor:
    """What stands behind every norm: SiLU, the clip's own dtype, the residual."""
    y = (F.silu(y) if act else y).to(dtype)
    return y if residual is None else y + residual.to(dtype)


class _Normalize(torch.autograd.Function):
    """Rows at unit length, the gradient in three passes: torch's takes twice as many.

    The length is an output for the sake of second derivatives.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        # float16 has neither EPS nor the length of many rows
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide).clamp_min_(EPS)
        y = (x / length).to(x.dtype)
        ctx.save_for_backward(y, length)
        ctx.set_materialize_grads(False)
        return y, length

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_length: Tensor | None) -> Tensor | None:
        y, length = ctx.saved_tensors
        dx = None
        if grad is not None:
            along = (grad * y).sum(dim=-1, keepdim=True)
            dx = torch.addcmul(grad, y, along, value=-1).div_(length)
        if grad_length is not None:
            more = (grad_length * y).to(y.dtype)
            dx = more if dx is None else dx + more
        return dx
