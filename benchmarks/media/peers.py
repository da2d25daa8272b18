"""The peers' packages, in an environment of their own, and the workers that use them."""

import os
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from media.worker import Answer, Request

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
DISTRIBUTIONS = {
    "pyav": "av",
    "torchcodec": "torchcodec",
    "video-reader-rs": "video-reader-rs",
    "decord": "decord",
    "opencv": "opencv-python-headless",
}


def make_environment(folder: Path) -> Path:
    """Return the Python of an environment with the extra ``peers``, made where it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = extra["optional-dependencies"]["peers"]
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "-p", sys.executable, folder], check=True)
        install = [*uv, "pip", "install", "-q", "--python", python, *wanted]
        subprocess.run([*install, "-c", ROOT / "constraints.txt"], check=True)
    return python


def versions(python: Path) -> dict[str, str]:
    """Return the version of each peer that is there; the system's FFmpeg is one of them."""
    ask = (
        "import sys, importlib.metadata as m\n"
        "there = {d.metadata['Name'].lower().replace('_', '-'): d.version"
        " for d in m.distributions()}\n"
        "print(*(there.get(name, '-') for name in sys.argv[1:]))"
    )
    command = [python, "-c", ask, *DISTRIBUTIONS.values()]
    answers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    found = {peer: v for peer, v in zip(DISTRIBUTIONS, answers, strict=True) if v != "-"}
    try:
        program = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
        found["ffmpeg"] = program.stdout.split()[2]
    except FileNotFoundError:
        pass
    return found


class Worker(NamedTuple):
    """A process that answers requests."""

    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    answers: IO[bytes]

    def ask(self, request: Request) -> Answer:
        """Return the answer to a request; a worker that died answers with an error."""
        try:
            pickle.dump(request, self.requests, protocol=5)
            self.requests.flush()
            return pickle.load(self.answers)
        except (EOFError, BrokenPipeError):
            return Answer(error=f"the process ended with {self.process.wait()}")


class Workers:
    """One process for each library and number of threads, started when it is first asked."""

    def __init__(self, peers_python: Path | None) -> None:
        self.peers_python = peers_python
        self.running: dict[tuple[str, int], Worker] = {}

    def ask(self, request: Request) -> Answer:
        """Return the answer of the worker whose library the request's reader is of."""
        key = request.reader.split(",")[0], request.threads
        if key not in self.running or self.running[key].process.poll() is not None:
            self.running[key] = self._start(*key)
            # the first call imports the library
            self.running[key].ask(request)
        return self.running[key].ask(request)

    def _start(self, library: str, threads: int) -> Worker:
        python = Path(sys.executable) if library == "fastvd" else self.peers_python
        assert python is not None
        code = f"from media.worker import serve; serve({library!r}, {threads})"
        process = subprocess.Popen(
            [python, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(python, library),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        return Worker(process, process.stdin, process.stdout)

    def stop(self) -> None:
        """End all workers."""
        for worker in self.running.values():
            worker.requests.close()
            worker.process.wait()
            worker.answers.close()
        self.running.clear()


@contextmanager
def workers(peers_python: Path | None) -> Iterator[Workers]:
    """Yield workers that end with the block."""
    started = Workers(peers_python)
    try:
        yield started
    finally:
        started.stop()


def _environment(python: Path, library: str) -> dict[str, str]:
    paths = [str(BENCHMARKS), str(ROOT / "python")] if library == "fastvd" else [str(BENCHMARKS)]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # a file that is read for the first time has no table on the disk
    settings["FASTVD_CACHE"] = ""
    if library == "video-reader-rs":
        # its wheel does not find its own libraries
        found = python.parent.parent.glob("lib/python*/site-packages/video_reader_rs.libs")
        settings["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, found))
    return settings
