"""Noise levels: the signal kept at each timestep, and timesteps drawn for training.

``alpha_bar[t]`` is the share of the clip's variance in ``x_t = alpha x_0 + sigma noise``, with
``alpha = sqrt(alpha_bar)`` and ``sigma = sqrt(1 - alpha_bar)`` (Ho et al., 2006.11239, eq. 4).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from fastvd.arguments import check_kind, check_whole

BetaSchedule = Literal["linear", "two_stage", "cosine"]

NETWORK_TIMES = 1000.0
"""Networks see timesteps on a scale of 0..1000, whatever their number."""

MAX_BETA = 0.9999
COSINE_OFFSET = 0.008


def signal_levels(schedule: BetaSchedule, num_timesteps: int, *, shift: float = 1.0) -> Tensor:
    """Return ``alpha_bar`` of every timestep, float64 [num_timesteps], falling.

    ``linear``: beta from 1e-4 to 0.02 over 1000 steps (2006.11239, section 4). ``two_stage``: beta
    from 5e-3 to 9e-3 at t = 0..T, so T + 1 = 1001 timesteps give T = 1000. ``cosine``: Nichol and
    Dhariwal, 2102.09672, eq. 17. ``shift`` divides the signal-to-noise ratio by its square
    (Hoogeboom et al., 2301.11093, eq. 4): for larger clips, whose pixels average noise away.
    """
    if num_timesteps < 2:
        raise ValueError(f"num_timesteps must be at least 2, got {num_timesteps}")
    if not (shift > 0 and math.isfinite(shift)):
        raise ValueError(f"shift must be above 0, got {shift}")
    alpha_bar = torch.cumprod(1 - _betas(schedule, num_timesteps), dim=0)
    return alpha_bar / (alpha_bar + (1 - alpha_bar) * shift**2)


def _betas(schedule: BetaSchedule, num_timesteps: int) -> Tensor:
    if schedule == "cosine":
        t = torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64)
        f = torch.cos((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
        return (1 - f[1:] / f[:-1]).clamp(0, MAX_BETA)
    if schedule == "linear":
        # fewer timesteps take larger steps, so that the last one is still almost pure noise
        ends = torch.tensor([1e-4, 0.02]) * (1000 / num_timesteps)
    elif schedule == "two_stage":
        ends = torch.tensor([5e-3, 9e-3]) * (1000 / (num_timesteps - 1))
    else:
        raise ValueError(f"beta_schedule must be linear, two_stage or cosine, got {schedule!r}")
    first, last = ends.double().tolist()
    return torch.linspace(first, last, num_timesteps, dtype=torch.float64).clamp(0, MAX_BETA)


def draw_timesteps(
    batch: int, t_min: int, t_max: int, *, is_stratified: bool, generator: torch.Generator
) -> Tensor:
    """Draw int64 [batch] timesteps, uniform on ``t_min..t_max`` with both ends included.

    Stratified: one from each of ``batch`` equal parts of the range, in random order (Kingma et
    al., 2107.00630, appendix I.1), which takes most of the loss's spread over t away.
    """
    device = generator.device
    u = torch.rand(batch, generator=generator, device=device, dtype=torch.float64)
    if is_stratified:
        u = (torch.randperm(batch, generator=generator, device=device) + u) / batch
    count = t_max - t_min + 1
    return t_min + (u * count).long().clamp(max=count - 1)


def check_timesteps(t: Tensor, batch: int, *, last: int) -> None:
    """Raise unless t is int [batch] in 0..last; numbers on a GPU are not waited for."""
    check_kind(Tensor, t=t)
    is_whole = not (t.is_floating_point() or t.is_complex() or t.dtype == torch.bool)
    if not is_whole or t.shape != (batch,):
        raise ValueError(f"t must be int [{batch}], got {t.dtype} {list(t.shape)}")
    if t.device.type == "cpu" and bool(((t < 0) | (t > last)).any()):
        raise ValueError(f"t must be 0..{last}, got {t.tolist()}")


def trailing_timesteps(num_timesteps: int, steps: int) -> list[int]:
    """Return ``steps`` timesteps from the last one down, equal parts of the range apart.

    "Trailing" of Lin et al., 2305.08891, table 2: starts at pure noise, where training does.
    """
    check_whole(steps=steps)
    if not 1 <= steps <= num_timesteps:
        raise ValueError(f"steps must be 1..{num_timesteps}, got {steps}")
    return [round(num_timesteps * (1 - i / steps)) - 1 for i in range(steps)]


class Lookup:
    """Rows of a table by indices that may lie on a GPU, which is not waited for."""

    def __init__(self, table: Tensor) -> None:
        self._table = table
        self._copies: dict[torch.device, Tensor] = {}

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the rows, on the GPU of ``index`` or on the CPU."""
        if index.device.type != "cuda":
            return self._table[index.cpu()]
        if index.device not in self._copies:
            self._copies[index.device] = self._table.to(index.device)
        return self._copies[index.device][index]
