"""The Python twin of the Rust GIF code: Pillow chooses colours and compresses, PyAV composes.

Files are larger than the core's (no differencing) and colours a little further off; exact clips
are exact. Pillow's own composing is not used, because it restores what an opaque first frame
covered otherwise than the other decoders.
"""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from einops import rearrange
from PIL import GifImagePlugin, Image, UnidentifiedImageError

from fastvd import limits
from fastvd.errors import MediaError
from fastvd.media.pyav import needed_for

if TYPE_CHECKING:
    import av

_CLEAR = 1 << 24
"""A transparent pixel; opaque ones are 0x00RRGGBB."""
_KEEP, _WIPE = 1, 2


class GifEncoder:
    """The core's encoder, by Pillow.

    Files are valid and exact where the core's are. Elsewhere palettes are Pillow's, every dither
    is Floyd-Steinberg or none, a scene's palette is one for each frame, and ``quality`` and
    ``lossy`` change nothing. All frames stay in memory until the end.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        quality: str,  # noqa: ARG002
        colors: int,
        dither: str,
        palette: str,
        lossy: int,  # noqa: ARG002
        repeat: int | None,
    ) -> None:
        self._size = (height, width)
        self._colors = colors
        self._dithers = dither != "none"
        self._is_local = palette != "global"
        self._repeat = repeat
        self._pixels: list[npt.NDArray[np.int32]] = []
        self._delays: list[int] = []

    def scan(self, frames: npt.NDArray[np.uint8]) -> None:
        """Look at frames [T, H, W, C]; the twin does so when it writes them."""

    def write(self, frames: npt.NDArray[np.uint8], delays: list[int]) -> bytes:
        """Take frames, shown for ``delays`` hundredths of a second."""
        limits.check_clip(len(self._delays) + len(frames), *self._size, 4)
        self._pixels.append(_packed(frames))
        self._delays += delays
        return b""

    def finish(self) -> bytes:
        """Return the file."""
        pixels = np.concatenate(self._pixels)
        has_clear = bool((pixels == _CLEAR).any())
        options: dict[str, Any] = {"include_color_table": True, "disposal": _KEEP}
        if has_clear:
            options |= {"disposal": _WIPE, "transparency": 0}
        clip_table = None if self._is_local else _palette(pixels, self._colors, has_clear=has_clear)
        parts = [_header(pixels.shape, self._repeat)]
        for frame, delay in zip(pixels, self._delays, strict=True):
            table = clip_table
            if table is None:
                table = _palette(frame, self._colors, has_clear=has_clear)
            image = _indexed(frame, table, dither=self._dithers)
            # each frame carries its palette: a global one would save 768 bytes a frame
            parts += GifImagePlugin.getdata(image, duration=10 * delay, **options)
        return b"".join([*parts, b";"])


def decode(path: Path) -> tuple[npt.NDArray[np.uint8], list[int], int | None]:
    """Return frames uint8 [T, H, W, 3], delays in hundredths of a second, and the repeat count."""
    size = _screen_size(path)
    delays, repeat = _read_timing(path, size)
    total = len(delays) * size[0] * size[1] * 3
    most = limits.get_limits().max_gif_bytes
    if total > most:
        raise MediaError(f"{path}: {total} bytes when decoded, above the limit of {most}")
    with needed_for(path):
        import av
    try:
        # a file object, so that no FFmpeg protocol is ever asked
        with path.open("rb") as file, av.open(file, format="gif") as container:
            frames = [_over_black(frame) for frame in container.decode(video=0)]
    except av.FFmpegError as error:
        raise MediaError(f"{path}: {error.strerror}") from error
    if len(frames) != len(delays):
        raise MediaError(f"{path}: {len(frames)} of {len(delays)} frames can be decoded")
    return np.stack(frames), delays, repeat


def _packed(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """uint8 [T, H, W, C] as 0x00RRGGBB or _CLEAR, [T, H, W]."""
    wide = frames[..., :3].astype(np.int32)
    packed = wide[..., 0] << 16 | wide[..., -2 % wide.shape[-1]] << 8 | wide[..., -1]
    if frames.shape[-1] == 4:
        packed[frames[..., 3] < 128] = _CLEAR
    return packed


def _unpacked(pixels: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    return np.stack([pixels >> 16, pixels >> 8, pixels], axis=-1).astype(np.uint8)


def _palette(
    pixels: npt.NDArray[np.int32], colors: int, *, has_clear: bool
) -> npt.NDArray[np.int32]:
    """Up to ``colors`` colours, _CLEAR first if there is transparency."""
    distinct = np.unique(pixels)
    found = distinct[distinct != _CLEAR]
    room = colors - has_clear
    if len(found) > room:
        opaque = rearrange(pixels[pixels != _CLEAR], "n -> 1 n")
        image = Image.fromarray(_unpacked(opaque)).quantize(room)
        table = np.array(image.getpalette(), dtype=np.int32).reshape(-1, 3)[:room]
        found = np.unique(table @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32))
    # not upwards: Pillow takes a palette of entries (i, i, i) for none and shows false colours
    return np.concatenate([[_CLEAR] if has_clear else [], found[::-1]]).astype(np.int32)


def _indexed(
    frame: npt.NDArray[np.int32], palette: npt.NDArray[np.int32], *, dither: bool
) -> Image.Image:
    """The frame [H, W] in entries of the palette."""
    order = np.argsort(palette)
    place = np.searchsorted(palette, frame, sorter=order).clip(max=len(palette) - 1)
    entries = order[place]
    is_clear = frame == _CLEAR
    if not np.array_equal(palette[entries], frame):
        opaque = palette[palette != _CLEAR]
        entries = _nearest(_unpacked(frame), opaque, dither=dither)
        entries += len(palette) - len(opaque)
        entries[is_clear] = 0
    image = Image.fromarray(entries.astype(np.uint8))
    image.putpalette(_unpacked(palette).tobytes())
    return image


def _nearest(
    frame: npt.NDArray[np.uint8], opaque: npt.NDArray[np.int32], *, dither: bool
) -> npt.NDArray[np.int64]:
    # Pillow looks at 256 entries: the spare ones repeat the first
    table = np.concatenate([opaque, np.repeat(opaque[:1], 256 - len(opaque))])
    holder = Image.new("P", (1, 1))
    holder.putpalette(_unpacked(table).tobytes())
    method = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
    entries = np.asarray(Image.fromarray(frame).quantize(palette=holder, dither=method))
    return np.where(entries < len(opaque), entries, 0).astype(np.int64)


def _header(shape: tuple[int, ...], repeat: int | None) -> bytes:
    """Screen of [T, H, W] without a palette, and the repeat count."""
    header = b"GIF89a" + struct.pack("<HHBBB", shape[2], shape[1], 0x70, 0, 0)
    if repeat is None:
        return header
    return header + b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", repeat, 0)


def _screen_size(path: Path) -> tuple[int, int]:
    """Width and height, checked before anything is allocated for them."""
    limits.check_file(path)
    with path.open("rb") as file:
        head = file.read(13)
    if not head:
        raise MediaError(f"{path}: the file is empty")
    if len(head) < 13 or not head.startswith((b"GIF87a", b"GIF89a")):
        raise MediaError(f"{path}: header: not a GIF")
    width, height = struct.unpack("<HH", head[6:10])
    limits.check_frame(path, width, height)
    return width, height


def _read_timing(path: Path, size: tuple[int, int]) -> tuple[list[int], int | None]:
    """Delays and repeat count; loads each frame, which finds files that are cut short."""
    delays: list[int] = []
    most = limits.get_limits().max_gif_frames
    try:
        with Image.open(path, formats=["GIF"]) as image:
            for i in range(most + 1):
                try:
                    image.seek(i)
                except EOFError:
                    break
                if image.size != size:
                    raise MediaError(f"{path}: frame {i}: reaches out of the canvas")
                image.load()
                delays.append(image.info.get("duration", 0) // 10)
            repeat = image.info.get("loop")
    except (
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        IndexError,
        Image.DecompressionBombError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        is_empty = isinstance(error, UnidentifiedImageError)
        reason = "no frames" if is_empty else str(error)
        raise MediaError(f"{path}: frame {len(delays)}: {reason}") from error
    if not delays:
        raise MediaError(f"{path}: no frames")
    if len(delays) > most:
        raise MediaError(f"{path}: more than {most} frames")
    return delays, repeat


def _over_black(frame: "av.VideoFrame") -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgba")
    return pixels[..., :3] * (pixels[..., 3:] > 0)
