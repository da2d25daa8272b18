import pickle
import threading
import time

import numpy as np
import pytest

from fastvd.data.cache import FrameCache
from fastvd.errors import MediaError

FRAMES = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)


def fail() -> np.ndarray:
    raise AssertionError("decoded again")


def test_first_videos_that_fit_are_kept():
    cache = FrameCache(np.array([100, 500, 30, 40]), max_bytes=150)
    kept = [cache.get(video, lambda: FRAMES) is not None for video in range(4)]
    assert kept == [True, False, True, False]


def test_videos_too_long_to_read_at_once_are_not_kept():
    cache = FrameCache(np.array([2**32 + 1, 2**32]), max_bytes=2**40)
    assert cache.get(0, fail) is None
    assert cache.get(1, lambda: FRAMES) is FRAMES


def test_each_video_is_decoded_once():
    cache = FrameCache(np.array([10]), max_bytes=10)
    assert cache.get(0, lambda: FRAMES) is FRAMES
    assert cache.get(0, fail) is FRAMES


def test_threads_that_ask_together_decode_once():
    cache = FrameCache(np.array([10]), max_bytes=10)
    decoded: list[int] = []

    def decode() -> np.ndarray:
        decoded.append(1)
        time.sleep(0.05)
        return FRAMES

    threads = [threading.Thread(target=cache.get, args=(0, decode)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == 1


def test_damaged_video_is_tried_once_and_left_to_single_reads(caplog):
    cache = FrameCache(np.array([10]), max_bytes=10)

    def decode() -> np.ndarray:
        raise MediaError("a.mp4: ends early")

    assert cache.get(0, decode) is None
    assert cache.get(0, fail) is None
    assert "a.mp4: ends early" in caplog.text


def test_pickled_cache_arrives_empty():
    cache = FrameCache(np.array([10, 10]), max_bytes=10)
    cache.get(0, lambda: FRAMES)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.get(0, lambda: FRAMES[:1]).shape[0] == 1
    assert copy.get(1, lambda: FRAMES) is None


def test_negative_size_is_refused():
    with pytest.raises(ValueError, match="-1"):
        FrameCache(np.array([10]), max_bytes=-1)
