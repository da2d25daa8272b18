"""Colours and sizes of video frames, against the conversion in floating point."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fastvd.media.video import read_frames

Floats = NDArray[np.float64]

# red's and blue's part of luma by the stream's tag (ITU-T H.273, table 4); without one, BT.601
LUMA = {1: (0.2126, 0.0722)}
# H.264, HEVC and AV1 put chroma left of its pixels' centre unless told otherwise, MJPEG in it
FILES = {
    "nasa_13013.mp4": "left",
    "nasa_hevc_main10.mp4": "left",
    "nasa_vp9.webm": "left",
    "nasa_av1.mp4": "left",
    "nasa_mjpeg.avi": "centre",
    "bt709_full_range.mp4": "left",
    "cockatoo_yuv420.mp4": "left",
    "h265_10bits.mp4": "left",
    "rotate_90.mov": "left",
}


@pytest.fixture(params=FILES)
def frame(request: pytest.FixtureRequest, shared_videos: Path) -> tuple[Path, Floats]:
    """A file, and its third frame upright in float RGB, 0..255 and beyond."""
    path = shared_videos / request.param
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.best("video"))
        decoded = next(frame for i, frame in enumerate(frames) if i == 2)
        rgb = float_rgb(decoded, is_left=FILES[request.param] == "left")
    return path, np.rot90(rgb, -(-decoded.rotation % 360 // 90))


def test_native_frames_have_the_colours_of_the_float_conversion(
    reader: str, frame: tuple[Path, Floats]
) -> None:
    path, rgb = frame
    assert psnr(read_frames(path, [2])[0], rgb.clip(0, 255)) > 56


@pytest.mark.parametrize("size", [32, 64, 256])
def test_resized_frames_are_those_of_pillow_on_float_rgb(
    reader: str, frame: tuple[Path, Floats], size: int
) -> None:
    path, rgb = frame
    # MJPEG is decoded at a quarter of its size for this
    is_reduced = size == 32 and path.name == "nasa_mjpeg.avi"
    if reader == "twin":
        # it cuts colours that no screen has before the resize, not behind it
        rgb = rgb.clip(0, 255)
    wanted = np.stack(
        [
            np.asarray(
                Image.fromarray(channel.astype(np.float32)).resize(
                    (size, size), Image.Resampling.BILINEAR
                )
            )
            for channel in np.moveaxis(rgb, -1, 0)
        ],
        axis=-1,
    )
    shown = read_frames(path, [2], size=size, fit="stretch")[0]
    assert psnr(shown, wanted.clip(0, 255)) > (46 if is_reduced else 54)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg2video", {"bf": "0"}),
        ("mpeg2video", {"bf": "0", "flags": "+ildct+ilme"}),
        ("libx264", {"bf": "0", "flags": "+ildct+ilme", "x264-params": "tff=1"}),
    ],
    ids=["MPEG-2", "MPEG-2, interlaced", "H.264, interlaced"],
)
def test_mpeg_2_and_interlaced_frames_have_them_too(
    reader: str, shared_videos: Path, tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    path = tmp_path / "made.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        # x264 takes interlaced frames of four rows' multiples
        stream.width, stream.height, stream.pix_fmt = 480, 268, "yuv420p"
        for frame in read_frames(shared_videos / "nasa_13013.mp4", [0, 30, 60, 90]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame[:268])))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    is_interlaced = "flags" in options
    assert decoded[2].interlaced_frame == is_interlaced
    shown = read_frames(path, [2])[0]
    # PyAV's swscale interpolates the chroma of each field alone
    least = 48 if is_interlaced and reader == "twin" else 56
    assert psnr(shown, float_rgb(decoded[2], is_left=True).clip(0, 255)) > least


def float_rgb(frame: av.VideoFrame, *, is_left: bool) -> Floats:
    """ITU-R BT.601 section 2.5 and BT.709 section 3 in float64, chroma interpolated linearly."""
    bits = frame.format.components[0].bits
    planes = [
        np.frombuffer(plane, np.uint8 if bits == 8 else "<u2")
        .reshape(plane.height, -1)[:, : plane.width]
        .astype(float)
        for plane in frame.planes
    ]
    y, cb, cr = (
        planes[0],
        *(
            between(
                between(plane, frame.height, place=0.5, axis=0),
                frame.width,
                place=0.0 if is_left else 0.5,
                axis=1,
            )
            for plane in planes[1:]
        ),
    )
    is_full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    step = 2 ** (bits - 8)
    black, white, color = (0, 256 * step - 1, 256 * step - 1) if is_full else (
        16 * step, 219 * step, 224 * step
    )  # fmt: skip
    y, cb, cr = (y - black) / white, (cb - 128 * step) / color, (cr - 128 * step) / color
    red, blue = LUMA.get(int(frame.colorspace), (0.299, 0.114))
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return 255 * np.stack([r, g, b], axis=-1)


def between(plane: Floats, pixels: int, *, place: float, axis: int) -> Floats:
    """Samples two pixels apart, the first at ``place``, brought to each pixel."""
    last = plane.shape[axis] - 1
    at = ((np.arange(pixels) - place) / 2).clip(0, last)
    low = np.floor(at).astype(int)
    share = np.expand_dims(at - low, 1 - axis)
    near, far = plane.take(low, axis), plane.take(np.minimum(low + 1, last), axis)
    return near * (1 - share) + far * share


def psnr(shown: NDArray[np.uint8], wanted: Floats) -> float:
    return float(10 * np.log10(255**2 / np.mean((shown - wanted) ** 2)))
