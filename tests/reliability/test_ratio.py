"""Files that hold far more when decoded than they have bytes: read, but told of, once."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastvd.limits import Limits, set_limits
from fastvd.media.gif import read_gif, write_gif
from fastvd.media.video import probe, read_clip
from fastvd.media.write import write_webp

SHAPE = (4, 64, 96, 3)
SIZE = 4 * 64 * 96 * 3


def make(kind: str, folder: Path, encode: Callable[..., Path]) -> Path:
    """Four black frames, or one."""
    path, black = folder / f"black.{kind}", np.zeros(SHAPE, np.uint8)
    if kind == "gif":
        write_gif(path, black, fps=10)
    elif kind == "webp":
        write_webp(path, black, fps=10)
    elif kind == "png":
        Image.fromarray(black[0]).save(path)
    else:
        encode(path, black)
    return path


@pytest.mark.parametrize(
    ("kind", "read"),
    [("gif", read_gif), ("webp", read_clip), ("png", read_clip), ("mkv", read_clip),
     ("mkv", probe)],
)  # fmt: skip
def test_file_that_is_mostly_claim_is_told_of_once(
    reader: str,
    tmp_path: Path,
    encode: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    kind: str,
    read: Callable[[Path], object],
) -> None:
    path = make(kind, tmp_path, encode)
    size, decoded = path.stat().st_size, SIZE // 4 if kind == "png" else SIZE
    if kind == "webp":
        # equal frames are written as one
        decoded = read_clip(path).nbytes
    ratio = -(-decoded // size)
    assert ratio > 2
    with caplog.at_level(logging.WARNING):
        set_limits(Limits(max_ratio=ratio))
        read(path)
        assert not caplog.records
        set_limits(Limits(max_ratio=ratio - 1))
        read(path)
        read(path)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}: holds {decoded // size} times as many bytes")


def test_frames_that_are_asked_for_at_another_size_are_no_claim_of_the_file(
    reader: str, counting_video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_limits(Limits(max_ratio=1))
    with caplog.at_level(logging.WARNING):
        read_clip(counting_video, size=256)
    assert not caplog.records


def test_limit_is_ten_thousand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "black.png"
    Image.new("1", (8000, 8000)).save(path)
    assert path.stat().st_size * 10_000 < 8000 * 8000 * 3
    with caplog.at_level(logging.WARNING):
        probe(path)
    assert "black.png" in caplog.text
