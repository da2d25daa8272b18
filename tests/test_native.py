"""The Rust core and the FFmpeg libraries that it opens."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastvd import native

# loads native.py alone, so that only its own imports count
PROBE = """
import importlib.util, sys, types
package = types.ModuleType("fastvd")
package.__path__ = [sys.argv[1]]
sys.modules["fastvd"] = package
import fastvd.native
print(fastvd.native.available, fastvd.native.video_available, "av" in sys.modules)
"""


@pytest.mark.skipif(importlib.util.find_spec("fastvd._core") is None, reason="no Rust build")
def test_core_opens_the_wheels_ffmpeg_without_importing_av() -> None:
    folder = str(Path(native.__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", PROBE, folder], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["True", "True", "False"]
    assert run.stderr == ""


# the first answer decides, so FFmpeg is asked for before fastvd asks; no system FFmpeg is found,
# since the loader looks into LD_LIBRARY_PATH first
UNKNOWN = """
import sys
import fastvd._core as core
import numpy as np

reason = core.open_ffmpeg(sys.argv[1])
from fastvd import native, probe, read_clip, read_gif, write_gif

assert native.available and not native.video_available, reason
assert "are not of one known FFmpeg" in reason, reason
assert read_clip(sys.argv[2], size=8).shape == (40, 8, 8, 3)
assert probe(sys.argv[2]).frames == 40
gif = sys.argv[1] + "/a.gif"
write_gif(gif, np.zeros((3, 4, 4, 3), np.uint8), fps=10)
assert read_gif(gif).frames.shape == (3, 4, 4, 3)
"""
VERSIONS = {"avutil": range(57, 61), "avcodec": range(59, 63), "avformat": range(59, 63)}
VERSIONS["swscale"] = range(6, 10)


@pytest.mark.skipif(
    not native.available or shutil.which("cc") is None, reason="no Rust build or cc"
)
def test_unknown_ffmpeg_is_refused_and_only_videos_go_to_the_twin(
    tmp_path: Path, counting_video: Path
) -> None:
    for name, versions in VERSIONS.items():
        source = f"unsigned {name}_version(void) {{ return 99u << 16; }}"
        first = tmp_path / f"lib{name}-0123abcd.so.99"
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(first)]
        subprocess.run(command, input=source, text=True, check=True)
        for version in versions:
            shutil.copy(first, tmp_path / f"lib{name}.so.{version}")
    run = subprocess.run(
        [sys.executable, "-c", UNKNOWN, str(tmp_path), str(counting_video)],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (warning,) = run.stderr.splitlines()
    assert warning.startswith("videos are read by PyAV: no FFmpeg 5.1 to 8 could be opened")
