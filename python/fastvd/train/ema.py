"""A network whose weights are a running average of those in training."""

import copy
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastvd.config import check_fields, documented


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """The average that is sampled from and judged."""

    decay: float = 0.999
    """Share of the old average that stays at each step; 0 follows the weights."""

    has_warmup: bool = True
    """Whether update i uses min(decay, (1 + i) / (10 + i)), so that the start is forgotten."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.decay < 1:
            raise ValueError(f"ema.decay must be in 0..1 without 1, got {self.decay}")


class Ema:
    """Keeps ``network``, the average of ``source``, whose dtype, device and buffers it has."""

    def __init__(self, source: nn.Module, config: EmaConfig) -> None:
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self.updates = 0
        self.averages: dict[Tensor, Tensor] = dict(
            zip(source.parameters(), self.network.parameters(), strict=True)
        )
        self._source = source
        self._config = config

    @property
    def decay(self) -> float:
        """The decay of the next update."""
        warmup = (1 + self.updates) / (10 + self.updates)
        return min(self._config.decay, warmup) if self._config.has_warmup else self._config.decay

    @torch.no_grad()
    def update(self, *, moved: AbstractSet[Tensor] = frozenset()) -> None:
        """Move the average towards the source; buffers are copied.

        ``moved``: parameters whose average has been moved already.
        """
        rest = {p: average for p, average in self.averages.items() if p not in moved}
        if rest:
            torch._foreach_lerp_(list(rest.values()), list(rest), 1 - self.decay)
        for average, buffer in zip(self.network.buffers(), self._source.buffers(), strict=True):
            average.copy_(buffer)
        self.updates += 1
