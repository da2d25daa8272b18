"""Videos of every kind that readers get wrong, encoded by PyAV on the spot."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from robust.seeds import Frames, moving_frames, write_video

X265 = "log-level=none:pools=1:frame-threads=1:keyint=15:min-keyint=15"


def make_oddities(folder: Path, *, count: int = 60) -> list[Path]:
    """Write one file of each kind, of ``count`` frames."""
    frames = moving_frames(count)
    plain = [
        write_video(folder / name, frames[:, :h, :w], codec=codec, options=options, pix_fmt=pix)
        for name, (codec, options, pix, h, w) in ENCODED.items()
    ]
    return plain + [make(folder, frames) for make in SPECIAL]


# name: encoder, options, pixel format, height, width
ENCODED: dict[str, tuple[str, dict[str, str], str, int, int]] = {
    "closed_gop.mp4": ("libx264", {"g": "15", "bf": "2"}, "yuv420p", 72, 96),
    "open_gop_pyramid.mp4": (
        "libx264",
        {"g": "15", "bf": "5", "x264-params": "open-gop=1:b-pyramid=normal:keyint=15:bframes=5"},
        "yuv420p", 72, 96,
    ),
    "open_gop_pyramid.ts": (
        "libx264",
        {"g": "15", "bf": "5", "x264-params": "open-gop=1:b-pyramid=normal:keyint=15:bframes=5"},
        "yuv420p", 72, 96,
    ),
    "hevc_open_gop.mp4": (
        "libx265", {"x265-params": f"{X265}:open-gop=1:bframes=4:b-pyramid=1"}, "yuv420p", 72, 96,
    ),
    "hevc_closed_gop.mkv": ("libx265", {"x265-params": f"{X265}:open-gop=0"}, "yuv420p", 72, 96),
    "intra_refresh.mp4": (
        "libx264", {"x264-params": "intra-refresh=1:keyint=15"}, "yuv420p", 72, 96,
    ),
    "h264_10_bit.mp4": ("libx264", {"g": "15"}, "yuv420p10le", 72, 96),
    "hevc_10_bit.mp4": ("libx265", {"x265-params": X265}, "yuv420p10le", 72, 96),
    "interlaced.mp4": (
        "libx264", {"g": "15", "flags": "+ildct+ilme", "x264-params": "tff=1"}, "yuv420p", 64, 96,
    ),
    "interlaced.mpg": ("mpeg2video", {"g": "15", "flags": "+ildct+ilme"}, "yuv420p", 64, 96),
    "odd_size_444.mp4": ("libx264", {"g": "15"}, "yuv444p", 71, 95),
    "odd_size.webm": ("libvpx-vp9", {"g": "15", "cpu-used": "8"}, "yuv420p", 71, 95),
    "hidden_frames.webm": (
        "libvpx", {"g": "15", "auto-alt-ref": "1", "lag-in-frames": "16"}, "yuv420p", 72, 96,
    ),
    "superframes.webm": (
        "libvpx-vp9",
        {"g": "30", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"},
        "yuv420p", 72, 96,
    ),
    "av1.mp4": ("libsvtav1", {"preset": "12", "g": "15"}, "yuv420p", 72, 96),
    "prores.mov": ("prores_ks", {}, "yuv422p10le", 72, 96),
    "sorenson.flv": ("flv", {"g": "15"}, "yuv420p", 72, 96),
    "h264.flv": ("libx264", {"g": "15", "bf": "2"}, "yuv420p", 72, 96),
    "packed_b_frames.avi": ("mpeg4", {"g": "15", "bf": "2"}, "yuv420p", 72, 96),
    "h264_in_avi.avi": ("libx264", {"g": "15", "bf": "2"}, "yuv420p", 72, 96),
    "ffv1.mkv": ("ffv1", {}, "yuv420p", 71, 95),
    "bare.h264": ("libx264", {"g": "15", "bf": "2"}, "yuv420p", 72, 96),
    "bare.m2v": ("mpeg2video", {"g": "15", "bf": "2"}, "yuv420p", 64, 96),
}  # fmt: skip


def variable_rate(folder: Path, frames: Frames) -> Path:
    """Times that jump by 1 to 9 ticks."""
    steps = np.random.default_rng(0).integers(1, 10, len(frames))
    return write_video(
        folder / "variable_rate.mp4",
        frames,
        codec="libx264",
        options={"g": "15", "bf": "2"},
        times=np.cumsum(steps).tolist(),
        fps=100,
    )


def late_start(folder: Path, frames: Frames) -> Path:
    """An edit list that begins with a gap of 2 s."""
    times = list(range(50, 50 + len(frames)))
    path = folder / "late_start.mp4"
    return write_video(path, frames, codec="libx264", options={"g": "15"}, times=times)


def negative_times(folder: Path, frames: Frames) -> Path:
    """Frames before 0, which the edit list cuts off."""
    times = list(range(-7, len(frames) - 7))
    path = folder / "negative_times.mp4"
    muxing = {"avoid_negative_ts": "disabled"}
    options = {"g": "15", "bf": "2"}
    return write_video(path, frames, codec="libx264", options=options, times=times, muxing=muxing)


def fragmented(folder: Path, frames: Frames) -> Path:
    """No table of all packets in the header."""
    path, options = folder / "fragmented.mp4", {"g": "15", "bf": "2"}
    muxing = {"movflags": "frag_keyframe+empty_moov"}
    return write_video(path, frames, codec="libx264", options=options, muxing=muxing)


def cut_edit_list(folder: Path, frames: Frames) -> Path:
    """An edit list that hides the first frames, between two key frames."""
    path, options = folder / "cut_edit_list.mp4", {"g": "15", "bf": "2"}
    source = write_video(path, frames, codec="libx264", options=options)
    data = bytearray(source.read_bytes())
    place = data.index(b"elst") + 4
    # version and flags, count, then duration (movie ticks) and media time (track ticks)
    media_time = int.from_bytes(data[place + 12 : place + 16], "big")
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        ticks = round(Fraction(1, 25) / stream.time_base)
    data[place + 12 : place + 16] = (media_time + 7 * ticks).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def two_videos(folder: Path, frames: Frames) -> Path:
    """A small stream of still pictures first, the large one second."""
    path = folder / "two_videos.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for h, w in ((36, 48), (72, 96)):
            stream = container.add_stream("libx264", rate=25, options={"g": "15"})
            stream.height, stream.width, stream.pix_fmt = h, w, "yuv420p"
            streams.append((stream, frames[:, :h, :w]))
        for i in range(len(frames)):
            for stream, pictures in streams:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pictures[i]))
                frame.pts = i
                container.mux(stream.encode(frame))
        for stream, _ in streams:
            container.mux(stream.encode(None))
    return path


SPECIAL: list[Callable[[Path, Frames], Path]] = [
    variable_rate, late_start, negative_times, fragmented, cut_edit_list, two_videos,
]  # fmt: skip
