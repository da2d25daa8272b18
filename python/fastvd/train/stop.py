"""SIGINT and SIGTERM during a run: finish the step, save, leave."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


class StopRequested(BaseException):
    """Raised by the first signal in work that need not be finished."""


class Stop:
    """While open in the main thread, notes the first SIGINT or SIGTERM in place of obeying it.

    From that moment the handlers of before are back, so that a second signal leaves at once.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._is_breakable = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stop":
        # Python allows handlers in the main thread only
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    @contextlib.contextmanager
    def breakable(self) -> Iterator[None]:
        """Run a block that a signal breaks off by StopRequested."""
        if self.signal is not None:
            raise StopRequested
        self._is_breakable = True
        try:
            yield
        finally:
            self._is_breakable = False

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.signal = signal.Signals(number)
        self._restore()
        if self._is_breakable:
            raise StopRequested

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
