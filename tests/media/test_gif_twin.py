"""The GIF twin against the core, the core against FFmpeg, and any clip against both."""

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvd import native
from fastvd.media import gif_twin
from fastvd.media.gif import read_gif, write_gif

PALETTES = ["global", "scene", "local"]
DITHERS = ["diffusion", "ordered", "blue_noise", "none"]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    colours=st.integers(1, 300),
    channels=st.sampled_from([1, 3, 4]),
    palette=st.sampled_from(PALETTES),
    dither=st.sampled_from(DITHERS),
    colors=st.integers(2, 256),
    seed=st.integers(0, 1000),
)
def test_any_small_clip_is_read_alike(
    tmp_path: Path,
    shape: tuple[int, int, int],
    colours: int,
    channels: int,
    palette: str,
    dither: str,
    colors: int,
    seed: int,
    shown: Callable[[Path], np.ndarray],
    few_colours: Callable[..., np.ndarray],
) -> None:
    clip = few_colours(shape, colours, channels, seed)
    write_gif(tmp_path / "a.gif", clip, fps=10, palette=palette, dither=dither, colors=colors)
    frames = shown(tmp_path / "a.gif")
    assert frames.shape == (*shape, 3)
    if len(np.unique(clip.reshape(-1, channels), axis=0)) < colors:
        opaque = clip[..., 3] >= 128 if channels == 4 else np.ones(shape, bool)
        wanted = np.broadcast_to(clip[..., :3], (*shape, 3))
        np.testing.assert_array_equal(frames[opaque], wanted[opaque])


@pytest.mark.parametrize("palette", PALETTES)
def test_twin_is_exact_where_the_core_is(
    tmp_path: Path,
    palette: str,
    few_colours: Callable[..., np.ndarray],
) -> None:
    if not native.available:
        pytest.skip("fastvd._core is not built")
    clip = few_colours((3, 20, 30), 100)
    options = {"quality": "good", "dither": "diffusion", "colors": 256, "lossy": 0, "repeat": 3}
    decoded = []
    for coder in (native.core.GifEncoder, gif_twin.GifEncoder):
        encoder = coder(30, 20, palette=palette, **options)
        encoder.scan(clip)
        pieces = [encoder.write(clip[:1], [3]), encoder.write(clip[1:], [4, 3]), encoder.finish()]
        (tmp_path / "a.gif").write_bytes(b"".join(pieces))
        decoded.append(native.core.decode_gif(tmp_path / "a.gif"))
    np.testing.assert_array_equal(decoded[0][0], decoded[1][0])
    np.testing.assert_array_equal(decoded[0][0], clip)
    assert decoded[0][1:] == decoded[1][1:] == ([3, 4, 3], 3)


def test_twin_refuses_more_frames_than_memory_should_hold() -> None:
    options = {"quality": "good", "dither": "none", "colors": 256, "lossy": 0, "repeat": None}
    encoder = gif_twin.GifEncoder(65535, 65535, palette="global", **options)
    frame = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (1, 65535, 65535, 3))
    with pytest.raises(ValueError, match=r"a clip \[1, 65535, 65535, 4\] has .* more than"):
        encoder.write(frame, [5])


@pytest.mark.parametrize("dither", DITHERS)
@pytest.mark.parametrize("palette", PALETTES)
def test_any_number_of_threads_gives_equal_bytes(
    real_frames: np.ndarray, palette: str, dither: str
) -> None:
    if not native.available:
        pytest.skip("fastvd._core is not built")
    options = {"quality": "good", "colors": 256, "lossy": 0, "repeat": 0}
    files = set()
    for threads in (1, 2, 5, None):
        encoder = native.core.GifEncoder(
            128, 72, palette=palette, dither=dither, threads=threads, **options
        )
        encoder.scan(real_frames)
        files.add(encoder.write(real_frames, [5] * 4) + encoder.finish())
    assert len(files) == 1


def test_colours_are_as_good_as_ffmpegs(
    tmp_path: Path,
    real_frames: np.ndarray,
    by_pillow: Callable[[Path], np.ndarray],
) -> None:
    if not native.available:
        pytest.skip("fastvd._core is not built")
    write_gif(tmp_path / "a.gif", real_frames, fps=10)
    ffmpeg = tmp_path / "ffmpeg.gif"
    ffmpeg.write_bytes(palettegen(real_frames))
    assert psnr(read_gif(tmp_path / "a.gif").frames, real_frames) > psnr(
        by_pillow(ffmpeg), real_frames
    )


def palettegen(clip: np.ndarray) -> bytes:
    """FFmpeg's GIF of a clip: palettegen and paletteuse with their defaults."""
    graph, file = av.filter.Graph(), io.BytesIO()
    height, width = clip.shape[1:3]
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base="1/10")
    split, use = graph.add("split"), graph.add("paletteuse")
    make, sink = graph.add("palettegen"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(make, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for i, array in enumerate(clip):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        frame.pts = i
        source.push(frame)
    source.push(None)
    with av.open(file, "w", format="gif") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        for _ in clip:
            container.mux(stream.encode(sink.pull()))
        container.mux(stream.encode(None))
    return file.getvalue()
