"""What a network predicts, and the loss on it."""

from collections.abc import Callable
from typing import Any, Literal

import torch.nn.functional as F
from einops import reduce
from torch import Tensor

from fastvd.arguments import check_callable, check_kind

Network = Callable[..., Tensor]
"""``network(x [B, C, T, H, W], t [B], cond=None)``: t on a 0..1000 scale, prediction out."""

Prediction = Literal["epsilon", "sample", "v_prediction"]
Loss = Literal["l2", "l1", "huber"]

HUBER_DELTA = 0.1


def predict(network: Network, x: Tensor, t: Tensor, *, cond: Tensor | None) -> Tensor:
    """Return what the network answers; raises where that is no prediction for ``x``."""
    check_callable(network=network)
    output = network(x, t, cond=cond)
    given: dict[str, Any] = {"what the network answers": output}
    check_kind(Tensor, **given)
    if output.shape != x.shape:
        raise ValueError(f"the network must answer {tuple(x.shape)}, got {tuple(output.shape)}")
    return output


def check_clip(clip: Tensor, *, name: str = "clip") -> None:
    """Raise unless ``clip`` is floating [B, C, T, H, W], and holds something."""
    given: dict[str, Any] = {name: clip}
    check_kind(Tensor, **given)
    if clip.ndim != 5 or 0 in clip.shape:
        raise ValueError(f"{name} must be [B, C, T, H, W], none of them 0, got {tuple(clip.shape)}")
    if not clip.is_floating_point():
        raise ValueError(f"{name} must be floating, -1..1, got {clip.dtype}")


def check_noise(noise: Tensor, clip: Tensor) -> None:
    """Raise unless ``noise`` is like the clip: of one number for many it would be a stripe."""
    check_kind(Tensor, noise=noise)
    if noise.shape != clip.shape:
        raise ValueError(f"noise must be {tuple(clip.shape)}, got {tuple(noise.shape)}")


def target(kind: Prediction, x0: Tensor, noise: Tensor, *, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return what the network should answer at ``alpha x0 + sigma noise``.

    ``v = alpha noise - sigma x0`` is of Salimans and Ho, 2202.00512, appendix D.
    """
    if kind == "epsilon":
        return noise
    return x0 if kind == "sample" else alpha * noise - sigma * x0


def to_x0(kind: Prediction, output: Tensor, x: Tensor, *, alpha: float, sigma: float) -> Tensor:
    """Return the clean clip that a prediction at ``x`` stands for."""
    if kind == "epsilon":
        return (x - sigma * output) / alpha
    return output if kind == "sample" else alpha * x - sigma * output


def from_x0(kind: Prediction, x0: Tensor, x: Tensor, *, alpha: float, sigma: float) -> Tensor:
    """Return the prediction at ``x`` that stands for the clean clip ``x0``."""
    if kind == "epsilon":
        return (x - alpha * x0) / sigma
    return x0 if kind == "sample" else (alpha * x - x0) / sigma


def loss_per_sample(kind: Loss, output: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean loss of each sample, float32 [B], from [B, C, T, H, W]."""
    output, wanted = output.float(), wanted.float()
    if kind == "l2":
        loss = F.mse_loss(output, wanted, reduction="none")
    elif kind == "l1":
        loss = F.l1_loss(output, wanted, reduction="none")
    else:
        loss = F.huber_loss(output, wanted, reduction="none", delta=HUBER_DELTA)
    return reduce(loss, "b ... -> b", "mean")


def min_snr_weight(kind: Prediction, alpha_bar: Tensor, *, gamma: float) -> Tensor:
    """Return the loss weight ``min(SNR, gamma)`` of x_0, as it reads for this prediction.

    Hang et al., 2303.09556, section 3.4; SNR = alpha_bar / (1 - alpha_bar).
    """
    snr = alpha_bar / (1 - alpha_bar)
    capped = snr.clamp(max=gamma)
    if kind == "epsilon":
        return capped / snr
    return capped if kind == "sample" else capped / (snr + 1)
