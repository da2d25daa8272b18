"""What the tests of reliability share: the reader in a process of its own."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from fastvd import native


@pytest.fixture(scope="session")
def alone() -> Callable[..., str]:
    """``alone(code, *arguments, timeout_s=60)``: what a fresh Python prints; it must end well."""

    def run(code: str, *arguments: object, timeout_s: float = 60) -> str:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def rust() -> None:
    """Skip where the Rust core or FFmpeg's libraries are missing."""
    if not native.video_available:
        pytest.skip("no Rust core, or no FFmpeg libraries")
