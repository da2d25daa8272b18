"""The optimiser of a run: AdamW, or Muon on hidden matrices with AdamW on the rest."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastvd.config import check_fields, documented
from fastvd.train.adamw import AdamW
from fastvd.train.muon import Muon


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """Optimiser and learning-rate schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw for all, or muon for hidden matrices and convolutions and adamw for the rest."""

    lr: float = 2e-4
    """Learning rate of AdamW after the warm-up."""

    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay of the mean and of the mean square of the gradient."""

    weight_decay: float = 0.01
    """AdamW's decoupled weight decay; it does not touch biases, gains and other vectors."""

    muon_lr: float = 0.02
    """Learning rate of Muon after the warm-up."""

    muon_momentum: float = 0.95
    """Nesterov momentum of Muon."""

    muon_weight_decay: float = 0.0
    """Decoupled weight decay of Muon."""

    adamw_names: tuple[str, ...] = ("stem", "head", "time", "cond", "film", "frames", "bias")
    """With muon: parts of the network, by their name, whose matrices stay with AdamW."""

    lr_factors: dict[str, float] = field(default_factory=dict)
    """Part of the network to factor: its parameters learn so much faster or slower. A part is a
    dotted name or a piece of one: film, downs.0, middle.mixer."""

    schedule: Literal["constant", "cosine", "step"] = "constant"
    """Learning rate after the warm-up: held, half a cosine down to the last step, or in steps."""

    warmup_steps: int = 0
    """Steps over which the learning rate rises from zero."""

    lr_floor: float = 0.0
    """Cosine ends at this share of the learning rate."""

    step_every: int = 10_000
    """schedule step: steps from one fall of the learning rate to the next."""

    step_factor: float = 0.5
    """schedule step: factor of each fall."""

    max_grad_norm: float | None = 1.0
    """Gradients of a greater norm over all parameters are scaled down to it; null: never."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("lr", "muon_lr", "step_factor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"optim.{name} must be above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "muon_weight_decay", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"optim.{name} must be 0 or more, got {getattr(self, name)}")
        for name, value in (
            ("muon_momentum", self.muon_momentum),
            *(("betas", b) for b in self.betas),
        ):
            if not 0 <= value < 1:
                raise ValueError(f"optim.{name} must be in 0..1 without 1, got {value}")
        if not 0 <= self.lr_floor <= 1:
            raise ValueError(f"optim.lr_floor must be in 0..1, got {self.lr_floor}")
        if self.step_every < 1:
            raise ValueError(f"optim.step_every must be 1 or more, got {self.step_every}")
        if self.max_grad_norm is not None and self.max_grad_norm <= 0:
            raise ValueError(f"optim.max_grad_norm must be above 0, got {self.max_grad_norm}")
        if bad := {part: f for part, f in self.lr_factors.items() if f < 0}:
            raise ValueError(f"optim.lr_factors must be 0 or more, got {bad}")


class Optim:
    """The torch optimisers of a network and their learning rates.

    ``averages``: running averages of the parameters, which AdamW moves along with them.
    """

    def __init__(
        self,
        network: nn.Module,
        config: OptimConfig,
        *,
        steps: int,
        averages: Mapping[Tensor, Tensor] | None = None,
    ) -> None:
        self.max_grad_norm = config.max_grad_norm
        self._config = config
        self._steps = steps
        self._names: dict[Tensor, str] = {
            p: name for name, p in network.named_parameters() if p.requires_grad
        }
        groups: dict[bool, dict[tuple[float, float], list[Tensor]]] = {}
        for parameter, name in self._names.items():
            is_muon = config.name == "muon" and is_hidden_matrix(name, parameter, config)
            factor = math.prod(f for part, f in config.lr_factors.items() if _has_part(name, part))
            decay = _weight_decay(parameter, config, is_muon=is_muon)
            alike = groups.setdefault(is_muon, defaultdict(list))
            alike[factor, decay].append(parameter)
        self.optimizers = [
            _muon(alike, config) if is_muon else _adamw(alike, config, averages or {})
            for is_muon, alike in groups.items()
        ]

    def set_lr(self, step: int) -> float:
        """Set the learning rates for the ``step``-th step from 0; returns AdamW's."""
        factor = lr_factor(self._config, step, steps=self._steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
        return self._config.lr * factor

    def clip_scale(self, norm: Tensor) -> Tensor:
        """What gradients are multiplied with whose norm over all is ``norm``."""
        if self.max_grad_norm is None:
            return torch.ones_like(norm)
        return (self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)

    def update(self, scale: Tensor, *, decay: float) -> set[Tensor]:
        """Make AdamW's step on gradients times ``scale``; averages keep ``decay`` of themselves.

        Nothing changes where ``scale`` is not finite, and fused nothing waits to know. Returns the
        parameters whose average moved.
        """
        adamw = (o for o in self.optimizers if isinstance(o, AdamW))
        return {p for optimizer in adamw for p in optimizer.update(scale, decay=decay)}

    def finish(self, scale: Tensor) -> None:
        """Make the steps of the others than AdamW, ``scale`` being finite."""
        for optimizer in self.optimizers:
            if not isinstance(optimizer, AdamW):
                params = (p for group in optimizer.param_groups for p in group["params"])
                torch._foreach_mul_([p.grad for p in params if p.grad is not None], scale)
                optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Return all state as tensors named ``<state>/<parameter>``."""
        return {
            f"{key}/{self._names[parameter]}": value
            for optimizer in self.optimizers
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` returned for a network with the same parameters."""
        by_name: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            by_name[name][kind] = tensor
        for optimizer in self.optimizers:
            data = optimizer.state_dict()
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            states = enumerate(_laid_out(by_name[self._names[p]], p) for p in parameters)
            data["state"] = {i: state for i, state in states if state}
            optimizer.load_state_dict(data)


def is_hidden_matrix(name: str, parameter: Tensor, config: OptimConfig) -> bool:
    """Return whether Muon updates the parameter: a matrix or convolution within the network."""
    return parameter.ndim >= 2 and not any(_has_part(name, part) for part in config.adamw_names)


def lr_factor(config: OptimConfig, step: int, *, steps: int) -> float:
    """Return the learning rate of the ``step``-th of ``steps`` steps, as a share of its peak."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    since = step - config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step":
        return float(config.step_factor ** (since // config.step_every))
    progress = min(1.0, since / max(1, steps - config.warmup_steps))
    return config.lr_floor + (1 - config.lr_floor) * (1 + math.cos(math.pi * progress)) / 2


def _has_part(name: str, part: str) -> bool:
    return f".{part}." in f".{name}."


def _weight_decay(parameter: Tensor, config: OptimConfig, *, is_muon: bool) -> float:
    if is_muon:
        return config.muon_weight_decay
    return config.weight_decay if parameter.ndim >= 2 else 0.0


def _laid_out(state: Mapping[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """``state`` with its numbers in memory in the order of the parameter's: what is saved is
    contiguous, a convolution's weight on a GPU is not.
    """
    return {
        key: torch.empty_like(parameter).copy_(t) if t.shape == parameter.shape else t
        for key, t in state.items()
    }


Alike = Mapping[tuple[float, float], list[Tensor]]
"""Parameters by the factor of their learning rate and by their weight decay."""


def _groups(alike: Alike, lr: float) -> list[dict[str, Any]]:
    return [
        {"params": params, "lr": lr * factor, "base_lr": lr * factor, "weight_decay": decay}
        for (factor, decay), params in alike.items()
    ]


def _muon(alike: Alike, config: OptimConfig) -> Muon:
    lr = config.muon_lr
    return Muon(_groups(alike, lr), lr=lr, momentum=config.muon_momentum)


def _adamw(alike: Alike, config: OptimConfig, averages: Mapping[Tensor, Tensor]) -> AdamW:
    lr = config.lr
    return AdamW(_groups(alike, lr), lr=lr, betas=config.betas, averages=averages)
