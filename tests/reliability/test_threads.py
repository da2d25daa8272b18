"""Many threads, forks and exits in the middle of decoding."""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastvd.data.clips import ClipConfig, ClipDataset
from fastvd.media.video import read_clip, read_frames


def test_64_threads_share_one_dataset(counting_video: Path) -> None:
    clips = ClipDataset(counting_video, ClipConfig(frames=4, stride=2, size=16))
    expected = [clips.clip(0, i % len(clips)) for i in range(len(clips))]
    with ThreadPoolExecutor(64) as threads:
        found = list(threads.map(lambda i: clips.clip(0, i % len(clips)), range(1024), timeout=60))
    for i, clip in enumerate(found):
        assert clip.source == expected[i % len(clips)].source
        assert np.array_equal(clip.clip, expected[i % len(clips)].clip)


def test_fork_while_other_threads_decode(counting_video: Path) -> None:
    expected = read_clip(counting_video, size=16)
    stopped = threading.Event()

    def decode() -> None:
        while not stopped.is_set():
            read_frames(counting_video, [11, 30], size=16)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        codes = [_read_in_fork(counting_video, expected, timeout_s=20) for _ in range(20)]
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 20


def _read_in_fork(path: Path, expected: np.ndarray, *, timeout_s: float) -> int | str:
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(read_clip(path, size=16), expected) else 1)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hangs"


LEAVE = """
import sys, threading, time
from fastvd.media.video import read_clip

def decode():
    while True:
        read_clip(sys.argv[1], size=16)

for _ in range(4):
    threading.Thread(target=decode, daemon=True).start()
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("wait_s", [0.0, 0.011, 0.05, 0.2])
def test_interpreter_may_exit_while_threads_decode(
    alone: Callable[..., str], counting_video: Path, wait_s: float
) -> None:
    for i in range(4):
        alone(LEAVE, counting_video, wait_s + 0.003 * i)


STOP = """
import os, signal, sys, threading, time
from fastvd.media.video import iter_clips

clips = iter_clips(sys.argv[1], frames=2, size=16, threads=2)
kept = [next(clips)]
if sys.argv[2] == "interrupt":
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            kept += iter_clips(sys.argv[1], frames=2, size=16, threads=2)
    except KeyboardInterrupt:
        began = time.monotonic()
    while any(thread.name.startswith("fastvd-ahead") for thread in threading.enumerate()):
        clips.close()
        assert time.monotonic() < began + 2, "threads go on"
elif sys.argv[2] == "thread":
    threading.Thread(target=lambda: print(sum(map(len, clips)))).start()
"""


@pytest.mark.parametrize("how", ["exit", "interrupt", "thread"])
def test_half_read_file_does_not_hold_the_process(
    rust: None, alone: Callable[..., str], counting_video: Path, how: str
) -> None:
    for _ in range(3):
        left = alone(STOP, counting_video, how, timeout_s=20)
        assert left == ("38\n" if how == "thread" else "")


FIRST_READ = """
import os, signal, sys, threading
from fastvd.media.video import read_clip

threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        read_clip(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_in_the_first_read_is_a_keyboard_interrupt(
    rust: None, alone: Callable[..., str], shared_videos: Path
) -> None:
    assert alone(FIRST_READ, shared_videos / "nasa_13013.mp4") == "interrupted\n"


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads by /proc")
def test_files_and_threads_are_given_back(rust: None, counting_video: Path) -> None:
    def held() -> tuple[int, int]:
        return tuple(len(list(Path(f"/proc/self/{of}").iterdir())) for of in ("fd", "task"))  # type: ignore[return-value]

    read_clip(counting_video, size=16)
    before = held()
    for _ in range(50):
        read_clip(counting_video, size=16)
    assert held() == before
