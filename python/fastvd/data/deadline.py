"""Reads that must end in time, because a file may never answer."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fastvd.arguments import check_numbers
from fastvd.errors import MediaError

T = TypeVar("T")


class StuckFileError(MediaError):
    """A file did not answer in time."""


class Deadline:
    """Lets no read take more than ``seconds``; a file that did once is not tried again."""

    def __init__(self, seconds: float) -> None:
        check_numbers(timeout_s=seconds)
        if not seconds > 0:
            raise ValueError(f"timeout_s must be above 0, got {seconds}")
        self.seconds = seconds
        self._stuck: set[str] = set()

    def run(self, path: str, read: Callable[[], T]) -> T:
        """Do ``read`` in a thread of its own and return or raise what it does.

        Raises StuckFileError when it takes longer. A thread that hangs in the system can't be
        stopped: it is left behind, a daemon, and dies with the process. The caller itself stays
        open to Ctrl-C.
        """
        task = _Task(read)
        if path not in self._stuck:
            threading.Thread(target=task.run, name="fastvd-read", daemon=True).start()
            if not task.done.wait(self.seconds):
                self._stuck.add(path)
        if path in self._stuck:
            raise StuckFileError(f"{path}: no answer within {self.seconds:g} s")
        if task.error is not None:
            raise task.error
        return task.result  # type: ignore[no-any-return]


class _Task(Generic[T]):
    def __init__(self, read: Callable[[], T]) -> None:
        self._read: Callable[[], T] = read
        self.done = threading.Event()
        self.error: BaseException | None = None
        # Any: there is none until the read is done
        self.result: Any = None

    def run(self) -> None:
        try:
            self.result = self._read()
        except BaseException as error:  # for the caller, who raises it
            self.error = error
        finally:
            self.done.set()
