"""Which implementation of a convolution with a norm behind it is the quickest for which shape.

``python benchmarks/bench_kernels.py --convs`` times all of them on a GPU and prints the lines of
``QUICKEST``. It has none yet: no GPU was at hand, and what was not timed is cuDNN's.
"""

from typing import Literal, get_args

from torch import Tensor

from .conv_tile import MAX_COLS
from .convolution import is_flat

Norm = Literal["rms", "layer", "group"]
Implementation = Literal["conv2d", "conv3d", "gemm"]
"""cuDNN on images, then the norm's kernel; cuDNN on clips, likewise; the implicit matrix product,
the norm in its kernel (of a group norm, the statistics).
"""

Shape = tuple[int, int, tuple[int, int, int], int, Norm]
"""Channels in, channels out, kernel, stride, norm."""

QUICKEST: dict[Shape, Implementation] = {}


def choose(weight: Tensor, stride: int, norm: Norm) -> Implementation:
    """The quickest for weight [O, C, kt, kh, kw], as far as was measured."""
    c_out, c_in, kt, kh, kw = weight.shape
    unmeasured: Implementation = "conv2d" if is_flat(weight, stride) else "conv3d"
    return QUICKEST.get((c_in, c_out, (kt, kh, kw), stride, norm), unmeasured)


def refusal(name: Implementation, weight: Tensor, stride: int, norm: Norm, *, pre_act: bool) -> str:
    """Why this implementation does not take these shapes, if so."""
    if name not in get_args(Implementation):
        return f"there are {', '.join(get_args(Implementation))}"
    if name == "conv2d" and not is_flat(weight, stride):
        return f"kernel {list(weight.shape[2:])}, stride {stride}, sees frames and pixels at once"
    if name != "gemm":
        return ""
    if len(weight) > MAX_COLS:
        return f"{len(weight)} channels are more than {MAX_COLS}"
    return f"no SiLU before {norm} norm" if pre_act and norm != "group" else ""
