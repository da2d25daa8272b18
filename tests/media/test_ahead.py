"""Whole files in clips, their stretches decoded side by side."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastvd import native
from fastvd.errors import MediaError
from fastvd.limits import Limits, set_limits
from fastvd.media import ahead
from fastvd.media.ahead import read_ahead
from fastvd.media.video import iter_clips, read_clip

Encode = Callable[..., Path]

FRAMES = 240

needs_rust = pytest.mark.skipif(not native.video_available, reason="needs Rust and FFmpeg")


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """Threads that decode ahead end with the iteration, however it ends."""
    yield
    deadline = time.monotonic() + 10
    while _threads():
        assert time.monotonic() < deadline, "threads go on"
        time.sleep(0.005)


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastvd-ahead")]


def _numbers(wanted: range, threads: int = 1) -> np.ndarray:
    """Frames of one pixel that show their number."""
    return np.array(wanted, np.uint8).reshape(-1, 1, 1, 1)


def _ahead(
    read: Callable[[range, int], np.ndarray] = _numbers,
    *,
    stride: int = 1,
    gop: int = 30,
    frames: int = 7,
    threads: int = 2,
    frame_bytes: int = 1,
) -> Iterator[np.ndarray]:
    starts = range(0, FRAMES, gop)
    wanted = range(0, FRAMES, stride)
    return read_ahead(read, wanted, starts, frames=frames, threads=threads, frame_bytes=frame_bytes)


@pytest.mark.parametrize("gop", [1, 12, 30, 240])
@pytest.mark.parametrize("stride", [1, 3, 50])
@pytest.mark.parametrize("threads", [1, 2, 5, 64])
def test_clips_are_in_order_and_whole(threads: int, stride: int, gop: int) -> None:
    clips = [clip.ravel().tolist() for clip in _ahead(threads=threads, stride=stride, gop=gop)]
    numbers = list(range(0, FRAMES, stride))
    assert clips == [numbers[i : i + 7] for i in range(0, len(numbers), 7)]


def test_stretches_are_read_side_by_side_and_each_frame_once() -> None:
    met, asked = threading.Barrier(2), []

    def read(wanted: range, threads: int) -> np.ndarray:
        asked.append((wanted.start, wanted.stop, threads))
        if wanted.start in (0, 30):
            met.wait(timeout=10)
        return _numbers(wanted)

    assert sum(map(len, _ahead(read))) == FRAMES
    assert {threads for *_, threads in asked} == {1}
    # whole clips, but for those that cross a place where decoding may start
    assert sorted(asked)[:6] == [
        (0, 7, 1),
        (7, 14, 1),
        (14, 21, 1),
        (21, 28, 1),
        (28, 30, 1),
        (30, 35, 1),
    ]
    assert sorted(n for start, stop, _ in asked for n in range(start, stop)) == list(range(FRAMES))


@pytest.mark.parametrize("change", [{"gop": 120}, {"frames": 100}, {"frame_bytes": 1 << 24}])
def test_one_decoder_gets_all_threads_where_runs_are_few_or_large(change: dict[str, int]) -> None:
    asked = []

    def read(wanted: range, threads: int) -> np.ndarray:
        asked.append((len(wanted), threads))
        return _numbers(wanted)

    lengths = [len(clip) for clip in _ahead(read, **change)]
    assert asked == [(length, 2) for length in lengths]


def test_what_nobody_takes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "LOOK_AHEAD", 40_000)
    waiting, most, lock = 0, 0, threading.Lock()

    def read(wanted: range, threads: int) -> np.ndarray:
        nonlocal waiting, most
        with lock:
            waiting += len(wanted)
            most = max(most, waiting)
        return _numbers(wanted)

    for i, clip in enumerate(_ahead(read, frame_bytes=1000)):
        time.sleep(0.1 if i == 0 else 0)
        with lock:
            waiting -= len(clip)
    # and one clip that is being taken
    assert 30 < most <= 40 + 7


def test_lower_limit_for_clips_bounds_it_too() -> None:
    asked = []

    def read(wanted: range, threads: int) -> np.ndarray:
        asked.append(threads)
        return _numbers(wanted)

    set_limits(Limits(max_clip_bytes=10_000))
    assert sum(map(len, _ahead(read, frame_bytes=1000))) == FRAMES
    assert set(asked) == {2}, "one decoder with all threads"


def test_error_comes_at_its_clip() -> None:
    def read(wanted: range, threads: int) -> np.ndarray:
        if 100 in wanted:
            raise MediaError("frame 100")
        return _numbers(wanted)

    clips = _ahead(read)
    for first in range(0, 98, 7):
        assert next(clips)[0] == first
    with pytest.raises(MediaError, match="frame 100"):
        next(clips)
    assert next(clips, None) is None


def test_iteration_may_be_left_at_any_clip() -> None:
    for count in (0, 1, 5, 34):
        clips = _ahead()
        for _ in range(count):
            next(clips)
        clips.close()

    def fail() -> None:
        for _ in _ahead():
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        fail()


@pytest.mark.parametrize("taken", [0, 1, 12])
def test_iteration_goes_on_in_a_fork(counting_video: Path, taken: int) -> None:
    expected = read_clip(counting_video, size=16)
    clips = iter_clips(counting_video, frames=2, size=16, threads=2)
    for _ in range(taken):
        next(clips)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(np.concatenate(list(clips)), expected[2 * taken :]) else 1)
    assert np.array_equal(np.concatenate(list(clips)), expected[2 * taken :])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_rust
@pytest.mark.parametrize(
    ("name", "frames", "stride"),
    [
        ("nasa_mpeg4_divx_160x120_25fps.avi", 16, 1),
        ("nasa_mpeg4_divx_160x120_25fps.avi", 5, 3),
        ("nasa_mjpeg.avi", 7, 1),
        ("cockatoo_yuv420.mp4", 16, 1),
        ("h265_video.mp4", 1, 1),
    ],
)
def test_real_clips_do_not_depend_on_threads(
    shared_videos: Path, name: str, frames: int, stride: int
) -> None:
    _check_threads(shared_videos / name, frames=frames, stride=stride)


@needs_rust
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("mp4", {"g": "10", "bf": "2"}),
        ("mkv", {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
        ("ts", {"g": "12", "bf": "3", "x264-params": "open-gop=1:b-pyramid=normal:scenecut=0"}),
        ("mp4", {"g": "8", "bf": "2", "times": "uneven"}),
        ("webm", {"g": "15", "codec": "libvpx-vp9"}),
    ],
    ids=["closed", "open", "transport stream", "variable rate", "vp9"],
)
def test_made_clips_do_not_depend_on_threads(
    tmp_path: Path, encode: Encode, suffix: str, options: dict[str, str]
) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (150, 4, 6, 3), dtype=np.uint8)
    times = [i + i // 3 * 2 for i in range(150)] if options.pop("times", "") else None
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    path = encode(tmp_path / f"clip.{suffix}", frames, times=times, **options)
    _check_threads(path, frames=8, stride=1)
    _check_threads(path, frames=5, stride=2)


def _check_threads(path: Path, *, frames: int, stride: int) -> None:
    one = read_clip(path, stride=stride, size=24, threads=1)
    for threads in (1, 2, 3):
        clips = iter_clips(path, frames=frames, stride=stride, size=24, threads=threads)
        read = [next(clips)]
        assert bool(_threads()) == (threads > 1)
        read += clips
        assert {len(clip) for clip in read[:-1]} == {frames}
        assert np.array_equal(np.concatenate(read), one)


@needs_rust
def test_damage_is_met_at_the_same_clip(tmp_path: Path, encode: Encode) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (120, 32, 48, 3), dtype=np.uint8)
    path = encode(tmp_path / "damaged.mp4", frames, g="10", bf="2", crf="10")
    whole = read_clip(path, size=16)
    data = np.fromfile(path, np.uint8)
    data[len(data) // 2 :][:4000] ^= 0x5A
    data.tofile(path)
    met = []
    for threads in (1, 2, 3):
        clips = iter_clips(path, frames=4, size=16, threads=threads)
        for count, expected in enumerate(np.split(whole, len(whole) // 4)):
            try:
                clip = next(clips)
            except MediaError as error:
                met.append((count, str(error)))
                break
            assert np.array_equal(clip, expected)
    assert len(met) == 3
    assert len(set(met)) == 1
    assert met[0][0] > 5
    assert "damaged.mp4: frame " in met[0][1]
