"""Seeds, and small videos that each test can check by hand."""

import math
import os
import random
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

# Triton decides as it is imported: without a GPU its kernels run in its interpreter, in this
# process alone, so that those that tests start do not inherit it
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.language

    del os.environ["TRITON_INTERPRET"]
    triton.knobs.propagate_env = False
    triton.knobs.runtime.interpret = True

from fastvd import kernels, native
from fastvd.limits import get_limits, set_limits

SHARED_VIDEOS = Path(__file__).parents[2] / "shared" / "data" / "video"


def pytest_configure() -> None:
    """Let Ctrl-C reach the tests' processes: a shell starts what runs in its background deaf to it,
    and all that is started from there inherits that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # tests leave the user's cache alone, those that start processes too
    os.environ["FASTVD_CACHE"] = ""
    if native.available:
        native.core.set_table_folder(None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests that may take long to all processes, first: at the end others would wait."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

    def limit(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return float(mark.args[0]) if mark else 0.0

    long = sorted(filter(limit, items), key=limit, reverse=True)
    short = [item for item in items if not limit(item)]
    # each process starts with a piece of the list
    size = math.ceil(len(short) / processes)
    items[:] = []
    for i in range(processes):
        items += long[i::processes] + short[i * size : (i + 1) * size]


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def eager() -> Iterator[None]:
    """Kernels run where they are tested: to interpret them takes a thousand times as long."""
    if torch.cuda.is_available():
        yield
        return
    with kernels.eager():
        yield


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """Limits that a test sets end with it."""
    before = get_limits()
    yield
    set_limits(before)


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """Folder of real videos; its README says what each is for."""
    if not SHARED_VIDEOS.is_dir():
        pytest.skip(f"{SHARED_VIDEOS} is not there")
    return SHARED_VIDEOS


def counting_frames(count: int, *, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame i holds the number i: grey level 6 * i + 16 everywhere (``frame_numbers`` reads it)."""
    levels = (6 * np.arange(count) + 16).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def frame_numbers(clip: np.ndarray) -> list[int]:
    """Which frames of a counting video ``clip`` [T, H, W, C] holds."""
    level = clip.reshape(len(clip), -1).mean(axis=1)
    return [round((float(v) - 16) / 6) for v in level]


def encode(
    path: Path,
    frames: np.ndarray,
    *,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[int] | None = None,
    **options: str,
) -> Path:
    """Write frames [T, H, W, 3] by PyAV; ``times``: presentation times in ticks of 1 / fps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for i, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame.pts = i if times is None else times[i]
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session", name="encode")
def encode_fixture() -> Callable[..., Path]:
    """``encode(path, frames, fps=, codec=, pix_fmt=, times=, **options)`` writes a video."""
    return encode


@pytest.fixture(scope="session", name="counting_frames")
def counting_frames_fixture() -> Callable[..., np.ndarray]:
    """``counting_frames(count, height=, width=)``: frames that ``frame_numbers`` can read."""
    return counting_frames


@pytest.fixture(scope="session", name="frame_numbers")
def frame_numbers_fixture() -> Callable[[np.ndarray], list[int]]:
    """``frame_numbers(clip)``: which frames of a counting video a clip [T, H, W, C] holds."""
    return frame_numbers


@pytest.fixture(scope="session")
def counting_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of 48x32 at 25 fps, H.264 with B-frames and a key frame every 10."""
    path = tmp_path_factory.mktemp("counting") / "counting.mp4"
    return encode(path, counting_frames(40), g="10", bf="2", crf="10")


@pytest.fixture(params=["rust", "twin"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the Rust reader and with the twin."""
    if request.param == "twin":
        monkeypatch.setattr(native, "available", False)
        monkeypatch.setattr(native, "video_available", False)
    elif not native.video_available:
        pytest.skip("no Rust core, or no FFmpeg libraries")
    return str(request.param)
