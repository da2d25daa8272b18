"""Triton's interpreter patches its language at each call of a helper: here once a launch.

That is half of the time that kernels of many helpers take.
"""

import inspect
from typing import Any

import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import GridExecutor


def install() -> None:
    """Patch once for all helpers that see the same modules."""
    patch, start = interpreter._patch_lang, GridExecutor.__call__
    done: set[frozenset[str]] = set()

    def patch_once(fn: Any) -> Any:
        modules = (m for m in fn.__globals__.values() if inspect.ismodule(m))
        seen = frozenset(m.__name__ for m in modules if m in (tl, tl.core))
        if seen in done:
            return None
        done.add(seen)
        return patch(fn)

    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        done.clear()
        start(self, *args, **kwargs)

    interpreter._patch_lang, GridExecutor.__call__ = patch_once, call
