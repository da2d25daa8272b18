"""Videos must give a frame in time; long ones, frame after frame, may take longer as a whole."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastvd.errors import MediaError
from fastvd.limits import Limits, set_limits
from fastvd.media.video import probe, read_clip, read_frames


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_video_that_gives_no_frame_in_time_is_refused(
    reader: str,
    tmp_path: Path,
    encode: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
    suffix: str,
) -> None:
    path = encode(tmp_path / f"slow.{suffix}", counting_frames(4))
    for read in (probe, read_clip, lambda path: read_frames(path, [2])):
        set_limits(Limits(open_timeout_s=1e-6))
        with pytest.raises(MediaError, match=rf"slow\.{suffix}: no frame within "):
            read(path)
        set_limits(Limits(open_timeout_s=math.inf))
        read(path)


def test_file_is_left_in_the_midst_of_packets_that_are_no_frames(
    reader: str,
    tmp_path: Path,
    encode: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
) -> None:
    path = encode(tmp_path / "long.ts", counting_frames(4))
    started = time.perf_counter()
    probe(path)
    opening_s = time.perf_counter() - started
    # null packets, which the demuxer passes over by itself
    filling = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 100_000
    with path.open("ab") as file:
        for _ in range(10):
            file.write(filling)
    started = time.perf_counter()
    assert probe(path).frames == 4
    passing_s = time.perf_counter() - started - opening_s
    # the file may be passed over more than once
    set_limits(Limits(open_timeout_s=passing_s / 8))
    with pytest.raises(MediaError, match=r"long\.ts: no frame within "):
        probe(path)


@pytest.fixture
def noise(tmp_path: Path, encode: Callable[..., Path]) -> Path:
    """A stream without times, whose frames are counted by decoding: 300 of noise."""
    frames = np.random.default_rng(0).integers(0, 256, (30, 240, 320, 3), np.uint8)
    path = encode(tmp_path / "noise.h264", frames, preset="ultrafast", crf="10")
    path.write_bytes(path.read_bytes() * 10)
    # its table is not kept: a file that changed just now may change again
    later = time.time() + 1000
    os.utime(path, (later, later))
    return path


def test_table_of_a_long_video_may_take_longer_than_a_frame(reader: str, noise: Path) -> None:
    started = time.perf_counter()
    assert probe(noise).frames == 300
    set_limits(Limits(open_timeout_s=(time.perf_counter() - started) / 3))
    assert probe(noise).frames == 300


def test_time_between_two_reads_does_not_count(reader: str, counting_video: Path) -> None:
    set_limits(Limits(open_timeout_s=0.5))
    first = read_clip(counting_video, frames=4)
    time.sleep(0.7)
    second = read_clip(counting_video, start=4, frames=4)
    assert first.shape == second.shape
