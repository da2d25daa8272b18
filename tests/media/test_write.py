"""Writers: what the file holds, and that it is there whole or not at all."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fastvd.media.gif import write_gif
from fastvd.media.whole import ticks, whole_file, write_bytes
from fastvd.media.write import write_clip, write_png, write_video, write_webp


def smooth(frames: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A ramp that moves: chroma survives subsampling, so decoded pixels stay near."""
    t, y, x, c = np.indices((frames, height, width, channels))
    return ((3 * x + 2 * y + 20 * c + 5 * t) % 200 + 20).astype(np.uint8)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(frames)


@pytest.mark.parametrize("shape", [(5, 32, 48), (3, 33, 47), (1, 16, 16), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_video_holds_every_frame(
    tmp_path: Path, shape: tuple[int, int, int], channels: int
) -> None:
    clip = np.full((*shape, channels), 90, np.uint8)
    clip += (20 * np.arange(shape[0], dtype=np.uint8))[:, None, None, None]
    write_video(tmp_path / "a.mp4", clip, fps=25)
    frames = decoded(tmp_path / "a.mp4")
    t, h, w = shape
    # odd sides are padded by one repeated row or column
    assert frames.shape == (t, h + h % 2, w + w % 2, 3)
    assert np.abs(frames[:, :h, :w].astype(int) - clip).max() <= 3


def test_colours_survive(tmp_path: Path) -> None:
    clip = np.zeros((2, 32, 32, 3), np.uint8)
    clip[:, :16, :16], clip[:, :16, 16:] = (200, 30, 40), (30, 190, 60)
    clip[:, 16:, :16], clip[:, 16:, 16:] = (50, 40, 210), (220, 220, 40)
    write_video(tmp_path / "a.mp4", clip, fps=25, quality=95)
    inner = (
        np.s_[:, 4:12, 4:12],
        np.s_[:, 4:12, 20:28],
        np.s_[:, 20:28, 4:12],
        np.s_[:, 20:28, 20:28],
    )
    frames = decoded(tmp_path / "a.mp4").astype(int)
    for place in inner:
        assert np.abs(frames[place] - clip[place]).max() <= 4


@pytest.mark.parametrize("fps", [12, 29.97, Fraction(30000, 1001), 0.5, 7.3])
def test_video_plays_at_its_rate(tmp_path: Path, fps: float | Fraction) -> None:
    write_video(tmp_path / "a.mp4", smooth(9, 16, 16), fps=fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(times, np.arange(9) / float(fps), atol=1e-3)


def test_quality_trades_size_for_closeness(tmp_path: Path) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    sizes, errors = [], []
    for quality in (0, 50, 100):
        write_video(tmp_path / "a.mp4", clip, fps=10, quality=quality)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
        errors.append(np.abs(decoded(tmp_path / "a.mp4").astype(int) - clip).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_webp_comes_back_exactly(tmp_path: Path, channels: int) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (4, 9, 11, channels), dtype=np.uint8)
    clip[..., 3:] = 255
    write_webp(tmp_path / "a.webp", clip, fps=16, quality=100, loop=2)
    with Image.open(tmp_path / "a.webp") as image:
        assert image.n_frames == 4
        assert image.info["loop"] == 3
        for i, frame in enumerate(clip):
            image.seek(i)
            image.load()
            assert image.info["duration"] == [62, 63, 63, 62][i]
            pixels = np.asarray(image.convert("RGB"))
            np.testing.assert_array_equal(pixels, np.broadcast_to(frame[..., :3], (9, 11, 3)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_comes_back_exactly(tmp_path: Path, channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, channels), dtype=np.uint8)
    write_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image).reshape(picture.shape), picture)


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.WEBP"])
def test_clip_is_written_as_its_name_says(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / name, smooth(2, 16, 16), fps=10)
    head = (tmp_path / name).read_bytes()[:12]
    starts = {"a.gif": head[:4] == b"GIF8", "a.mp4": head[4:8] == b"ftyp"}
    assert starts.get(name, head[8:] == b"WEBP")


def test_unknown_suffix_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.gif, \.mp4 or \.webp, not '\.avi'"):
        write_clip(tmp_path / "a.avi", smooth(1, 2, 2), fps=10)


def test_rounding_never_adds_up() -> None:
    assert ticks(8, Fraction(16), second=100) == [6, 6, 7, 6, 6, 7, 6, 6]
    for rate in (Fraction(30000, 1001), Fraction(7), Fraction(48)):
        ends = np.cumsum(ticks(500, rate, second=100))
        assert np.abs(ends - 100 * np.arange(1, 501) / float(rate)).max() <= 0.5 + 1e-9


WRITERS = [write_video, write_webp]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("clip", "options", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), {}, r"got uint8 \[4, 4, 3\]"),
        (np.zeros((1, 4, 4, 3), np.float32), {}, r"got float32 \[1, 4, 4, 3\]"),
        (np.zeros((1, 4, 4, 2), np.uint8), {}, r"got uint8 \[1, 4, 4, 2\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), {}, r"got uint8 \[0, 4, 4, 3\]"),
        (np.zeros((1, 1, 16385, 3), np.uint8), {}, "wide and high"),
        (None, {"fps": 0}, "above 0, got 0"),
        (None, {"fps": float("inf")}, "above 0, got inf"),
        (None, {"quality": 101}, r"quality must be in 0\.\.100, got 101"),
    ],
)
def test_bad_argument_is_named(
    tmp_path: Path,
    write: Callable[..., None],
    clip: np.ndarray | None,
    options: dict[str, float],
    message: str,
) -> None:
    frames = np.zeros((1, 4, 4, 3), np.uint8) if clip is None else clip
    with pytest.raises(ValueError, match=message):
        write(
            tmp_path / ("a.mp4" if write is write_video else "a.webp"),
            frames,
            **{"fps": 10, **options},
        )
    assert list(tmp_path.iterdir()) == []


def test_video_refuses_alpha(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="C = 1 or 3, got"):
        write_video(tmp_path / "a.mp4", np.zeros((1, 4, 4, 4), np.uint8), fps=10)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_png_refuses_what_is_no_picture(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"got"):
        write_png(tmp_path / "a.png", image)


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.webp"])
def test_missing_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        write_clip(tmp_path / "none" / name, smooth(1, 16, 16), fps=10)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as part:
        part.write_bytes(b"half") / 0
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), whole_file(tmp_path):
        pass


@pytest.mark.parametrize("suffix", [".gif", ".mp4", ".webp", ".png"])
def test_a_name_of_another_format_is_refused(tmp_path: Path, suffix: str) -> None:
    path, clip = tmp_path / f"a{suffix}", np.zeros((2, 8, 8, 3), np.uint8)
    writers: dict[str, Callable[[], None]] = {
        ".gif": lambda: write_gif(path, clip, fps=10),
        ".mp4": lambda: write_video(path, clip, fps=10),
        ".webp": lambda: write_webp(path, clip, fps=10),
        ".png": lambda: write_png(path, clip[0]),
    }
    writers.pop(suffix)()
    for written, write in writers.items():
        with pytest.raises(ValueError, match=rf"a\{suffix}: what is written is a \{written} file"):
            write()


FULL_DISK = """
import resource, signal, sys
import numpy as np
from fastvd.media.write import write_clip, write_png
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
noise = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for name in sys.argv[1:]:
    try:
        write_png(name, noise[0]) if name.endswith("png") else write_clip(name, noise, fps=10)
    except OSError as error:
        print(error.errno, error.filename)
"""


def test_full_disk_is_an_os_error_without_a_partial_file(tmp_path: Path) -> None:
    """A file may not grow beyond 20 kB, which the system reports as EFBIG (27)."""
    names = [str(tmp_path / name) for name in ("a.gif", "a.mp4", "a.webp", "a.png")]
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *names], capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines() == [f"27 {name}" for name in names], result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.webp"])
def test_refused_folder_names_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # relative, as other users can't pass the folders above
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError) as caught:
            write_clip(name, smooth(2, 16, 16), fps=10)
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o755)
    assert (caught.value.filename, caught.value.filename2) == (name, None)


KILLED = """
import os, signal, sys
from fastvd.media.whole import whole_file
with whole_file(sys.argv[1]) as part:
    part.write_bytes(b"much longer than what comes next")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_next_write_takes_over_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
        assert len(list(tmp_path.iterdir())) == 1
    write_bytes(path, b"next")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"next"


def test_writers_of_one_file_keep_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with whole_file(path) as first:
        first.write_bytes(b"first")
        with whole_file(path) as second:
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_another_user_left_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with left.open("rb") as opened:
        write_bytes(path, b"next")
        assert opened.read().startswith(b"much longer")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"next"


def test_folder_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_bytes(tmp_path / "a.bin", b"there")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"there"]
