"""A network whose weights are a running average of those in training."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """The average that is sampled from and judged."""

    decay: float = 0.999
    """Share of the old average that stays at each step; 0 follows the weights."""

    has_warmup: bool = True
    """Whether update i uses min(decay, (1 + i) / (10 + i)), so that the start is forgotten."""

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"ema.decay must be in 0..1 without 1, got {self.decay}")


class Ema:
    """Keeps ``network``, the average; its dtype, device and buffers are the source's."""

    def __init__(self, source: nn.Module, config: EmaConfig) -> None:
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self.updates = 0
        self._config = config

    @property
    def decay(self) -> float:
        """The decay of the next update."""
        warmup = (1 + self.updates) / (10 + self.updates)
        return min(self._config.decay, warmup) if self._config.has_warmup else self._config.decay

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Move the average towards ``source``; buffers are copied."""
        averages: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averages, list(source.parameters()), 1 - self.decay)
        for average, buffer in zip(self.network.buffers(), source.buffers(), strict=True):
            average.copy_(buffer)
        self.updates += 1
