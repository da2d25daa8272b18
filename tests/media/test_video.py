"""Clips from videos, by Rust and by the PyAV twin."""

import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from fastvd.errors import MediaError
from fastvd.media import twin
from fastvd.media.resize import make_view
from fastvd.media.video import (
    clip_at,
    frame_times,
    iter_clips,
    probe,
    read_clip,
    read_frames,
)

Encode = Callable[..., Path]

# every file that FFmpeg decodes, with its number of frames, width and height as shown
SHARED = {
    "av1_video.mkv": (125, 640, 360),
    "bt709_full_range.mp4": (30, 1280, 720),
    "cockatoo_yuv420.mp4": (280, 1280, 720),
    "h265_10bits.mp4": (30, 200, 200),
    "h265_video.mp4": (10, 128, 128),
    "nasa_13013.mp4": (390, 480, 270),
    "nasa_av1.mp4": (180, 480, 270),
    "nasa_hevc_main10.mp4": (120, 480, 270),
    "nasa_mjpeg.avi": (90, 320, 180),
    "nasa_mpeg4_divx_160x120_25fps.avi": (200, 160, 120),
    "nasa_opengop_offset.ts": (180, 480, 270),
    "nasa_vfr_h264.mp4": (172, 480, 270),
    "nasa_vp9.webm": (180, 480, 270),
    "rotate_180.mov": (3, 568, 320),
    "rotate_90.mov": (3, 320, 568),
    "unordered.mov": (4, 50, 50),
}


@pytest.mark.parametrize("name", SHARED)
def test_every_access_order_gives_the_frames_of_a_full_decode(
    shared_videos: Path, name: str
) -> None:
    path = shared_videos / name
    count, width, height = SHARED[name]
    # every frame of a small video, every sixth of a large one
    step = max(1, count * width * height // 40_000_000)
    numbers = range(0, count, step)
    twins = twin.read_video(path, numbers, make_view())
    # one level: the twin has swscale's colours
    assert np.abs(read_clip(path, stride=step) - twins.astype(np.int16)).max() <= 1
    rng = np.random.default_rng(0)
    every = read_clip(path, stride=step, size=24)
    backwards = np.arange(len(numbers))[::-1][:30]
    assert np.array_equal(read_frames(path, backwards * step, size=24), every[backwards])
    mixed = rng.integers(0, len(numbers), 20)
    assert np.array_equal(read_frames(path, mixed * step, size=24), every[mixed])
    for start in rng.integers(0, len(numbers), 4).tolist():
        stride = int(rng.integers(1, 8))
        part = every[start::stride][:8]
        clip = read_clip(path, start=start * step, frames=len(part), stride=stride * step, size=24)
        assert np.array_equal(clip, part)


@pytest.mark.parametrize("name", SHARED)
def test_probe_agrees_with_a_full_decode(shared_videos: Path, name: str) -> None:
    track = twin.read_track(shared_videos / name)
    info = probe(shared_videos / name)
    assert (info.frames, info.width, info.height) == SHARED[name]
    assert (info.codec, info.rotation) == (track.codec, track.rotation)
    assert (info.height, info.width) == track.size
    assert info.has_audio == (name == "nasa_13013.mp4")
    assert info.is_variable_rate == (name == "nasa_vfr_h264.mp4")
    assert info.duration == pytest.approx(track.end, abs=1e-6)
    np.testing.assert_allclose(frame_times(shared_videos / name), track.times, atol=1e-9)


def test_variable_rate_times_are_kept(shared_videos: Path) -> None:
    times = frame_times(shared_videos / "nasa_vfr_h264.mp4")
    assert times[0] == 0
    assert np.diff(times).max() > 2.5 * np.diff(times).min()


def test_clip_frames_are_stride_apart(
    reader: str, counting_video: Path, frame_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    clip = read_clip(counting_video, start=3, frames=5, stride=7)
    assert frame_numbers(clip) == [3, 10, 17, 24, 31]
    assert clip.shape == (5, 32, 48, 3)
    assert frame_numbers(read_clip(counting_video, start=35, stride=2)) == [35, 37, 39]
    assert frame_numbers(read_frames(counting_video, [9, 30, 9, 0])) == [9, 30, 9, 0]


def test_time_takes_the_frame_that_is_shown(
    reader: str, counting_video: Path, frame_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    # 25 frames a second: frame 10 is shown from 0.40 to 0.44 s
    for seconds, first in [(0.4, 10), (0.439, 10), (0.44, 11)]:
        assert frame_numbers(clip_at(counting_video, seconds, frames=2)) == [first, first + 1]
    assert frame_numbers(clip_at(counting_video, 0.1, frames=4, fps=10)) == [2, 5, 7, 10]
    assert frame_numbers(clip_at(counting_video, 0.0, frames=4, fps=50)) == [0, 0, 1, 1]
    with pytest.raises(MediaError, match=r"lasts 1\.6 s, 1\.7 s was asked for"):
        clip_at(counting_video, 1.5, frames=3, fps=10)
    with pytest.raises(ValueError, match="seconds=-1"):
        clip_at(counting_video, -1, frames=1)


def test_variable_rate_is_read_by_time(reader: str, shared_videos: Path) -> None:
    path = shared_videos / "nasa_vfr_h264.mp4"
    times = frame_times(path)
    clip = clip_at(path, float(times[20]) + 0.001, frames=1, size=16)
    assert np.array_equal(clip, read_frames(path, [20], size=16))


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("name", ["nasa_13013.mp4", "nasa_mjpeg.avi", "nasa_opengop_offset.ts"])
def test_frames_do_not_depend_on_threads(shared_videos: Path, name: str, threads: int) -> None:
    path = shared_videos / name
    one = read_clip(path, size=24, threads=1)
    assert np.array_equal(read_clip(path, size=24, threads=threads), one)
    assert np.array_equal(
        read_clip(path, size=24, start=31, frames=40, threads=threads), one[31:71]
    )


def test_pieces_are_the_whole(
    reader: str, counting_video: Path, frame_numbers: Callable[[np.ndarray], list[int]]
) -> None:
    pieces = [frame_numbers(clip) for clip in iter_clips(counting_video, frames=6, stride=3)]
    assert pieces == [[0, 3, 6, 9, 12, 15], [18, 21, 24, 27, 30, 33], [36, 39]]
    with pytest.raises(ValueError, match="got 0 and 1"):
        next(iter_clips(counting_video, frames=0))


def test_rotation_turns_the_picture_clockwise(reader: str, tmp_path: Path, encode: Encode) -> None:
    picture = np.zeros((1, 32, 48, 3), np.uint8)
    picture[:, :16, :24] = 240  # top left
    path = encode(tmp_path / "upright.mp4", picture, crf="5")
    data = path.read_bytes()
    unit = b"\x00\x01\x00\x00" + bytes(4)
    upright = unit + bytes(8) + unit + bytes(8) + b"\x40\x00\x00\x00"
    turned = bytes(4) + unit + b"\xff\xff\x00\x00" + bytes(16) + b"\x40\x00\x00\x00"
    # the track header's matrix is the second one, after the movie header's
    head, track = data.rsplit(upright, 1)
    path.write_bytes(head + turned + track)
    info = probe(path)
    assert (info.rotation, info.width, info.height) == (90, 32, 48)
    shown = read_clip(path)[0, ..., 0]
    assert shown.shape == (48, 32)
    assert shown[:20, 20:].min() > 200, "the top left corner is now top right"
    assert shown[28:].max() < 40
    assert shown[:, :12].max() < 40


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("ffv1", "yuv444p", "mkv"),
        ("ffv1", "yuv422p", "mkv"),
        ("ffv1", "yuv420p10le", "mkv"),
        ("ffv1", "gray", "mkv"),
        ("ffv1", "bgr0", "mkv"),
        ("libx264", "yuv444p", "mp4"),
        ("mjpeg", "yuvj422p", "avi"),
        ("mpeg2video", "yuv420p", "mpg"),
        ("huffyuv", "rgb24", "avi"),
    ],
)
def test_formats_are_read_alike_by_rust_and_twin(
    tmp_path: Path, encode: Encode, codec: str, pix_fmt: str, suffix: str
) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    options = {"bf": "0"} if codec == "mpeg2video" else {}
    path = encode(tmp_path / f"clip.{suffix}", frames, codec=codec, pix_fmt=pix_fmt, **options)
    clip = read_clip(path)
    twins = twin.read_video(path, range(5), make_view())
    assert np.abs(clip - twins.astype(np.int16)).max() <= 1
    if codec in ("ffv1", "huffyuv") and pix_fmt not in ("gray",):
        # inside the 8x8 squares no chroma is mixed: only the rounding of YUV is left
        assert np.abs(clip[:, 3::8, 3::8].astype(int) - coarse).max() <= 4


def test_alpha_is_laid_over_black(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "alpha.mov"
    rgba = np.full((16, 16, 4), (200, 100, 50, 128), np.uint8)
    rgba[:8, :, 3] = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=5)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode(None))
    frame = read_clip(path)[0]
    assert frame[:8].max() == 0
    assert frame[8:].reshape(-1, 3).tolist() == [[100, 50, 25]] * 128


def test_grey_has_one_channel(reader: str, counting_video: Path) -> None:
    clip = read_clip(counting_video, frames=2, size=16, grey=True)
    assert clip.shape == (2, 16, 16, 1)
    rgb = read_clip(counting_video, frames=2, size=16)
    assert np.abs(clip[..., 0].astype(int) - rgb[..., 1]).max() <= 1


def test_crop_is_in_source_pixels(reader: str, tmp_path: Path, encode: Encode) -> None:
    frames = np.zeros((2, 32, 48, 3), np.uint8)
    frames[:, 16:, 32:] = 250
    path = encode(tmp_path / "corner.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    clip = read_clip(path, crop=(16, 32, 16, 16), size=4)
    assert clip.min() == 250
    assert read_clip(path, crop=(0, 0, 16, 48)).shape == (2, 16, 48, 3)
    assert read_clip(path, crop=(0, 0, 16, 48)).max() == 0


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_truncated_file_gives_what_is_left_and_says_how_much(
    reader: str, tmp_path: Path, encode: Encode, keep: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), dtype=np.uint8)
    whole = encode(tmp_path / "whole.mkv", noise, g="10", crf="10")
    data = whole.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: int(len(data) * keep)])
    count = probe(path).frames
    assert 0 < count < 40
    assert np.array_equal(read_clip(path), read_clip(whole, frames=count))
    with pytest.raises(MediaError, match=rf"cut\.mkv: has {count} frames, frame 39"):
        read_clip(path, start=39, frames=1)


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 200], ids=["empty", "text"])
def test_what_is_no_video_is_refused(reader: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for read in (probe, read_clip, frame_times):
        with pytest.raises(MediaError, match=r"clip\.mp4: "):
            read(path)


def test_video_without_frames_is_refused(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    with pytest.raises(MediaError, match=r"sound\.wav: holds no video"):
        read_clip(path)


def test_missing_file_is_not_found(reader: str, tmp_path: Path) -> None:
    for read in (probe, read_clip, frame_times):
        with pytest.raises(FileNotFoundError, match=r"gone\.mp4"):
            read(tmp_path / "gone.mp4")


def test_frames_past_the_end_are_refused_with_the_count(reader: str, counting_video: Path) -> None:
    with pytest.raises(MediaError, match=r"counting\.mp4: has 40 frames, frame 40 was asked for"):
        read_clip(counting_video, start=38, frames=3)
    with pytest.raises(MediaError, match="has 40 frames, frame 50"):
        read_clip(counting_video, start=50)
    with pytest.raises(MediaError, match="has 40 frames, frame 41"):
        read_frames(counting_video, [3, 41])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"stride": 0}, "stride=0"),
        ({"start": -1}, "start=-1"),
        ({"frames": 0}, "frames=0"),
        ({"start": 1 << 70}, "start="),
        ({"size": 0}, "size must be 1 to 8192"),
        ({"size": (4, 9000)}, r"got \(4, 9000\)"),
        ({"fit": "cover"}, "'cover'"),
        ({"resample": "cubic"}, "'cubic'"),
        ({"crop": (0, 0, 0, 4)}, "crop"),
        ({"crop": (20, 0, 20, 4)}, r"counting\.mp4: crop .* 32 high and 48 wide"),
        ({"size": (1, 8192), "fit": "pad"}, "a side may have 8192"),
    ],
)
def test_bad_arguments_are_refused(
    reader: str, counting_video: Path, arguments: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        read_clip(counting_video, **{"frames": 1, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("indices", [[], [-1], [1, -2]])
def test_bad_indices_are_refused(reader: str, counting_video: Path, indices: list[int]) -> None:
    with pytest.raises(ValueError, match="indices must be"):
        read_frames(counting_video, indices)


def test_what_is_no_number_or_no_path_is_refused(counting_video: Path) -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        read_frames(counting_video, [1.9])
    with pytest.raises(ValueError, match="path is empty"):
        read_clip("")
    with pytest.raises(ValueError, match="frames and stride"):
        iter_clips(counting_video, frames=0)
