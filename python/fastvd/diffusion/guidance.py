"""What is done to a prediction before the scheduler steps: guidance, then bounds on x_0."""

import math
from typing import Literal

from einops import rearrange
from torch import Tensor

from fastvd.diffusion.objective import Network, predict

Clip = Literal["static", "dynamic", "none"]


def guided(
    network: Network,
    x: Tensor,
    t: Tensor,
    *,
    cond: Tensor | None = None,
    null_cond: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Return ``null + scale (cond - null)`` (Ho and Salimans, 2207.12598, eq. 6, w = scale - 1).

    A scale of 1 is the conditional prediction alone, for the price of one pass. The null pass has
    ``null_cond`` as its cond, None being the network's own "no cond".
    """
    conditional = predict(network, x, t, cond=cond)
    if scale == 1:
        return conditional
    if cond is None:
        raise ValueError(f"guidance {scale} needs a cond; without one it must be 1")
    unconditional = predict(network, x, t, cond=null_cond)
    return unconditional + scale * (conditional - unconditional)


def bound(x0: Tensor, clip: Clip, *, quantile: float) -> Tensor:
    """Keep a predicted clip in -1..1: cut (static), scale down (dynamic), or leave it (none)."""
    if clip == "static":
        return x0.clamp(-1, 1)
    return dynamic_threshold(x0, quantile=quantile) if clip == "dynamic" else x0


def dynamic_threshold(x0: Tensor, *, quantile: float) -> Tensor:
    """Cut each sample at the ``quantile`` of its absolute values, then scale it into -1..1.

    Imagen, 2205.11487, section 2.3: ``s = max(1, quantile)``, ``clip(x0, -s, s) / s``. The
    quantile is by nearest rank, so that a clip may have any number of values.
    """
    values = rearrange(x0.abs(), "b ... -> b (...)")
    rank = max(1, math.ceil(quantile * values.shape[1]))
    s = values.kthvalue(rank, dim=1).values.clamp(min=1)
    s = s.reshape(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-s, s) / s
