"""Files read in worker processes, so that a crash is an answer and a hang has an end."""

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

MEMORY_LIMIT = 4 << 30
"""Address space of a worker, in bytes."""


class Worker:
    """A reading process, started anew after a file that killed it or made it hang."""

    def __init__(self, reader: str, *, memory_limit: int = MEMORY_LIMIT) -> None:
        self._command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
        self._command += [str(memory_limit), reader]
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path, *, timeout_s: float) -> Answer:
        """What came of a file: the worker's answer, ``{"crash": signal}`` or ``{"hang": True}``."""
        process = self._running()
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], timeout_s)[0]:
            self.close()
            return {"hang": True}
        line = process.stdout.readline()
        if line:
            answer: Answer = json.loads(line)
            return answer
        code = process.wait()
        self.close()
        return {"crash": signal.Signals(-code).name if code < 0 else f"exit {code}"}

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        return self._process


def read_all(
    paths: Sequence[Path], *, reader: str, timeout_s: float = 5.0, workers: int = 2
) -> Iterator[tuple[Path, Answer]]:
    """Read every file in one of ``workers`` processes."""

    def share(part: Sequence[Path]) -> list[tuple[Path, Answer]]:
        worker = Worker(reader)
        try:
            # the first file waits for the imports as well
            return [
                (path, worker.read(path, timeout_s=timeout_s if i else timeout_s + 20))
                for i, path in enumerate(part)
            ]
        finally:
            worker.close()

    with ThreadPoolExecutor(workers) as threads:
        for answers in threads.map(share, [paths[i::workers] for i in range(workers)]):
            yield from answers
