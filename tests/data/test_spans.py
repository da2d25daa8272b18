import numpy as np
import pytest

from fastvd.data.spans import strided_numbers, strided_starts, timed_numbers, timed_starts


@pytest.mark.parametrize(
    ("video_frames", "frames", "stride", "starts"),
    [(16, 16, 1, 1), (15, 16, 1, 0), (20, 16, 1, 5), (10, 4, 3, 1), (9, 4, 3, 0), (0, 1, 1, 0)],
)
def test_strided_clips_fit_to_the_last_frame(video_frames, frames, stride, starts):
    assert strided_starts(video_frames, frames=frames, stride=stride) == starts
    if starts:
        last = strided_numbers(starts - 1, frames=frames, stride=stride)
        assert last[-1] == video_frames - 1


def test_strided_numbers_are_stride_apart():
    assert strided_numbers(5, frames=4, stride=3).tolist() == [5, 8, 11, 14]


@pytest.mark.parametrize(("fps", "stride"), [(25.0, 1), (12.5, 2), (5.0, 5)])
def test_even_rate_is_a_stride(fps, stride):
    times = np.arange(50) / 25
    starts = timed_starts(times, frames=6, fps=fps)
    assert starts == strided_starts(50, frames=6, stride=stride)
    for start in range(starts):
        numbers = timed_numbers(times, start, frames=6, fps=fps)
        assert numbers.tolist() == strided_numbers(start, frames=6, stride=stride).tolist()


def test_nearest_frame_and_the_earlier_of_two():
    times = np.arange(7) / 30
    # 0, 0.05 and 0.1 s at 30 fps: frames 0, 1.5, 3
    assert timed_numbers(times, 0, frames=5, fps=20).tolist() == [0, 1, 3, 4, 6]
    assert timed_numbers(times, 0, frames=3, fps=11).tolist() == [0, 3, 5]


def test_uneven_times_are_followed():
    times = np.array([0.0, 0.1, 0.2, 0.9, 1.0, 1.1])
    assert timed_numbers(times, 0, frames=6, fps=5).tolist() == [0, 2, 2, 3, 3, 4]
    assert timed_numbers(times, 2, frames=3, fps=10).tolist() == [2, 2, 2]


def test_a_higher_rate_repeats_frames():
    times = np.arange(4) / 10
    assert timed_numbers(times, 1, frames=4, fps=20).tolist() == [1, 1, 2, 2]


def test_ntsc_rate_fits_its_round_number():
    # 29.97 fps asked as 30: the last frame is wanted a little before it is shown
    times = np.arange(31) * 1001 / 30000
    assert timed_starts(times, frames=31, fps=30) == 1
    assert timed_numbers(times, 0, frames=31, fps=30).tolist() == list(range(31))
    assert timed_starts(times, frames=32, fps=30) == 0


@pytest.mark.parametrize(("frames", "starts"), [(1, 1), (2, 0)])
def test_single_frame(frames, starts):
    times = np.zeros(1)
    assert timed_starts(times, frames=frames, fps=10) == starts
    assert timed_numbers(times, 0, frames=1, fps=10).tolist() == [0]


def test_no_frames():
    assert timed_starts(np.zeros(0), frames=1, fps=10) == 0
