"""One optimiser step: loss, gradients, their check, the update."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastvd.errors import NonFiniteError
from fastvd.models.device import Precision, autocast
from fastvd.train.ema import Ema
from fastvd.train.optim import Optim

MAX_BAD_IN_A_ROW = 10
"""Steps in a row whose loss or gradient is not finite before a run stops."""

Loss = Callable[[Tensor, torch.Generator], Tensor]
"""``loss(clip [B, C, T, H, W], generator)``: a scalar."""


class StepResult(NamedTuple):
    """``loss`` and ``grad_norm`` as they came, finite or not; ``skipped``: no weight changed."""

    loss: float
    grad_norm: float
    lr: float
    skipped: bool


def seed_of(seed: int, step: int, purpose: str) -> int:
    """Return the seed of one use of random numbers: a pure function of run, step and purpose."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class TrainStep:
    """Updates ``network`` by ``optim``, and ``ema``; counts the steps that it had to skip.

    A step whose loss or gradient is not finite changes no weight, no average and no optimiser
    state. float16 gradients that overflow because their scale is too high are such a step, but they
    lower the scale and are no reason to stop.
    """

    def __init__(
        self,
        network: nn.Module,
        optim: Optim,
        ema: Ema,
        *,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self.skipped = 0
        self.bad_in_a_row = 0
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._optim, self._ema = optim, ema
        self._precision = precision
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    def run(
        self, step: int, clips: Sequence[Tensor], *, loss: Loss, generator: torch.Generator
    ) -> StepResult:
        """Make the ``step``-th step (from 0) on the mean loss of ``clips``.

        Raises NonFiniteError at the tenth in a row that has to be skipped.
        """
        lr = self._optim.set_lr(step)
        total = torch.zeros((), device=self._device)
        for clip in clips:
            with autocast(self._device, self._precision):
                value = loss(clip, generator) / len(clips)
            self._scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        result = self._apply(total, lr)
        for parameter in self._parameters:
            parameter.grad = None
        self._count(step, result)
        return result

    def state(self) -> dict[str, Any]:
        """Return what goes into a checkpoint's JSON."""
        counts = {"skipped": self.skipped, "bad_in_a_row": self.bad_in_a_row}
        return {**counts, "scaler": self._scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` returned."""
        self.skipped, self.bad_in_a_row = state["skipped"], state["bad_in_a_row"]
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])

    def _apply(self, total: Tensor, lr: float) -> StepResult:
        for optimizer in self._optim.optimizers:
            self._scaler.unscale_(optimizer)
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self._parameters if p.grad is not None]
        )
        figures = torch.stack([total, norm.to(total)])
        scale = self._optim.clip_scale(figures[1])
        # what is not finite is known to the device first: its work goes on before this waits
        scale = torch.where(figures.isfinite().all(), scale, math.nan)
        moved = self._optim.update(scale, decay=self._ema.decay)
        loss, grad_norm = figures.tolist()
        is_finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if is_finite:
            self._optim.finish(scale)
            self._ema.update(moved=moved)
        self._scaler.update()
        return StepResult(loss=loss, grad_norm=grad_norm, lr=lr, skipped=not is_finite)

    def _count(self, step: int, result: StepResult) -> None:
        if not result.skipped:
            self.bad_in_a_row = 0
            return
        self.skipped += 1
        # a scale that can still fall explains a gradient that overflows, never a loss
        is_overflow = self._scaler.is_enabled() and self._scaler.get_scale() > 1
        if is_overflow and torch.tensor(result.loss).isfinite():
            return
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= MAX_BAD_IN_A_ROW:
            raise NonFiniteError(
                f"loss or gradient was not finite {self.bad_in_a_row} steps in a row, the last "
                f"at step {step} with loss {result.loss} and gradient norm {result.grad_norm}; "
                "a lower learning rate or a longer warm-up may help"
            )
