"""A folder of small videos, shared by the tests of clips and batches."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastvd.data.clips import ClipDataset, ClipSource
from fastvd.data.config import ClipConfig
from fastvd.data.loader import Batch
from fastvd.data.scan import warn_once


@pytest.fixture(autouse=True)
def warnings() -> None:
    """What is said once is said anew in each test."""
    warn_once.cache_clear()


def write_images(folder: Path, frames: np.ndarray) -> Path:
    """Write frames [T, H, W, 3] as ``folder/<i>.png``."""
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session", name="write_images")
def write_images_fixture() -> Callable[[Path, np.ndarray], Path]:
    """``write_images(folder, frames)`` writes a folder of images."""
    return write_images


@pytest.fixture(scope="session")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    encode: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
) -> Path:
    """2.mp4 of 40 frames, 10.mp4 of 20, still/ of 8 images; a text file beside them."""
    folder = tmp_path_factory.mktemp("videos")
    encode(folder / "2.mp4", counting_frames(40), g="10", bf="2", crf="10")
    encode(folder / "10.mp4", counting_frames(20), g="10", bf="2", crf="10")
    write_images(folder / "still", counting_frames(8))
    (folder / "captions.txt").write_text("a wall that grows brighter")
    return folder


@pytest.fixture(scope="session")
def config() -> ClipConfig:
    """Clips of five frames, two apart."""
    return ClipConfig(frames=5, stride=2, size=8)


@pytest.fixture
def clips(folder: Path, config: ClipConfig) -> ClipDataset:
    """Six clips an epoch: four of 2.mp4, two of 10.mp4."""
    return ClipDataset([folder / "2.mp4", folder / "10.mp4"], config, seed=1)


@pytest.fixture(scope="session")
def sources() -> Callable[[Iterable[Batch]], list[tuple[ClipSource, ...]]]:
    """``sources(batches)``: where the clips of each batch come from."""
    return lambda batches: [tuple(batch.source) for batch in batches]


@pytest.fixture(scope="session")
def run() -> Callable[[str], subprocess.CompletedProcess[str]]:
    """``run(script)`` in a Python of its own, where a warning is an error."""

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture
def make_stuck() -> Iterator[Callable[[Path], None]]:
    """``make_stuck(path)``: to open this file takes for ever (45 s), as on a network that is gone.

    We hold a lease on it, and do not let go when the system asks for it.
    """
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    held: list[int] = []

    def hold(path: Path) -> None:
        held.append(os.open(path, os.O_RDWR))
        fcntl.fcntl(held[-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)

    yield hold
    for file in held:
        os.close(file)
    signal.signal(signal.SIGIO, before)
