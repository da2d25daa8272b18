"""Pipes that nobody writes to are refused, not waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REFUSED = """
import sys
from fastvd import native
from fastvd.errors import MediaError
from fastvd.media.gif import read_gif
from fastvd.media.video import frame_times, probe, read_clip, read_frames

path, kind = sys.argv[1:]
if kind == "twin":
    native.available = native.video_available = False
readers = [probe, frame_times, read_clip, read_gif, lambda p: read_frames(p, [0])]
if kind == "core":
    from pathlib import Path
    core, view = native.core, (None, None, "crop", "bilinear", False)
    readers = [
        lambda p: core.probe_video(p, None),
        core.decode_gif,
        lambda p: core.read_frames(p, None, [0], *view),
    ]
    path = Path(path)
for read in readers:
    try:
        read(path)
    except MediaError as error:
        assert str(path) in str(error), error
    else:
        raise SystemExit(f"{read} took a pipe")
"""


@pytest.mark.parametrize("kind", ["rust", "twin"])
def test_pipe_is_refused_at_once(
    rust: None, alone: Callable[..., str], tmp_path: Path, kind: str
) -> None:
    os.mkfifo(tmp_path / "stuck.mp4")
    alone(REFUSED, tmp_path / "stuck.mp4", kind, timeout_s=20)


def test_core_refuses_a_pipe_too(rust: None, alone: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stuck.gif")
    alone(REFUSED, tmp_path / "stuck.gif", "core", timeout_s=20)


FOLDER = """
import sys
from fastvd.errors import MediaError
from fastvd.media.video import probe
try:
    probe(sys.argv[1])
except MediaError as error:
    assert "frame_1.png" in str(error), error
else:
    raise SystemExit("took a pipe")
"""


def test_pipe_among_numbered_images_is_refused(alone: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "frame_1.png")
    alone(FOLDER, tmp_path, timeout_s=20)


def test_device_is_refused(alone: Callable[..., str], rust: None) -> None:
    alone(REFUSED, "/dev/zero", "rust", timeout_s=20)
