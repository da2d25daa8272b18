"""What ``AdamWEma`` takes: numbers in their ranges, tensors that go together."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from .checks import told

OP = "AdamWEma"
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
"""Of weights, state and averages: float16 has no room for the squares of gradients."""
STEP_DTYPES = (torch.float32, torch.float64)
"""16 bits do not count far."""
Rates = tuple[float, float]
"""Learning rate and weight decay."""


class AdamState(NamedTuple):
    """What ``torch.optim.AdamW(fused=True)`` keeps, a tensor of each for each parameter."""

    exp_avgs: Sequence[Tensor]
    exp_avg_sqs: Sequence[Tensor]
    steps: Sequence[Tensor]
    """float32 scalars, on the device: how many steps were made."""


def listed(name: str, tensors: Any) -> list[Tensor]:
    """Tensors in a list. Raises TypeError unless it is some tensors that are given."""
    if isinstance(tensors, Tensor) or not isinstance(tensors, Iterable):
        raise TypeError(f"{OP} takes a sequence of tensors for {name}, got {told(tensors)}")
    found = list(tensors)
    for i, t in enumerate(found):
        if not isinstance(t, Tensor):
            raise TypeError(f"{OP} takes a tensor for {name}[{i}], got {told(t)}")
    return found


def listed_state(state: Any) -> AdamState:
    """The state, its tensors in lists."""
    if not isinstance(state, tuple) or len(state) != len(AdamState._fields):
        raise TypeError(f"{OP} takes an AdamState for state, got {told(state)}")
    return AdamState(*map(listed, AdamState._fields, state))


def check_constants(betas: Any, eps: object) -> None:
    """Raise TypeError or ValueError unless these are two betas in [0, 1) and an eps above 0."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2 or not all(map(_is_real, betas)):
        raise TypeError(f"{OP} takes a pair of numbers for betas, got {told(betas)}")
    if not all(0 <= b < 1 for b in betas):
        raise ValueError(f"{OP} takes betas in [0, 1), got {told(betas)}")
    if not _is_real(eps):
        raise TypeError(f"{OP} takes a number for eps, got {told(eps)}")
    if not 0 < eps < math.inf:
        raise ValueError(f"{OP} takes eps above 0, got {eps}")


def check_step(rates: Sequence[Rates], count: int, decay: object, scale: object) -> None:
    """Raise TypeError or ValueError for what a step does not take."""
    if len(rates) != count:
        raise ValueError(f"{OP} takes {count} rates, got {len(rates)}")
    known: Rates | None = None
    for i, rate in enumerate(rates):
        # most are their neighbour's, and there are hundreds
        if rate == known:
            continue
        if not isinstance(rate, (tuple, list)) or len(rate) != 2 or not all(map(_is_real, rate)):
            raise TypeError(f"{OP} takes a pair of numbers for rates[{i}], got {told(rate)}")
        if not (0 <= rate[0] < math.inf and 0 <= rate[1] < math.inf):
            raise ValueError(f"{OP} takes finite rates of at least 0, got {told(rate)} at {i}")
        known = rate
    if not _is_real(decay):
        raise TypeError(f"{OP} takes a number for decay, got {told(decay)}")
    if not 0 <= decay <= 1:
        raise ValueError(f"{OP} takes decay in [0, 1], got {decay}")
    if scale is None:
        return
    if not isinstance(scale, Tensor):
        raise TypeError(f"{OP} takes a tensor or None for scale, got {told(scale)}")
    if scale.numel() != 1:
        raise ValueError(f"{OP} takes scale of one number, got {list(scale.shape)}")


def _is_real(x: object) -> TypeGuard[float]:
    return isinstance(x, (float, int)) and not isinstance(x, bool)


def check_alike(params: Sequence[Tensor], name: str, tensors: Sequence[Tensor]) -> None:
    """Raise ValueError where counts or shapes do not go together."""
    if len(tensors) != len(params):
        raise ValueError(f"{OP} takes {len(params)} {name}, got {len(tensors)}")
    for i, (p, t) in enumerate(zip(params, tensors, strict=True)):
        if t.shape != p.shape:
            at = f"{list(t.shape)} at {i}"
            raise ValueError(f"{OP} takes {name} {list(p.shape)}, got {at}")


def check_written(params: Sequence[Tensor], state: AdamState, averages: Sequence[Tensor]) -> None:
    """Raise ValueError for weights, state and averages that do not go together."""
    kinds = {"params": params, **state._asdict()} | ({"averages": averages} if averages else {})
    places: dict[int, str] = {}
    for name, tensors in kinds.items():
        if name == "steps":
            _check_steps(params, tensors)
        else:
            check_alike(params, name, tensors)
        dtypes = STEP_DTYPES if name == "steps" else DTYPES
        for i, t in enumerate(tensors):
            if t.dtype not in dtypes:
                wanted = ", ".join(map(str, dtypes))
                raise ValueError(f"{OP} takes {name} of {wanted}, got {t.dtype} at {i}")
            memory = (t.data_ptr() if t.numel() else 0) or id(t)
            if memory in places:
                both = f"{places[memory]} and {name}[{i}]"
                raise ValueError(f"{OP} takes tensors in memory of their own, got {both} in one")
            places[memory] = f"{name}[{i}]"


def _check_steps(params: Sequence[Tensor], steps: Sequence[Tensor]) -> None:
    if len(steps) != len(params):
        raise ValueError(f"{OP} takes {len(params)} steps, got {len(steps)}")
    for i, t in enumerate(steps):
        if t.numel() != 1:
            raise ValueError(f"{OP} takes steps of one number, got {list(t.shape)} at {i}")


def limit_of(params: Sequence[Tensor], state: AdamState, averages: Sequence[Tensor]) -> str:
    """What of weights, state and averages the kernel does not take."""
    kinds = {"weights": params, **state._asdict(), "averages": averages}
    for name, kind in kinds.items():
        if dtypes := {t.dtype for t in kind} - {torch.float32}:
            return f"{name} are {', '.join(sorted(map(str, dtypes)))}"
        if kind and name != "steps" and not all(map(same_layout, params, kind)):
            return f"{name} lie in memory in another order than weights"
    return "" if all(map(_is_dense, params)) else "weights have gaps in memory"


def limit_of_grads(
    params: Sequence[Tensor], strides: Sequence[tuple[int, ...]], grads: Sequence[Tensor]
) -> str:
    """What of gradients the kernel does not take."""
    if len(dtypes := {g.dtype for g in grads}) > 1:
        return f"grads are {', '.join(sorted(map(str, dtypes)))}"
    if [g.stride() for g in grads] != strides and not all(map(same_layout, params, grads)):
        return "grads lie in memory in another order than weights"
    return ""


def _is_dense(t: Tensor) -> bool:
    """Whether the numbers of ``t`` fill a piece of memory, in any order."""
    if t.is_contiguous():
        return True
    filled = 1
    for step, size in sorted(zip(t.stride(), t.shape, strict=True)):
        if size > 1 and step != filled:
            return False
        filled *= size
    return True


def same_layout(a: Tensor, b: Tensor) -> bool:
    """Whether the numbers of tensors of one shape lie in memory in one order."""
    if a.stride() == b.stride():
        return True
    sides = zip(a.shape, a.stride(), b.stride(), strict=True)
    return all(size == 1 or one == other for size, one, other in sides)
