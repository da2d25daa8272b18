"""GIF reading: files of other writers, sound and not, by the core and by its twin."""

import struct
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastvd
from fastvd.errors import MediaError
from fastvd.media.gif import Gif, read_gif

pytestmark = pytest.mark.usefixtures("coder")


def lzw(entries: list[int]) -> bytes:
    """Entries as 9-bit codes; a clear code before the width would grow."""
    codes = [256, 257]
    codes[1:1] = [
        c for i, e in enumerate(entries) for c in ([256, e] if i and i % 254 == 0 else [e])
    ]
    bits = sum(code << 9 * i for i, code in enumerate(codes))
    data = bits.to_bytes((9 * len(codes) + 7) // 8, "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"\x08" + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0"


def table(colours: np.ndarray | None) -> tuple[int, bytes]:
    """Flag and bytes of a colour table of 8."""
    return (0, b"") if colours is None else (0x82, colours.astype(np.uint8).tobytes())


def gif_frame(
    entries: np.ndarray,
    *,
    left: int = 0,
    top: int = 0,
    disposal: int = 0,
    transparent: int | None = None,
    delay: int = 10,
    palette: np.ndarray | None = None,
    is_interlaced: bool = False,
) -> bytes:
    flags = disposal << 2 | (transparent is not None)
    control = b"!\xf9\x04" + struct.pack("<BHBB", flags, delay, transparent or 0, 0)
    height, width = entries.shape
    flag, colours = table(palette)
    if is_interlaced:
        passes = [(0, 8), (4, 8), (2, 4), (1, 2)]
        entries = np.concatenate([entries[start::step] for start, step in passes])
        flag |= 0x40
    image = b"," + struct.pack("<HHHHB", left, top, width, height, flag)
    return control + image + colours + lzw(entries.reshape(-1).tolist())


def gif_file(
    size: tuple[int, int], frames: list[bytes], *, palette: np.ndarray | None, background: int = 0
) -> bytes:
    """A GIF of (width, height) with these frames and no trailer."""
    flag, colours = table(palette)
    screen = struct.pack("<HHBBB", *size, flag, background, 0)
    return b"GIF89a" + screen + colours + b"".join(frames)


COLOURS = np.random.default_rng(1).integers(1, 256, (2, 8, 3))
FULL = np.random.default_rng(2).integers(0, 8, (9, 11))
PART = np.random.default_rng(3).integers(0, 8, (4, 5))
DOT = np.array([[6]])


def disposal_cases() -> Iterator[tuple[str, bytes, bool]]:
    """Name, file, and whether Pillow composes it as FFmpeg does."""
    options = product((0, 1, 2, 3), (0, 1, 2, 3), (None, 5), (None, 5), ("global", "local"), (0, 3))
    for first, second, clear, clear_later, scope, background in options:
        local = [None, None] if scope == "global" else list(COLOURS)
        frames = [
            gif_frame(FULL, disposal=first, transparent=clear, palette=local[0]),
            gif_frame(
                PART, left=3, top=2, disposal=second, transparent=clear_later, palette=local[1]
            ),
            gif_frame(DOT, left=4, top=3, disposal=1, transparent=clear_later, palette=local[0]),
        ]
        palette = COLOURS[0] if scope == "global" else None
        name = f"{first}{second} {clear} {clear_later} {scope} {background}"
        is_wiped = 2 in (first, second) or first == 3
        yield name, gif_file((11, 9), frames, palette=palette, background=background), not is_wiped


def test_every_disposal_is_composed_as_by_ffmpeg(
    tmp_path: Path,
    by_pillow: Callable[[Path], np.ndarray],
    by_ffmpeg: Callable[[Path], np.ndarray],
) -> None:
    path = tmp_path / "a.gif"
    for name, content, is_plain in disposal_cases():
        path.write_bytes(content + b";")
        frames = read_gif(path).frames
        np.testing.assert_array_equal(frames, by_ffmpeg(path), err_msg=name)
        if is_plain:
            np.testing.assert_array_equal(frames, by_pillow(path), err_msg=name)


@pytest.mark.parametrize("disposal", [2, 3])
def test_disposal_with_transparency_is_composed_as_by_pillow(
    tmp_path: Path,
    disposal: int,
    shown: Callable[[Path], np.ndarray],
) -> None:
    """Transparent from the first frame on, as real writers do it: no decoder has an own opinion."""
    frames = [gif_frame(FULL, disposal=1, transparent=5)]
    for left, top in [(0, 0), (3, 2), (6, 5)]:
        frames.append(gif_frame(PART, left=left, top=top, disposal=disposal, transparent=5))
    (tmp_path / "a.gif").write_bytes(gif_file((11, 9), frames, palette=COLOURS[0]) + b";")
    still = np.where((FULL == 5)[..., None], 0, COLOURS[0][FULL])
    last = shown(tmp_path / "a.gif")[3]
    np.testing.assert_array_equal(last[:5, 8:], still[:5, 8:])


def test_interlaced_partial_first_frame(
    tmp_path: Path,
    shown: Callable[[Path], np.ndarray],
) -> None:
    frames = [gif_frame(FULL, left=2, top=1, transparent=5, is_interlaced=True)]
    (tmp_path / "a.gif").write_bytes(gif_file((16, 12), frames, palette=COLOURS[0]) + b";")
    wanted = np.zeros((12, 16, 3))
    wanted[1:10, 2:13] = np.where((FULL == 5)[..., None], 0, COLOURS[0][FULL])
    np.testing.assert_array_equal(shown(tmp_path / "a.gif")[0], wanted)


def test_missing_trailer_is_forgiven(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(gif_file((11, 9), [gif_frame(FULL)] * 2, palette=COLOURS[0]))
    np.testing.assert_array_equal(read_gif(path).frames, COLOURS[0][np.stack([FULL, FULL])])


@pytest.mark.parametrize(
    ("name", "frames"),
    [("newtonscradle", 36), ("moving-mnist", 10), ("banner_partial_frames", 96)],
)
def test_real_file_is_read_as_by_two_decoders(
    shared_videos: Path,
    coder: str,
    name: str,
    frames: int,
    shown: Callable[[Path], np.ndarray],
) -> None:
    path = shared_videos / f"{name}.gif"
    assert len(shown(path)) == frames
    with Image.open(path) as image:
        durations = [(image.seek(i), image.info["duration"])[1] for i in range(frames)]
        loop = image.info.get("loop")
    gif = read_gif(path)
    np.testing.assert_allclose(gif.delays_s, np.array(durations) / 1000)
    assert gif.loop == loop


SOUND = gif_file((11, 9), [gif_frame(FULL), gif_frame(PART)], palette=COLOURS[0])
BOMB = (
    b"GIF89a"
    + b"\xff" * 4
    + b"\x80\0\0"
    + bytes(6)
    + b","
    + bytes(4)
    + b"\xff" * 4
    + bytes(3)
    + b";"
)
BAD_FILES = {
    "empty": (b"", "empty"),
    "text": (b"this is no GIF, but text of some length", "header"),
    "header only": (SOUND[:10], "header"),
    "no frames": (gif_file((11, 9), [], palette=COLOURS[0]) + b";", "frame"),
    "bomb": (BOMB, "65535x65535"),
    "no size": (gif_file((0, 9), [gif_frame(FULL)], palette=COLOURS[0]) + b";", "0x9"),
    "outside": (gif_file((8, 8), [gif_frame(FULL)], palette=COLOURS[0]) + b";", "frame 0"),
    "outside later": (
        gif_file((11, 9), [gif_frame(FULL), gif_frame(PART, left=9)], palette=COLOURS[0]),
        "frame 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_refused_by_name_and_reason(
    tmp_path: Path,
    case: str,
) -> None:
    content, reason = BAD_FILES[case]
    path = tmp_path / "bad.gif"
    path.write_bytes(content)
    with pytest.raises(MediaError) as error:
        read_gif(path)
    assert "bad.gif" in str(error.value)
    assert reason in str(error.value)


def test_file_cut_anywhere_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cut.gif"
    whole = len(gif_file((11, 9), [gif_frame(FULL)], palette=COLOURS[0]))
    # cut behind the first frame, the file is a sound one of one frame
    for size in [*range(0, whole, 7), whole + 30, len(SOUND) - 3]:
        path.write_bytes(SOUND[:size])
        with pytest.raises(MediaError, match=r"cut\.gif"):
            read_gif(path)


def test_data_that_ends_early_names_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "early.gif"
    short = gif_frame(FULL)[:-1]
    # one pixel and the end code in place of all data
    image = short[: short.index(b"\x08")] + b"\x08" + bytes([4, 0, 7, 4, 8]) + b"\0"
    path.write_bytes(gif_file((11, 9), [gif_frame(FULL), image], palette=COLOURS[0]) + b";")
    with pytest.raises(MediaError, match=r"early\.gif: frame 1"):
        read_gif(path)


def test_missing_file_is_not_a_media_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(FileNotFoundError):
        read_gif(tmp_path / "none.gif")


@pytest.mark.parametrize("source", ["made", "real"])
def test_flipped_bytes_raise_or_decode(
    tmp_path: Path,
    shared_videos: Path,
    coder: str,
    source: str,
) -> None:
    generator = np.random.default_rng(4)
    path = tmp_path / "a.gif"
    sound = SOUND if source == "made" else (shared_videos / "moving-mnist.gif").read_bytes()
    outcomes: dict[str, int] = {"read": 0, "refused": 0}
    for _ in range(200 if coder == "rust" else 40):
        content = bytearray(sound)
        for place in generator.integers(0, len(sound), 3):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content[: generator.integers(len(sound) // 2, 2 * len(sound))])
        try:
            outcomes["read"] += isinstance(read_gif(path), Gif)
        except MediaError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0


@pytest.mark.parametrize(
    "read",
    [
        read_gif,
        fastvd.probe,
        fastvd.frame_times,
        fastvd.read_clip,
        lambda path: fastvd.read_frames(path, [0]),
        lambda path: fastvd.ClipDataset(path, fastvd.ClipConfig(frames=1, size=8)),
    ],
    ids=["gif", "probe", "times", "clip", "frames", "dataset"],
)
def test_claimed_size_costs_no_memory(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "bomb.gif"
    path.write_bytes(BOMB)
    before = _reset_peak_kib()
    with pytest.raises(MediaError, match="65535x65535"):
        read(path)
    assert _peak_kib() - before < 16 * 1024


def _reset_peak_kib() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_kib()


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
