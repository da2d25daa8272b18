"""How a video is opened: by its header or by trial, and which of several."""

from pathlib import Path

import av
import numpy as np
import pytest

from fastvd.errors import MediaError
from fastvd.media import twin
from fastvd.media.resize import make_view
from fastvd.media.video import clip_at, frame_times, iter_clips, probe, read_clip, read_frames

CODED = {
    "b-frames": {"g": "10", "bf": "3"},
    "baseline": {"profile": "baseline"},
    "full chroma": {"g": "10", "pix_fmt": "yuv444p"},
    "half chroma": {"g": "10", "pix_fmt": "yuv422p"},
    "grey": {"g": "10", "pix_fmt": "gray"},
    "ten bits": {"g": "10", "pix_fmt": "yuv420p10le"},
    "fields": {"g": "10", "flags": "+ildct+ilme", "x264-params": "tff=1"},
    "fields that are none": {"x264-params": "fake-interlaced=1"},
    "parameters in packets": {"x264-params": "repeat-headers=1"},
    "times of buffers": {"x264-params": "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500"},
    "intra refresh": {"x264-params": "intra-refresh=1:keyint=10"},
}
"""H.264 whose parameters say more, or less, than most."""


def write_videos(
    path: Path,
    videos: list[np.ndarray],
    *,
    pix_fmt: str = "yuv420p",
    muxing: dict[str, str] | None = None,
    codec: str = "libx264",
    **options: str,
) -> Path:
    """Write streams [T, H, W, 3], a frame of each in turn."""
    with av.open(str(path), "w", options=muxing or {}) as container:
        streams = [container.add_stream(codec, rate=25, options=options) for _ in videos]
        for stream, frames in zip(streams, videos, strict=True):
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        for i in range(max(map(len, videos))):
            for stream, frames in zip(streams, videos, strict=True):
                if i < len(frames):
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[i]))
                    frame.pts = i
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def moving(count: int, height: int, width: int) -> np.ndarray:
    """Frames [T, H, W, 3] of a pattern that shifts by two pixels each time."""
    ramp = 60 + np.add.outer(5 * np.arange(height), 3 * np.arange(width)) % 120
    frames = [np.roll(ramp, 2 * i, axis=1) for i in range(count)]
    return np.stack(frames).astype(np.uint8)[..., None].repeat(3, axis=-1)


def assert_like_a_full_decode(path: Path, stream: int | None = None) -> None:
    """Facts, times and pixels are those of PyAV, which decodes all."""
    track = twin.read_track(path, stream)
    info = probe(path, stream=stream)
    assert (info.frames, info.height, info.width) == (len(track.times), *track.size)
    assert info.duration == pytest.approx(track.end, abs=1e-6)
    np.testing.assert_allclose(frame_times(path, stream=stream), track.times, atol=1e-9)
    twins = twin.read_video(path, range(info.frames), make_view(24), stream=stream)
    clip = read_clip(path, size=24, stream=stream)
    # luma: other routines convert the colours
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(clip @ luma - twins @ luma).max() <= 3
    for number in (0, info.frames - 1, info.frames // 2):
        one = read_frames(path, [number], size=24, stream=stream)
        assert np.array_equal(one[0], clip[number])


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_header_tells_what_a_full_decode_tells(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    # libx264 codes fields of 32 lines only
    height = 64 if name.startswith("fields") else 66
    assert_like_a_full_decode(write_videos(path, [moving(30, height, 90)], **CODED[name]))


@pytest.mark.parametrize(
    "flags", ["faststart", "frag_keyframe+empty_moov", "frag_keyframe", "dash"]
)
def test_tables_elsewhere_in_the_file_are_found(tmp_path: Path, flags: str) -> None:
    muxing = {"movflags": flags}
    assert_like_a_full_decode(
        write_videos(tmp_path / "clip.mp4", [moving(30, 64, 96)], g="10", bf="2", muxing=muxing)
    )


@pytest.mark.parametrize(
    "options", [{}, {"bf": "2"}, {"g": "5", "flags": "+global_header"}], ids=["", "bf", "header"]
)
@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_mpeg4_is_like_a_full_decode(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    path = tmp_path / f"clip.{suffix}"
    assert_like_a_full_decode(write_videos(path, [moving(30, 64, 96)], codec="mpeg4", **options))


@pytest.mark.parametrize("wrong", ["kind", "key", "place", "length"])
def test_index_that_is_not_that_of_the_file_is_not_trusted(tmp_path: Path, wrong: str) -> None:
    path = write_videos(tmp_path / "clip.avi", [moving(30, 64, 96)], codec="mpeg4", g="60")
    data = bytearray(path.read_bytes())
    # an entry has four bytes each for kind, flags, place and length
    entry = data.rindex(b"idx1") + 8 + 7 * 16
    changed = {"kind": (0, ord("9")), "key": (4, 16), "place": (8, 2), "length": (12, 255)}
    place, value = changed[wrong]
    data[entry + place] = value
    path.write_bytes(data)
    assert_like_a_full_decode(path)


@pytest.mark.parametrize("keep", [0.4, 0.7, 0.95])
def test_frames_whose_data_are_cut_off_do_not_count(
    reader: str, tmp_path: Path, keep: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 48, 3), dtype=np.uint8)
    muxing = {"movflags": "faststart"}
    whole = write_videos(tmp_path / "whole.mp4", [noise], g="10", bf="0", muxing=muxing)
    data = whole.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(keep * len(data))])
    count = probe(path).frames
    assert 0 < count < 30
    assert probe(path).is_truncated
    assert not probe(whole).is_truncated
    assert count == len(twin.read_track(path).times)
    assert np.array_equal(read_clip(path), read_clip(whole, frames=count))


def test_a_lone_frame_leaves_the_next_read_whole(counting_video: Path) -> None:
    every = read_clip(counting_video)
    # a key frame each ten: the decoder is told to give the lone one at once
    for number in (0, 1, 10, 9, 10, 11, 20, 20, 0, 39):
        assert np.array_equal(read_frames(counting_video, [number])[0], every[number])
    assert np.array_equal(read_clip(counting_video, start=21), every[21:])


@pytest.fixture(params=["mp4", "mkv", "ts"])
def three_videos(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Streams of 48x32, 96x64 and 64x48 with 30, 25 and 20 frames."""
    sizes = [(30, 32, 48), (25, 64, 96), (20, 48, 64)]
    path = tmp_path / f"three.{request.param}"
    return write_videos(path, [moving(*size) for size in sizes], g="10", bf="2")


@pytest.mark.parametrize(
    ("stream", "shape"), [(0, (30, 32, 48)), (1, (25, 64, 96)), (2, (20, 48, 64))]
)
def test_each_video_of_a_file_is_read(
    three_videos: Path, stream: int, shape: tuple[int, ...]
) -> None:
    assert read_clip(three_videos, stream=stream).shape == (*shape, 3)
    assert_like_a_full_decode(three_videos, stream)


def test_videos_of_a_file_are_not_taken_for_each_other(reader: str, three_videos: Path) -> None:
    for stream, height in [(1, 64), (0, 32), (2, 48), (0, 32)]:
        assert probe(three_videos, stream=stream).height == height
        assert read_frames(three_videos, [3], stream=stream).shape[1] == height
        assert clip_at(three_videos, 0.1, frames=2, stream=stream).shape[1] == height
        clips = iter_clips(three_videos, frames=20, stream=stream)
        assert next(clips).shape[:2] == (20, height)


def test_best_video_of_several_is_the_default(shared_videos: Path) -> None:
    path = shared_videos / "nasa_13013.mp4"
    assert_like_a_full_decode(path)
    info = probe(path)
    assert (info.frames, info.width) == (390, 480)
    assert probe(path, stream=1) == info
    assert (probe(path, stream=0).frames, probe(path, stream=0).width) == (325, 320)
    with av.open(str(path)) as container:
        found = [frame.pts for frame in container.decode(video=0)]
        tick = float(container.streams.video[0].time_base)
    times = (np.array(found) - found[0]) * tick
    np.testing.assert_allclose(frame_times(path, stream=0), times, atol=1e-9)


def test_cover_pictures_are_no_videos(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25, options={"strict": "-2"})
        video = container.add_stream("libx264", rate=25)
        for stream, size in ((cover, 128), (video, 64)):
            stream.width = stream.height = size
            stream.pix_fmt = "yuvj420p" if stream is cover else "yuv420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for stream, count, size in ((cover, 1, 128), (video, 12, 64)):
            for picture in moving(count, size, size):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            container.mux(stream.encode(None))
    assert probe(path).width == 64
    assert probe(path, stream=0).frames == 12
    with pytest.raises(
        MediaError, match=r"cover\.mp4: has 1 video streams, number 1 was asked for \(first is 0\)"
    ):
        read_clip(path, stream=1)


def test_missing_streams_are_refused(reader: str, three_videos: Path) -> None:
    for read in (probe, read_clip, frame_times):
        with pytest.raises(MediaError, match="has 3 video streams, number 3 was asked for"):
            read(three_videos, stream=3)
        with pytest.raises(ValueError, match="stream must be 0 or more, got -1"):
            read(three_videos, stream=-1)


@pytest.mark.parametrize("flags", ["", "faststart", "frag_keyframe+empty_moov"])
def test_a_file_that_lost_a_byte_is_truncated(reader: str, tmp_path: Path, flags: str) -> None:
    muxing = {"movflags": flags} if flags else None
    path = write_videos(tmp_path / "clip.mp4", [moving(30, 32, 48)], g="10", muxing=muxing)
    whole = path.read_bytes()
    assert not probe(path).is_truncated
    # bytes behind the last box are none of the file's
    for more in (b"\0", bytes(20), b"any text may follow"):
        path.write_bytes(whole + more)
        assert not probe(path).is_truncated
    if flags == "frag_keyframe+empty_moov":
        # what lists the fragments comes last, and may be missing
        whole = whole[: whole.rindex(b"mfra") - 4]
        path.write_bytes(whole)
        assert not probe(path).is_truncated
    if flags:
        path.write_bytes(whole[:-1])
        assert probe(path).is_truncated


def test_real_videos_are_whole(shared_videos: Path) -> None:
    paths = [path for path in shared_videos.iterdir() if path.suffix != ".md"]
    assert not any(probe(path).is_truncated for path in paths)
    assert len(paths) == 19
