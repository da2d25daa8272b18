"""The Rust reader on each FFmpeg: those inside PyAV's wheels, new and old, and the system's."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WHEELS = {"60": "12.3.0", "61": "13.1.0", "62 without RPATH": "17.0.0", "62": "18.1.0"}
"""PyAV by the major version of its libavformat."""


def compare_all(folder: Path, videos: Sequence[Path]) -> dict[str, Any]:
    """Decode ``videos`` on each FFmpeg, judged by its wheel's PyAV (the system's by 12.3's)."""
    names, found = [str(video) for video in videos], {}
    for major, version in WHEELS.items():
        venv = folder / f"av-{version}"
        python = make_venv(venv, [f"av=={version}", "numpy"])
        oracle = folder / f"{version}.npz"
        _run([python, str(HERE / "by_pyav.py"), str(oracle), *names])
        (libraries,) = venv.glob("lib/python*/site-packages/av.libs")
        found[major] = _read(str(libraries), oracle, names)
    found["system"] = _read("", folder / "12.3.0.npz", names)
    return found


def make_venv(folder: Path, packages: Sequence[str]) -> str:
    """Make an environment with packages; return its Python."""
    uv = str(Path(sys.executable).with_name("uv"))
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    python = str(folder / "bin" / "python")
    _run([uv, "pip", "install", "--quiet", "--python", python, "--only-binary", ":all:", *packages])
    return python


def _read(libraries: str, oracle: Path, names: Sequence[str]) -> dict[str, Any]:
    path = os.pathsep.join([str(HERE.parents[1] / "python"), str(HERE.parent)])
    command = [sys.executable, str(HERE / "by_fastvd.py"), libraries, str(oracle), *names]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1]}
    answer = json.loads(done.stdout)
    rows = answer["videos"].values()
    return {
        "libraries": answer["libraries"],
        "files": len(rows),
        "frames": sum(row["frames"] for row in rows),
        "wrong": sum(row["wrong"] for row in rows),
        "largest": max(row["largest"] for row in rows),
    }


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
