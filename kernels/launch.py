"""The one import of triton, and how its kernels are started."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = [
    "MOST_REGISTERS",
    "accumulator",
    "arch",
    "available",
    "ceil_div",
    "constant",
    "interpreted",
    "interprets_bfloat16",
    "jit",
    "launch",
    "parts_of",
    "power_of_2",
    "precision",
    "processors",
    "tl",
]

try:
    import triton
    from triton import language as tl

    available = True
except ImportError:  # no wheel for this platform: kernels stay plain functions, nobody calls them

    class _Absent:
        """Takes the place of triton and its language where kernels are defined."""

        constexpr = None

        @staticmethod
        def jit(function: Any) -> Any:
            return function

    triton = tl = _Absent
    available = False

Function = TypeVar("Function", bound=Callable[..., Any])
jit = triton.jit
interpreted: bool = available and bool(triton.knobs.runtime.interpret)
"""Whether kernels run in Triton's interpreter, on CPU tensors: slow, to test them."""
interprets_bfloat16 = False
"""Whether it knows bfloat16, as the tests teach it: by itself it computes with the bits."""

WARPS = 4
MOST_REGISTERS = 255
"""What a thread can have."""
WAVES = 4
"""Programs for each processor, where few programs share much work."""
INTERPRETED_PROCESSORS = 1


def launch(
    kernel: Any,
    programs: int,
    *args: Any,
    warps: int = WARPS,
    stages: int = 2,
    registers: int | None = None,
    **constants: Any,
) -> None:
    """Start ``programs`` programs of ``kernel`` on the device of the first argument, a tensor.

    registers: most that a thread takes; none: NVIDIA's assembler weighs them against programs side
    by side, and may spill a few where shared memory, or their number, leaves room for no more.
    """
    if not programs:
        return
    if registers and arch():
        constants["maxnreg"] = registers
    device = args[0].device
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[(programs,)](*args, num_warps=warps, num_stages=stages, **constants)
    else:
        kernel[(programs,)](*args, num_warps=warps, num_stages=stages, **constants)


def processors(device: torch.device) -> int:
    """How many programs the device runs at least at once."""
    if device.type != "cuda":
        return INTERPRETED_PROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count


def constant(function: Function) -> Function:
    """Have torch.compile call it as it compiles, and keep the answer: it can't look inside.

    As ``torch.compiler.assume_constant_result``, which takes seconds to import the compiler.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant
def arch() -> int:
    """Compute capability of the NVIDIA GPU that kernels are compiled for: 90 for 9.0; else 0.

    Triton's interpreter is taken for a 9.0.
    """
    if triton.knobs.runtime.interpret:
        return 90
    target = triton.runtime.driver.active.get_current_target()
    return int(target.arch) if target.backend == "cuda" else 0


def parts_of(tiles: int, samples: int, x: Tensor, *, warps: int = WARPS) -> int:
    """How many programs share the tiles of a sample, so that all samples fill the device."""
    programs = WAVES * WARPS // warps * processors(x.device)
    return max(1, min(tiles, ceil_div(programs, max(1, samples))))


def accumulator(x: Tensor) -> Any:
    """What a kernel adds up in: float64 for float64 (gradcheck's), else float32."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


@constant
def precision() -> str:
    """How products of float32 matrices are taken: as torch's are.

    ``allow_tf32`` raises where one said so by ``fp32_precision``, which follows the other. What
    torch.compile makes holds for one setting anyway.
    """
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def power_of_2(n: int) -> int:
    """The least power of two that is not below ``n``."""
    return 1 << max(0, n - 1).bit_length()
