"""Muon: momentum whose matrices are made orthogonal before they are applied.

Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024). The update is that
of ``torch.optim.Muon``, which takes matrices only and always iterates in bfloat16, tens of times
slower than float32 on a CPU without bfloat16 units. Here a convolution's weight [out, in, ...]
counts as the matrix [out, in * ...], and matrices of one shape are iterated together, in float32.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

# the quintic of Jordan (2024): steepest at zero among those that keep singular values near one
_A, _B, _C = 3.4445, -4.7750, 2.0315
_EPS = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two or more axes, the first being the output."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        iterations: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "iterations": iterations,
        }
        super().__init__(cast(Any, params), defaults)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim < 2:
                    shape = tuple(parameter.shape)
                    raise ValueError(f"Muon takes parameters of two or more axes, got {shape}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply one update; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.flatten(1).shape].append(parameter)
            for parameters in by_shape.values():
                self._step_alike(parameters, group)
        return loss

    def _step_alike(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update parameters whose matrices have one shape."""
        updates = []
        for parameter in parameters:
            grad = cast(Tensor, parameter.grad)
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(grad)
            state["momentum_buffer"].lerp_(grad, 1 - group["momentum"])
            # Nesterov: look ahead by one more step of the momentum
            updates.append(grad.lerp(state["momentum_buffer"], group["momentum"]).flatten(1))
        updates = list(orthogonalize(torch.stack(updates), iterations=group["iterations"]))
        rows, columns = updates[0].shape
        lr = group["lr"] * math.sqrt(max(1.0, rows / columns))
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(update.view(parameter.shape), alpha=lr)


def orthogonalize(matrices: Tensor, *, iterations: int = 5) -> Tensor:
    """Return matrices [N, R, C] with singular values moved to about 0.7..1.2, in their dtype.

    ``x <- (a + b G + c G^2) x`` with ``G = x x^T``. Every factor is a polynomial in the first G, so
    they are multiplied among themselves, at the short side's size, and reach x once at the end.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).float()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_EPS)
    gram = x @ x.mT
    product = torch.eye(x.shape[1], device=x.device).expand_as(gram)
    for _ in range(iterations):
        factor = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        factor.diagonal(dim1=1, dim2=2).add_(_A)
        product = factor @ product
        gram = factor @ gram @ factor
    x = product @ x
    return cast(Tensor, (x.mT if is_tall else x).to(matrices.dtype).contiguous())
