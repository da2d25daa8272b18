"""bfloat16 in Triton's interpreter, which takes its bits for integers and cuts casts off.

Numbers go to float32 before each operation and are rounded to nearest even after it, as on a GPU.
Not covered: ``tl.fma``, sums and maxima of bfloat16 itself, atomics.
"""

from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder as Builder
from triton.runtime.interpreter import TensorHandle

COMPARISONS = {np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal}
ON_BITS = {np.bitwise_and, np.bitwise_or, np.bitwise_xor}


def is_bf16(handle: Any) -> bool:
    return handle.dtype.scalar == tl.bfloat16


def widen(handle: Any) -> np.ndarray:
    """The float32 numbers of a handle's bits."""
    return (handle.data.astype(np.uint32) << 16).view(np.float32)


def narrow(numbers: np.ndarray) -> np.ndarray:
    """Bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded)


def handle(numbers: np.ndarray) -> Any:
    return TensorHandle(narrow(numbers), tl.bfloat16)


def install() -> None:
    """Replace the interpreter's operations."""
    binary, ternary, unary = Builder.binary_op, Builder.ternary_op, Builder.unary_op
    cast, fp_cast = Builder.cast_impl, Builder.create_fp_to_fp

    def binary_op(self: Any, left: Any, right: Any, op: Any) -> Any:
        if not is_bf16(left) or op in ON_BITS:
            return binary(self, left, right, op)
        result = op(widen(left), widen(right))
        if op in COMPARISONS:
            return TensorHandle(result, left.dtype.scalar)
        return handle(result)

    def ternary_op(self: Any, a: Any, b: Any, c: Any, op: Any) -> Any:
        if op is np.where or not is_bf16(c):
            return ternary(self, a, b, c, op)
        return handle(op(widen(a), widen(b), widen(c)))

    def unary_op(self: Any, arg: Any, op: Any) -> Any:
        return handle(op(widen(arg))) if is_bf16(arg) else unary(self, arg, op)

    def cast_impl(self: Any, src: Any, to: Any) -> Any:
        scalar = to.scalar
        if not is_bf16(src):
            if scalar != tl.bfloat16:
                return cast(self, src, to)
            return TensorHandle(narrow(src.data.astype(np.float32)), scalar)
        if scalar == tl.bfloat16:
            return TensorHandle(src.data, scalar)
        return TensorHandle(widen(src).astype(interpreter._get_np_dtype(to)), scalar)

    def fp_to_fp(self: Any, src: Any, to: Any, mode: Any) -> Any:
        if is_bf16(src) or to.scalar == tl.bfloat16:
            return cast_impl(self, src, to)
        return fp_cast(self, src, to, mode)

    def dot(self: Any, a: Any, b: Any, total: Any, *_: Any) -> Any:
        a, b = (widen(x) if is_bf16(x) else x.data for x in (a, b))
        product = np.matmul(a, b, dtype=total.data.dtype)
        return TensorHandle(product + total.data, total.dtype.scalar)

    Builder.binary_op, Builder.ternary_op, Builder.unary_op = binary_op, ternary_op, unary_op
    Builder.cast_impl, Builder.create_fp_to_fp, Builder.create_dot = cast_impl, fp_to_fp, dot
