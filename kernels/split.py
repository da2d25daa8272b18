"""Matrix products cut into equal pieces: two cores share them better than one tall product."""

import torch
from torch import Tensor

ROWS = 1024


def split_bmm(x: Tensor, weight: Tensor) -> Tensor:
    """x [N, P, C] @ weight [N, C, O], as products of 1024 rows each where they divide P."""
    n, p, c = x.shape
    pieces = p // ROWS
    if p % ROWS or pieces == 1:
        return torch.bmm(x, weight)
    weights = weight[:, None].expand(-1, pieces, -1, -1).flatten(0, 1)
    return torch.bmm(x.reshape(n * pieces, ROWS, c), weights).reshape(n, p, -1)
