import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastvd import demo
from fastvd.data.synthetic import write_shape_videos


@pytest.mark.timeout(120)
def test_a_stage_that_fails_ends_the_training_and_is_told(tmp_path: Path, capfd) -> None:
    assert demo.train_stages(tmp_path / "none", tmp_path / "runs") == 2
    assert "none: No such file or directory" in capfd.readouterr().err


@pytest.mark.timeout(120)
def test_sigterm_leaves_no_stage_behind(tmp_path: Path, videos_of_shapes: Path) -> None:
    runs = tmp_path / "runs"
    code = f"""
import sys
from pathlib import Path
from fastvd import demo
try:
    demo.train_stages(Path({str(videos_of_shapes)!r}), Path({str(runs)!r}))
except KeyboardInterrupt:
    sys.exit(130)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while not (runs / "interpolator" / "config.yaml").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=60) == 130
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it may end while we look
            assert str(runs / "base").encode() not in command.read_bytes()


@pytest.fixture
def videos_of_shapes(tmp_path: Path) -> Path:
    write_shape_videos(tmp_path / "videos", num_videos=2, frames=20)
    return tmp_path / "videos"
