"""AdamW on all parameters of a network and the running average of their weights, in one pass.

Of each parameter, five numbers are read and four written, 36 bytes where its gradient is float32.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from .adamw_checks import (
    OP,
    AdamState,
    Rates,
    check_alike,
    check_constants,
    check_step,
    check_written,
    limit_of,
    limit_of_grads,
    listed,
    listed_state,
    same_layout,
)
from .dispatch import fused
from .launch import ceil_div, jit, launch, tl

EPS = 1e-8
BLOCK = 1024
"""Elements that a program has in its registers."""
CHUNK = 8 * BLOCK
"""Elements of a program."""
LOOKED_AT = 512
"""Tensors among which a program looks for its own at once."""


@torch.no_grad()
def reference(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    state: AdamState,
    averages: Sequence[Tensor] = (),
    *,
    rates: Sequence[Rates],
    betas: tuple[float, float],
    decay: float = 0.0,
    scale: float = 1.0,
    eps: float = EPS,
) -> None:
    """The formula of ``AdamWEma``, step by step."""
    b1, b2 = betas
    for i, (p, m, v, t) in enumerate(zip(params, *state, strict=True)):
        lr, weight_decay = rates[i]
        g = grads[i].to(p.dtype) * scale
        t += 1
        m.copy_(b1 * m + (1 - b1) * g)
        v.copy_(b2 * v + (1 - b2) * g * g)
        denominator = (v / (1 - b2 ** float(t))).sqrt() + eps
        p.copy_((1 - lr * weight_decay) * p - lr / (1 - b1 ** float(t)) * m / denominator)
        if averages:
            averages[i].copy_(decay * averages[i] + (1 - decay) * p)


@jit
def _pointer(table_ptr, row, which, tensors, DTYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """Where a tensor of row ``row`` of the table lies."""
    pointer = tl.load(table_ptr + row * tensors + which).to(tl.pointer_type(DTYPE))
    return tl.multiple_of(pointer, 16) if ALIGNED else pointer


@jit
def _update(pointers, rates, at, mask, HAS_AVERAGE: tl.constexpr):
    """Update the numbers ``at`` some places of a tensor; what is masked holds anything."""
    p_ptr, g_ptr, m_ptr, v_ptr, average_ptr = pointers
    scale, keep, step_size, per_root, eps, to_m, b2, to_v, to_average, off_average = rates
    g = tl.load(g_ptr + at, mask=mask).to(tl.float32) * scale
    m = tl.load(m_ptr + at, mask=mask)
    m += to_m * (g - m)
    v = b2 * tl.load(v_ptr + at, mask=mask) + to_v * (g * g)
    p = keep * tl.load(p_ptr + at, mask=mask) - step_size * (m / (tl.sqrt(v) * per_root + eps))
    tl.store(m_ptr + at, m, mask=mask)
    tl.store(v_ptr + at, v, mask=mask)
    tl.store(p_ptr + at, p, mask=mask)
    if HAS_AVERAGE:
        average = tl.load(average_ptr + at, mask=mask)
        # either form is exact at its end: an average of decay 0 is the weight itself
        near, far = average + to_average * (p - average), p - off_average * (p - average)
        tl.store(average_ptr + at, tl.where(to_average < 0.5, near, far), mask=mask)


@jit
def _adamw_ema_kernel(
    table_ptr,
    grads_ptr,
    rates_ptr,
    scale_ptr,
    tensors,
    eps,
    to_m,
    b2,
    to_v,
    to_average,
    off_average,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    LOOKED_AT: tl.constexpr,
    GRAD: tl.constexpr,
    HAS_AVERAGE: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """One program per CHUNK of a tensor, which is the last that starts at or before it.

    It does nothing where the scale is not finite.
    """
    program = tl.program_id(0)
    which = -1
    for some in range(0, tensors, LOOKED_AT):
        i = some + tl.arange(0, LOOKED_AT)
        starts = tl.load(table_ptr + i, mask=i < tensors, other=1 << 62)
        which += tl.sum((starts <= program).to(tl.int32))
    scale = 1.0 if scale_ptr is None else tl.load(scale_ptr).to(tl.float32)
    begin = (program - tl.load(table_ptr + which)) * CHUNK
    end = tl.minimum(begin + CHUNK, tl.load(table_ptr + tensors + which))
    end = tl.where(tl.abs(scale) < float("inf"), end, begin)
    p_ptr = _pointer(table_ptr, 2, which, tensors, tl.float32, ALIGNED)
    m_ptr = _pointer(table_ptr, 3, which, tensors, tl.float32, ALIGNED)
    v_ptr = _pointer(table_ptr, 4, which, tensors, tl.float32, ALIGNED)
    # at least 1: a step that is skipped is not counted
    t = tl.load(_pointer(table_ptr, 5, which, tensors, tl.float32, False))
    t = tl.maximum(t, 1.0).to(tl.float64)
    average_ptr = p_ptr
    if HAS_AVERAGE:
        average_ptr = _pointer(table_ptr, 6, which, tensors, tl.float32, ALIGNED)
    g_ptr = _pointer(grads_ptr, 0, which, tensors, GRAD, ALIGNED)
    # in float64, as 1 - b2^t would lose its last digits at the first steps
    lr, weight_decay = tl.load(rates_ptr + which), tl.load(rates_ptr + tensors + which)
    log_b1, log_b2 = tl.load(rates_ptr + 2 * tensors), tl.load(rates_ptr + 2 * tensors + 1)
    keep = (1.0 - lr * weight_decay).to(tl.float32)
    step_size = (lr / (1.0 - tl.exp2(t * log_b1))).to(tl.float32)
    per_root = (1.0 / tl.sqrt(1.0 - tl.exp2(t * log_b2))).to(tl.float32)
    pointers = p_ptr, g_ptr, m_ptr, v_ptr, average_ptr
    rates = scale, keep, step_size, per_root, eps, to_m, b2, to_v, to_average, off_average
    lane = tl.arange(0, BLOCK)
    whole = end - (end - begin) % BLOCK
    for at in range(begin, whole, BLOCK):
        _update(pointers, rates, at + lane, None, HAS_AVERAGE)
    if whole < end:
        _update(pointers, rates, whole + lane, whole + lane < end, HAS_AVERAGE)


class AdamWEma:
    """Updates ``params``, their state and, where given, their running averages, all in place.

    With ``g = scale * grad``, at step t from 1 (1711.05101, algorithm 2): ``m <- b1 m + (1 - b1)
    g``, ``v <- b2 v + (1 - b2) g^2``, ``p <- (1 - lr weight_decay) p - lr / (1 - b1^t) m / (sqrt(v
    / (1 - b2^t)) + eps)``; then the average moves, ``average <- decay average + (1 - decay) p``.
    None may be float16, which has no room for the squares of gradients; gradients may. Raises
    TypeError for arguments of another kind, ValueError for numbers out of range and where counts,
    shapes, devices or dtypes do not go together.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        state: AdamState,
        averages: Iterable[Tensor] = (),
        *,
        betas: tuple[float, float],
        eps: float = EPS,
    ) -> None:
        check_constants(betas, eps)
        self._betas, self._eps = betas, eps
        self._params, self._averages = listed("params", params), listed("averages", averages)
        self._state = listed_state(state)
        written = self._params, *self._state, self._averages
        self._written = [t for kind in written for t in kind]
        self._table: Tensor | None = None
        self._addresses: list[int] = []
        self._is_aligned = False
        self._look()

    def _look(self) -> None:
        """See what all are, and how they lie in memory."""
        given = self._params, self._state, self._averages
        check_written(*given)
        self._limit = limit_of(*given)
        self._shapes = [p.shape for p in self._params]
        self._strides = [p.stride() for p in self._params]

    @torch.no_grad()
    def update(
        self,
        grads: Iterable[Tensor],
        *,
        rates: Sequence[Rates],
        decay: float = 0.0,
        scale: Tensor | None = None,
    ) -> None:
        """Make one step, which counts the state's ``steps`` up.

        rates: learning rate and weight decay of each parameter; decay: share of the old average
        that stays; scale: one number, on the device, that gradients are multiplied with, in place
        or not; where it is not finite nothing changes. Nothing waits for the device, but in plain
        PyTorch.
        """
        grads, rates = listed("grads", grads), list(rates)
        check_step(rates, len(self._params), decay, scale)
        if [g.shape for g in grads] != self._shapes:
            check_alike(self._params, "grads", grads)
        if not self._params:
            return
        scale = None if scale is None else scale.reshape(())
        # the others are looked at where the table is made: once, if no weight moves in memory
        if self._addresses != (addresses := [p.data_ptr() for p in self._params]):
            self._look()
            self._table, self._addresses = None, addresses
        limit = self._limit or limit_of_grads(self._params, self._strides, grads)
        others = self._written if self._table is None else ()
        if fused(OP, *self._params[:1], *grads, scale, *others, limit=limit):
            self._launch(grads, rates, decay, scale)
        elif scale is None or scale.isfinite():
            self._plain(grads, rates, decay, scale)

    def _launch(
        self, grads: Sequence[Tensor], rates: Sequence[Rates], decay: float, scale: Tensor | None
    ) -> None:
        sizes = [p.numel() for p in self._params]
        starts = [0, *accumulate(ceil_div(size, CHUNK) for size in sizes)]
        device = self._params[0].device
        if self._table is None:
            kinds = (self._params, *self._state, *([self._averages] if self._averages else []))
            rows = [[t.data_ptr() for t in kind] for kind in kinds]
            self._is_aligned = not any(a % 16 for row in (*rows[:3], *rows[4:]) for a in row)
            self._table = _on_device([starts[:-1], sizes, *rows], torch.int64, device)
        b1, b2 = self._betas
        logs = [math.log2(b) if b else -math.inf for b in self._betas]
        numbers = _on_device([*zip(*rates, strict=True), logs], torch.float64, device)
        addresses = [g.data_ptr() for g in grads]
        steps = list(self._state.steps)
        torch._foreach_add_(steps, 1 if scale is None else scale.isfinite().to(torch.float32))
        launch(
            _adamw_ema_kernel,
            starts[-1],
            *(self._table, _on_device([addresses], torch.int64, device), numbers, scale),
            *(len(sizes), self._eps, 1 - b1, b2, 1 - b2, 1 - decay, decay),
            BLOCK=BLOCK,
            CHUNK=CHUNK,
            LOOKED_AT=LOOKED_AT,
            GRAD=getattr(tl, str(grads[0].dtype).removeprefix("torch.")),
            HAS_AVERAGE=bool(self._averages),
            ALIGNED=self._is_aligned and not any(a % 16 for a in addresses),
        )
        # autograd must see that they are others now
        torch.autograd.graph.increment_version(self._written)

    def _plain(
        self, grads: Sequence[Tensor], rates: Sequence[Rates], decay: float, scale: Tensor | None
    ) -> None:
        """PyTorch's own AdamW, on all parameters of one learning rate and weight decay at once."""
        if scale is not None:
            torch._foreach_mul_(list(grads), scale)
        for rate in dict.fromkeys(rates):
            alike = [i for i, other in enumerate(rates) if other == rate]
            params, means, squares, steps = (
                [kind[i] for i in alike] for kind in (self._params, *self._state)
            )
            adamw(
                params,
                [_like(grads[i], p) for i, p in zip(alike, params, strict=True)],
                means,
                squares,
                [],
                steps,
                # the fused one takes all for one dtype and layout without a look
                fused=not self._limit,
                amsgrad=False,
                maximize=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=rate[0],
                weight_decay=rate[1],
                eps=self._eps,
            )
        if self._averages:
            torch._foreach_lerp_(self._averages, self._params, 1 - decay)


def _on_device(rows: Sequence[Sequence[float]], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers, row after row, on the device: nobody waits for the copy."""
    numbers = torch.tensor([n for row in rows for n in row], dtype=dtype, device="cpu")
    if device.type == "cpu":
        return numbers
    return numbers.pin_memory().to(device, non_blocking=True)


def _like(grad: Tensor, p: Tensor) -> Tensor:
    """``grad`` in the dtype and layout of ``p``."""
    if grad.dtype == p.dtype and same_layout(p, grad):
        return grad
    return torch.empty_like(p).copy_(grad)
