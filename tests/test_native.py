"""The Rust core and the FFmpeg libraries that it opens."""

import importlib.util
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
