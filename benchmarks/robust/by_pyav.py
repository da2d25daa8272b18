"""Decodes videos by whatever PyAV is installed, from the first frame on: the luma of all frames.

Runs in environments with old PyAVs, so it needs no more than av and numpy, and no conversion of
FFmpeg's, which differ between versions.
"""

import sys
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

BLOCK = 8


def main() -> None:
    """``by_pyav.py OUT VIDEO...``: write one array [T, h, w] a video."""
    out, *videos = sys.argv[1:]
    np.savez(out, **{Path(video).name: decode(video) for video in videos})  # type: ignore[arg-type]


def decode(video: str) -> npt.NDArray[np.float32]:
    """Luma in 0..255 of every frame of the largest stream, averaged over squares of pixels."""
    with av.open(video) as container:
        stream = max(container.streams.video, key=lambda s: s.codec_context.width)
        stream.thread_type = "NONE"
        return np.stack([average(luma(frame)) for frame in container.decode(stream)])


def luma(frame: av.VideoFrame) -> npt.NDArray[np.float32]:
    """The first plane [H, W] as 0 (black) to 255 (white)."""
    plane, name = frame.planes[0], frame.format.name
    is_wide = name.endswith("10le")
    rows = np.frombuffer(plane, np.uint16 if is_wide else np.uint8)
    rows = rows.reshape(frame.height, -1)[:, : frame.width]
    level = rows.astype(np.float32) / (4 if is_wide else 1)
    is_full = name.startswith("yuvj") or int(frame.color_range) == 2
    return level if is_full else (level - 16) * (255 / 219)


def average(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[H, W] averaged over squares, which evens out how chroma was brought to full size."""
    h, w = (side // BLOCK for side in plane.shape)
    squares = plane[: h * BLOCK, : w * BLOCK].reshape(h, BLOCK, w, BLOCK)
    mean: npt.NDArray[np.float32] = squares.mean(axis=(1, 3), dtype=np.float32)
    return mean


if __name__ == "__main__":
    main()
