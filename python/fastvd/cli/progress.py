"""How far a command is, on one line of a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_line() -> Iterator[Callable[[int, int], None] | None]:
    """Yield what shows steps done of all on stderr; None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return

    def show(done: int, total: int) -> None:
        print(f"\r{100 * done // total:3d} %", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r     \r", end="", file=sys.stderr, flush=True)
