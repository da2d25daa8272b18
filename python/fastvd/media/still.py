"""Frames that are pictures: folders of numbered images, single images, animated WebP and GIF."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from fastvd import limits
from fastvd.errors import MediaError
from fastvd.media.gif import read_gif
from fastvd.media.resize import View, check_clip, check_path_plan, over_black, resize

Kind = Literal["folder", "image", "gif", "webp"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

FOLDER_FPS = 25.0
"""Frame rate of pictures that say none."""


class Pictures(NamedTuple):
    """A source of pictures: its times in seconds, and a function that loads frame i."""

    times: npt.NDArray[np.float64]
    end: float
    size: tuple[int, int]  # height, width of the first frame
    codec: str
    load: Callable[[int], npt.NDArray[np.uint8]]  # [H, W, 3]


def picture_kind(path: Path) -> Kind | None:
    """Which kind of pictures a path holds, by its first bytes; None for a video.

    Raises FileNotFoundError.
    """
    if path.is_dir():
        return "folder"
    limits.check_file(path)
    # no buffer, no text layer: videos come this way each time
    with path.open("rb", buffering=0) as file:
        head = file.read(12)
    if head.startswith(b"GIF8"):
        return "gif"
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return "webp"
    is_image = head.startswith((b"\x89PNG", b"\xff\xd8\xff"))
    return "image" if is_image else None


def frame_files(folder: Path) -> list[Path]:
    """Numbered jpg and png files of a folder, by their numbers (gaps are allowed).

    Hidden ones are none: macOS puts ._1.png beside 1.png on disks of other systems.
    """
    files = (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
    numbered = (f for f in files if re.search(r"\d", f.stem) and not f.name.startswith("."))
    return sorted(numbered, key=_natural_key)


def open_pictures(path: Path, kind: Kind) -> Pictures:
    """Raises MediaError for what holds no frame or can't be decoded."""
    if kind == "gif":
        gif = read_gif(path)
        # viewers show a delay of 0 as a tenth of a second
        delays_s = np.where(gif.delays_s > 0, gif.delays_s, 0.1)
        ends = np.cumsum(delays_s)
        times = ends - delays_s
        height, width = gif.frames.shape[1:3]
        return Pictures(times, float(ends[-1]), (height, width), "gif", gif.frames.__getitem__)
    if kind == "webp":
        return _open_webp(path)
    files = frame_files(path) if kind == "folder" else [path]
    if not files:
        inner = next((f for f in sorted(path.iterdir()) if f.is_dir() and frame_files(f)), None)
        hint = f"; {inner} does" if inner else ""
        raise MediaError(f"{path}: the folder holds no numbered .jpg or .png itself{hint}")
    limits.check_frames(path, len(files))
    with _opened(files[0]) as image:
        codec = "png" if image.format == "PNG" else "mjpeg"
    height, width = _load_image(files[0]).shape[:2]
    times = np.arange(len(files)) / FOLDER_FPS
    end = len(files) / FOLDER_FPS
    return Pictures(times, end, (height, width), codec, lambda i: _load_image(files[i]))


def read_pictures(
    path: Path, kind: Kind, wanted: Sequence[int], view: View, *, to_end: bool = False
) -> npt.NDArray[np.uint8]:
    """Frames number ``wanted``, as ``twin.read_video`` gives them."""
    pictures = open_pictures(path, kind)
    picked = limits.pick_frames(path, wanted, len(pictures.times), to_end=to_end)
    check_clip(view, len(picked), *pictures.size)
    shown: dict[int, npt.NDArray[np.uint8]] = {}
    for i in sorted(set(picked)):
        shown[i] = _show(path, pictures.load(i), view)
        # pictures of a folder may be larger than its first
        limits.check_clip(len(shown), *shown[i].shape)
    return stack_frames(path, [shown[i] for i in picked])


def stack_frames(path: Path, frames: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Frames [H, W, C] as a clip [T, H, W, C]. Raises MediaError if their sizes differ."""
    sizes = sorted({frame.shape[:2] for frame in frames})
    if len(sizes) > 1:
        raise MediaError(f"{path}: frames have more than one size, {sizes}: give a size")
    clip: npt.NDArray[np.uint8] = np.stack(frames)
    return clip


def _show(path: Path, frame: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
    check_path_plan(path, view, frame.shape[0], frame.shape[1])
    shown: npt.NDArray[np.uint8] = resize(frame[None], view)[0]
    return shown


def _open_webp(path: Path) -> Pictures:
    frames, delays_s = [], []
    with _opened(path) as image:
        total = getattr(image, "n_frames", 1)
        limits.check_frames(path, total)
        limits.check_clip(total, image.height, image.width, 3)
        for i in range(total):
            image.seek(i)
            frames.append(_flatten(image))
            delays_s.append(image.info.get("duration", 0) / 1000 or 1 / FOLDER_FPS)
    limits.note_ratio(path, sum(frame.nbytes for frame in frames))
    ends = np.cumsum(delays_s)
    size = frames[0].shape[0], frames[0].shape[1]
    return Pictures(ends - delays_s, float(ends[-1]), size, "webp", frames.__getitem__)


def _load_image(path: Path) -> npt.NDArray[np.uint8]:
    with _opened(path) as image:
        frame = _flatten(ImageOps.exif_transpose(image))
    limits.note_ratio(path, frame.nbytes)
    return frame


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    limits.check_file(path)
    try:
        with Image.open(path) as image:
            limits.check_frame(path, image.width, image.height)
            yield image
    except FileNotFoundError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise MediaError(f"{path}: {error}") from error


def _flatten(image: Image.Image) -> npt.NDArray[np.uint8]:
    """RGB [H, W, 3] of any mode, alpha over black."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"), np.uint8)
        return over_black(rgba)
    return np.asarray(image.convert("RGB"), np.uint8)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
