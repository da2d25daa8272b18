"""Starts the kernels of the linear attention block, with what they hand to each other.

Letters as in linear_forward.py and linear_backward.py.
"""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from .launch import MOST_REGISTERS, arch, ceil_div, launch, power_of_2, precision, processors
from .linear_backward import (
    _context_bwd_kernel,
    _input_bwd_kernel,
    _key_bwd_kernel,
    _query_bwd_kernel,
)
from .linear_forward import _apply_fwd_kernel, _context_fwd_kernel, _output_fwd_kernel

EPS = 1e-5
PROGRAMS = 2
"""Programs for each processor that a sweep is cut into, where it has fewer frames."""

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""Wq, Wk and Wv [heads * D, C] with the gain of the norm, and Wo [C, heads * D]."""


class Tiles(NamedTuple):
    """What a program holds: tokens, columns of q and k, and warps to do it, with how many registers
    a thread, if that is not left to the assembler.
    """

    tokens: int
    cols: int
    warps: int
    registers: int | None = None


class Sizes(NamedTuple):
    """Sizes of one call."""

    frames: int
    n: int
    c: int
    heads: int
    d: int

    @property
    def square(self) -> dict[str, Any]:
        """Constants of a kernel over heads."""
        cp = max(16, power_of_2(self.c))
        return {"D": self.d, "C": self.c, "CP": cp, "PRECISION": precision()}

    def tokens(self, tiles: Tiles) -> dict[str, Any]:
        """Constants of a kernel over tokens, and its warps."""
        blocks = {"TOKENS": tiles.tokens, "COLS": tiles.cols, "HD": self.heads * self.d}
        return {**self.square, **blocks, "warps": tiles.warps, "registers": tiles.registers}

    def programs(self, tiles: Tiles, device: torch.device) -> tuple[int, int]:
        """How many programs share the tokens of a frame, and how many there are over all columns
        of all frames.
        """
        columns = self.frames * ceil_div(self.heads * self.d, tiles.cols)
        parts = PROGRAMS * processors(device) // max(1, columns)
        parts = max(1, min(ceil_div(self.n, tiles.tokens), parts))
        return parts, columns * parts


class Kernels(NamedTuple):
    """Tiles of each kernel over tokens."""

    context: Tiles
    apply: Tiles
    query: Tiles
    key: Tiles
    input: Tiles


def tiles_of(sizes: Sizes, dtype: torch.dtype) -> Kernels:
    """Tiles that leave registers to spare, and run two programs or more on a processor."""
    narrow, d, two = sizes.c <= 64, sizes.d, max(sizes.d, 64)
    small = Tiles(32, d, 4)
    if dtype == torch.float32:
        return Kernels(small, small, query=Tiles(32, d, 8), key=small, input=small)
    context = Tiles(64, 128, 8) if narrow else Tiles(64, two, 4)
    apply = Tiles(64, two, 4)
    if arch() < 90:
        context = context if narrow else Tiles(32, two, 4)
        return Kernels(context, apply, query=Tiles(64, d, 4), key=small, input=small)
    return Kernels(
        context,
        apply,
        query=Tiles(64, two if narrow else max(d, 32), 4, MOST_REGISTERS),
        key=Tiles(64, two, 4),
        input=Tiles(64, d, 4),
    )


class Context(NamedTuple):
    """What the first sweep finds of each frame, and what the backward starts from."""

    rows: Tensor
    """Mean, mean of what that leaves, and 1 / std of each token, float32 [3, frames * n]."""
    cols: Tensor
    """Largest k of each column, and the sum of exp(k - largest), float32 [2, frames, heads * D]."""
    mixed: Tensor
    """G: what each column of k sees of xhat, [heads, frames, D, C]."""
    context: Tensor
    """float32 [heads, frames, D, D]"""
    output: Tensor
    """M, as mixed."""


class Gradients(NamedTuple):
    """What the tokens hand to the weights and to the second sweep."""

    output: Tensor
    """dM, float32 [heads, frames, D, C]"""
    context: Tensor
    """float32 [heads, frames, D, D]"""
    delta: Tensor
    """float32 [frames, heads * D]"""
    mixed: Tensor
    """dG [heads, frames, D, C]"""


def fused_forward(
    x: Tensor, weights: Weights, bias: Tensor, sizes: Sizes, tiles: Kernels
) -> tuple[Tensor, Context]:
    """The block, and what its backward starts from."""
    context = _find_context(x, weights, sizes, tiles.context)
    frames, n = sizes[:2]
    out = torch.empty_like(x)
    launch(
        _apply_fwd_kernel,
        frames * ceil_div(n, tiles.apply.tokens),
        *(x, context.rows, weights[0], context.output, bias, out, frames, n, frames * n),
        **sizes.tokens(tiles.apply),
    )
    return out, context


def _find_context(x: Tensor, weights: Weights, sizes: Sizes, tiles: Tiles) -> Context:
    frames, n, c, heads, d = sizes
    _, wk, wv, wo = weights
    parts, programs = sizes.programs(tiles, x.device)
    rows = x.new_empty(3, frames * n, dtype=torch.float32)
    part_cols = x.new_empty(2, frames * parts, heads * d, dtype=torch.float32)
    part_mixed = x.new_empty(frames * parts, heads * d, c, dtype=torch.float32)
    launch(
        _context_fwd_kernel,
        programs,
        *(x, wk, rows, part_cols, part_mixed, frames, n, frames * n, parts, EPS),
        **sizes.tokens(tiles),
    )
    cols = x.new_empty(2, frames, heads * d, dtype=torch.float32)
    context = x.new_empty(heads, frames, d, d, dtype=torch.float32)
    mixed, output = (x.new_empty(heads, frames, d, c) for _ in range(2))
    found = Context(rows, cols, mixed, context, output)
    launch(
        _output_fwd_kernel,
        frames * heads,
        *(part_cols, part_mixed, wv, wo, *found[1:], frames, parts, d**-0.5),
        **sizes.square,
        HEADS=heads,
        registers=MOST_REGISTERS if x.dtype == torch.float32 else None,
    )
    return found


def fused_backward(
    dy: Tensor, x: Tensor, weights: Weights, kept: list[Tensor], sizes: Sizes, tiles: Kernels
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, of Wq, Wk and Wv [3 * heads * D, C], of Wo and of the bias.

    kept: what the forward keeps of ``Context``, all but M.
    """
    frames, n, _, heads, d = sizes
    rows, cols, mixed, square = kept
    by_head = rearrange(weights[3] * d**-0.5, "c (a e) -> a e c", a=heads)
    square = square.flatten(1, 2)  # [heads, frames * D, D]
    output = torch.bmm(square.to(x.dtype), by_head)
    context = Context(rows, cols, mixed, kept[3], output.view_as(mixed))
    doutputs, dwq = _query_backward(dy, x, weights[0], context, sizes, tiles.query)
    found = _context_backward(doutputs, weights, context, sizes)
    dwk = _key_backward(x, weights[1], context, found, sizes, tiles.key)
    dx = torch.empty_like(x)
    launch(
        _input_bwd_kernel,
        frames * ceil_div(n, tiles.input.tokens),
        *(x, dy, rows, weights[0], context.output, weights[1], found.mixed, cols, found.delta),
        *(dx, frames, n, frames * n),
        **sizes.tokens(tiles.input),
    )
    dwv = torch.bmm(found.context.flatten(1, 2).mT, mixed.flatten(1, 2).float())
    doutput = found.output.flatten(1, 2)
    dwo = torch.bmm(square.mT, doutput) * d**-0.5
    dqkv = torch.cat([dwq, dwk, dwv.flatten(0, 1)])
    # the q of each head add up to one, so dM adds up to the sum of dy
    dbias = doutput.sum(dim=(0, 1)) / heads
    return dx, dqkv, rearrange(dwo, "a e c -> c (a e)"), dbias


def _query_backward(
    dy: Tensor, x: Tensor, wq: Tensor, context: Context, sizes: Sizes, tiles: Tiles
) -> tuple[Tensor, Tensor]:
    """Shares of dM, float32 [frames, parts, heads * D, C], and dWq."""
    frames, n, c, heads, d = sizes
    parts, programs = sizes.programs(tiles, x.device)
    doutputs, dwq = (
        x.new_empty(frames, parts, heads * d, c, dtype=torch.float32) for _ in range(2)
    )
    launch(
        _query_bwd_kernel,
        programs,
        *(x, dy, context.rows, wq, context.output, doutputs, dwq),
        *(frames, n, frames * n, parts),
        **sizes.tokens(tiles),
    )
    return doutputs, dwq.sum(dim=(0, 1))


def _context_backward(
    doutputs: Tensor, weights: Weights, context: Context, sizes: Sizes
) -> Gradients:
    """What lies between the sweeps."""
    frames, _, c, heads, d = sizes
    _, _, wv, wo = weights
    found = Gradients(
        output=doutputs.new_empty(heads, frames, d, c),
        context=doutputs.new_empty(heads, frames, d, d),
        delta=doutputs.new_empty(frames, heads * d),
        mixed=wv.new_empty(heads, frames, d, c),
    )
    launch(
        _context_bwd_kernel,
        frames * heads,
        *(doutputs, context.context, wv, wo, *found, frames, doutputs.shape[1], d**-0.5),
        **sizes.square,
        HEADS=heads,
    )
    return found


def _key_backward(
    x: Tensor, wk: Tensor, context: Context, found: Gradients, sizes: Sizes, tiles: Tiles
) -> Tensor:
    """dWk"""
    frames, n, c, heads, d = sizes
    parts, programs = sizes.programs(tiles, x.device)
    dwk = x.new_empty(frames, parts, heads * d, c, dtype=torch.float32)
    launch(
        _key_bwd_kernel,
        programs,
        *(x, context.rows, wk, found.mixed, context.cols, found.delta, dwk),
        *(frames, n, frames * n, parts),
        **sizes.tokens(tiles),
    )
    return dwk.sum(dim=(0, 1))
