"""AdamW whose step moves a running average of the weights along: on a GPU all in one kernel."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fastvd import kernels


class AdamW(torch.optim.AdamW):
    """torch's AdamW, its state the same; ``averages``: the average of each parameter."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        averages: Mapping[Tensor, Tensor],
    ) -> None:
        # one fused pass over the state instead of a dozen, where no kernel runs
        super().__init__(groups, lr=lr, betas=betas, fused=True)
        self._averages = averages
        self._params: list[Tensor] = []
        self._kernel: kernels.AdamWEma | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state: as torch's."""
        super().load_state_dict(state_dict)
        self._kernel = None

    @torch.no_grad()
    def update(self, scale: Tensor, *, decay: float) -> list[Tensor]:
        """Make a step with gradients times ``scale``; averages keep ``decay`` of themselves.

        Nothing changes where ``scale`` is not finite. Returns the parameters whose average moved.
        """
        if scale.device.type == "cpu" and not scale.isfinite():
            return []
        rates = {
            p: (float(group["lr"]), float(group["weight_decay"]))
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        }
        params = list(rates)
        if self._kernel is None or list(map(id, params)) != list(map(id, self._params)):
            self._kernel, self._params = self._make_kernel(params), params
        grads = [p.grad for p in params if p.grad is not None]
        self._kernel.update(grads, rates=list(rates.values()), decay=decay, scale=scale)
        return params if self._averages else []

    def _make_kernel(self, params: list[Tensor]) -> kernels.AdamWEma:
        for p in params:
            if not self.state[p]:
                step = torch.zeros((), device=p.device)
                self.state[p] |= {"step": step} | {
                    name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")
                }
        names = ("exp_avg", "exp_avg_sq", "step")
        state = kernels.AdamState(*([self.state[p][name] for p in params] for name in names))
        averages = [self._averages[p] for p in params] if self._averages else []
        group = self.param_groups[0]
        return kernels.AdamWEma(params, state, averages, betas=group["betas"], eps=group["eps"])
