"""Frames of files as a ClipConfig wants them, none of them waited for without end."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvd import native
from fastvd.data.config import ClipConfig
from fastvd.data.deadline import Deadline
from fastvd.media.still import frame_files
from fastvd.media.video import read_clip, read_frames

Frames = NDArray[np.uint8]

AT_ONCE = 1024
"""Frames that are decoded in one go; a longer video takes several, each with a seek."""

# raised when a frame of the same file comes out otherwise than before
_READER_VERSION = 1
_HASHED_BYTES = 64 << 20


class FrameReader:
    """Reads frames at ``config.decoded_size``; a read that takes over ``timeout_s`` raises."""

    def __init__(self, config: ClipConfig, *, timeout_s: float) -> None:
        self.config = config
        self.deadline = Deadline(timeout_s)

    @property
    def decoding(self) -> str:
        """All that a decoded frame depends on besides its file."""
        config = self.config
        by = "rust" if native.video_available else "pyav"
        view = (config.decoded_size, config.fit, config.resample, config.channels)
        which = "" if config.stream is None else f" {config.stream}"
        return f"{_READER_VERSION} {by} {view}{which}"

    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame as decoded."""
        return (self.config.decoded_size, self.config.decoded_size, self.config.channels)

    def read(self, path: str, numbers: Sequence[int]) -> Frames:
        """Frames by number, [T, H, W, C]."""
        return self.deadline.run(path, lambda: self._read(path, numbers))

    def pieces(self, path: str, frames: int) -> Iterator[Frames]:
        """All ``frames`` frames of a video, some at a time."""
        for start in range(0, frames, AT_ONCE):
            read = partial(self._read_clip, path, start, min(AT_ONCE, frames - start))
            yield self.deadline.run(path, read)

    def content_hash(self, path: str) -> bytes:
        """SHA-256 of a file's bytes; of a folder of images their names and bytes."""
        file = Path(path)
        images = self.deadline.run(path, lambda: frame_files(file) if file.is_dir() else [file])
        digest = hashlib.sha256()
        for image in images:
            if image is not file:
                digest.update(f"{image.name}\0{image.stat().st_size}\0".encode())
            for chunk in self._chunks(path, image):
                digest.update(chunk)
        return digest.digest()

    def _chunks(self, path: str, file: Path) -> Iterator[bytes]:
        with self.deadline.run(path, lambda: file.open("rb")) as opened:
            while chunk := self.deadline.run(path, lambda: opened.read(_HASHED_BYTES)):
                yield chunk

    def _read(self, path: str, numbers: Sequence[int]) -> Frames:
        config = self.config
        return read_frames(
            path,
            numbers,
            size=config.decoded_size,
            fit=config.fit,
            resample=config.resample,
            grey=config.grey,
            stream=config.stream,
        )

    def _read_clip(self, path: str, start: int, frames: int) -> Frames:
        config = self.config
        return read_clip(
            path,
            start=start,
            frames=frames,
            size=config.decoded_size,
            fit=config.fit,
            resample=config.resample,
            grey=config.grey,
            stream=config.stream,
        )
