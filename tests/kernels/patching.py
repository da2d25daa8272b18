"""What Triton's interpreter does again and again, done once."""

import dataclasses
from typing import Any

from triton.runtime import interpreter
from triton.runtime.interpreter import _LangPatchScope, interpreter_builder


def install() -> None:
    """Keep the language patched, look a dtype up once, and do nothing that is thrown away."""
    patch, look_up = interpreter._patch_lang, interpreter._get_np_dtype
    done: set[str] = set()
    dtypes: dict[str, Any] = {}

    def patch_once(fn: Any) -> Any:
        """A module's functions see the same language; an empty scope restores nothing."""
        if fn.__module__ not in done:
            done.add(fn.__module__)
            patch(fn)
        return _LangPatchScope()

    def look_up_once(dtype: Any) -> Any:
        if dtype.name not in dtypes:
            dtypes[dtype.name] = look_up(dtype)
        return dtypes[dtype.name]

    interpreter._patch_lang, interpreter._get_np_dtype = patch_once, look_up_once
    # it looks for overflows, and without ``debug`` drops what it finds
    options = dataclasses.replace(interpreter_builder.options, sanitize_overflow=False)
    assert not options.debug
    interpreter_builder.options = options
