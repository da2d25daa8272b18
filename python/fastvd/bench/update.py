"""Clipping, AdamW and the average of the weights: as PyTorch has them, and in one kernel."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fastvd import kernels

Update = Callable[[], None]
UPDATED_BYTES = 36
"""Of each weight: gradient, weight, two moments and the average are read, all but it written."""
RATE, WEIGHT_DECAY, BETAS, DECAY, SCALE = 1e-4, 0.01, (0.9, 0.999), 0.999, 0.5


def torch_update(network: nn.Module) -> Update:
    """The update by PyTorch's own fused and grouped kernels."""
    params: list[Tensor] = list(network.parameters())
    optimizer = torch.optim.AdamW(
        params, lr=RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )
    averages = [p.detach().clone() for p in params]
    scale = torch.full((), SCALE, device=params[0].device)

    @torch.no_grad()
    def update() -> None:
        torch._foreach_mul_(_gradients(params), scale)
        optimizer.step()
        torch._foreach_lerp_(averages, params, 1 - DECAY)

    return update


def kernel_update(network: nn.Module) -> Update:
    """The update by the kernel, and by PyTorch where it does not run."""
    params: list[Tensor] = list(network.parameters())
    scale = torch.full((), SCALE, device=params[0].device)
    first, second = ([torch.zeros_like(p) for p in params] for _ in range(2))
    state = kernels.AdamState(first, second, [torch.zeros_like(scale) for _ in params])
    averages = [p.detach().clone() for p in params]
    kernel = kernels.AdamWEma(params, state, averages, betas=BETAS)
    rates = [(RATE, WEIGHT_DECAY)] * len(params)
    return lambda: kernel.update(_gradients(params), rates=rates, decay=DECAY, scale=scale)


def _gradients(params: Sequence[Tensor]) -> list[Tensor]:
    return [p.grad for p in params if p.grad is not None]
