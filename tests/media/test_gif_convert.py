"""Videos to GIF files: the right frames at the right times, piece by piece."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastvd.errors import MediaError
from fastvd.media import gif_convert, read_clip, read_gif, write_gif
from fastvd.media.gif_convert import convert_to_gif

pytestmark = pytest.mark.usefixtures("reader")


@pytest.fixture
def uneven_video(
    tmp_path: Path, encode: Callable[..., Path], counting_frames: Callable[..., np.ndarray]
) -> Path:
    """Six frames, shown at 0, 40, 80, 240, 400 and 440 ms for 40 ms or until the next."""
    return encode(tmp_path / "uneven.mp4", counting_frames(6), times=[0, 1, 2, 6, 10, 11], bf="0")


@pytest.mark.parametrize(
    ("fps", "numbers"),
    [
        (25, list(range(40))),
        (12.5, list(range(0, 40, 2))),
        (10, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30, 32, 35, 37]),
        (50, [i // 2 for i in range(80)]),
    ],
)
def test_frames_shown_at_those_times_are_taken(
    tmp_path: Path,
    counting_video: Path,
    frame_numbers: Callable[[np.ndarray], list[int]],
    fps: float,
    numbers: list[int],
) -> None:
    convert_to_gif(counting_video, tmp_path / "a.gif", fps=fps)
    gif = read_gif(tmp_path / "a.gif")
    assert frame_numbers(gif.frames) == numbers
    assert gif.delays_s.sum() == pytest.approx(1.6)


def test_uneven_times_are_kept(
    tmp_path: Path, uneven_video: Path, frame_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    convert_to_gif(uneven_video, tmp_path / "a.gif")
    gif = read_gif(tmp_path / "a.gif")
    assert frame_numbers(gif.frames) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(gif.delays_s, [0.04, 0.04, 0.16, 0.16, 0.04, 0.04])


def test_uneven_times_are_sampled(
    tmp_path: Path, uneven_video: Path, frame_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    convert_to_gif(uneven_video, tmp_path / "a.gif", fps=12.5)
    assert frame_numbers(read_gif(tmp_path / "a.gif").frames) == [0, 2, 2, 3, 3, 4]


def test_what_is_too_quick_for_a_gif_is_thinned_out(
    tmp_path: Path,
    encode: Callable[..., Path],
    counting_frames: Callable[..., np.ndarray],
    frame_numbers: Callable[[np.ndarray], list[int]],
) -> None:
    video = encode(tmp_path / "quick.mp4", counting_frames(20), fps=100)
    convert_to_gif(video, tmp_path / "a.gif")
    gif = read_gif(tmp_path / "a.gif")
    assert frame_numbers(gif.frames) == list(range(0, 20, 2))
    assert gif.delays_s.tolist() == [0.02] * 10


def test_start_frames_and_stride_choose(
    tmp_path: Path, counting_video: Path, frame_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    made = convert_to_gif(counting_video, tmp_path / "a.gif", start=3, frames=4, stride=5, width=24)
    gif = read_gif(tmp_path / "a.gif")
    assert made == (4, 16, 24)
    assert gif.frames.shape == (4, 16, 24, 3)
    assert frame_numbers(gif.frames) == [3, 8, 13, 18]
    assert gif.delays_s.tolist() == [0.2] * 4


@pytest.mark.parametrize("palette", ["global", "scene", "local"])
def test_pieces_give_the_bytes_of_the_whole(
    tmp_path: Path, shared_videos: Path, monkeypatch: pytest.MonkeyPatch, palette: str
) -> None:
    video = shared_videos / "nasa_vfr_h264.mp4"
    told: list[tuple[int, int]] = []
    options = {"frames": 12, "width": 64, "fps": 20, "palette": palette}
    convert_to_gif(video, tmp_path / "whole.gif", **options)
    monkeypatch.setattr(gif_convert, "PIECE_BYTES", 5 * 64 * 36 * 3)
    convert_to_gif(
        video, tmp_path / "pieces.gif", progress=lambda *now: told.append(now), **options
    )
    assert (tmp_path / "whole.gif").read_bytes() == (tmp_path / "pieces.gif").read_bytes()
    done, total = zip(*told, strict=True)
    assert sorted(done) == list(done)
    assert done[-1] == total[0]
    assert len(told) > 2


def test_conversion_is_what_writing_the_clip_gives(tmp_path: Path, counting_video: Path) -> None:
    convert_to_gif(counting_video, tmp_path / "a.gif", frames=7, loop=None)
    clip = read_clip(counting_video, frames=7)
    write_gif(tmp_path / "b.gif", clip, fps=25, loop=None)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 40}, "has 40 frames, too few for start=40"),
        ({"frames": 41}, "has 40 frames, too few for start=0, frames=41"),
        ({"stride": 0}, "stride 1 or more, got start=0, frames=None, stride=0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"fps": 51}, "at most 50 frames a second, got fps=51"),
        ({"fps": 0}, "fps must be a number above 0, got 0"),
    ],
)
def test_bad_argument_leaves_no_file(
    tmp_path: Path, counting_video: Path, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        convert_to_gif(counting_video, tmp_path / "a.gif", **options)
    assert list(tmp_path.iterdir()) == []


def test_damaged_video_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"a\.mp4"):
        convert_to_gif(tmp_path / "a.mp4", tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()
