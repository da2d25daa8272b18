"""What ops give for clips without elements: of no batch, frames or pixels."""

from collections.abc import Sequence

from torch import Tensor


def empty(x: Tensor, shape: Sequence[int], *given: Tensor | None) -> Tensor:
    """An output as x, of a shape without elements, and gradients of zeros for all ``given``."""
    y = x.new_empty(shape)
    for t in given:
        if t is not None:
            y = y + t.sum().to(x.dtype)
    return y
