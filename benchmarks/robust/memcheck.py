"""The native code under valgrind: the Rust tests, and the extension with FFmpeg behind it.

An error or a definite loss counts if a line of ours is among its callers. That leaves out what
CPython, NumPy and Rust's test harness do by themselves. Blocks "possibly lost" are those of the
decoders that are kept open for the next read: FFmpeg points into their middle. They are counted
apart, where a count of nought would mean that our lines are not recognised.
"""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VALGRIND = (
    "valgrind",
    "--leak-check=full",
    "--show-leak-kinds=definite,possible",
    "--num-callers=60",
    # the longest straight pieces of dav1d are more than it can take at once
    "--vex-guest-max-insns=25",
    "--child-silent-after-fork=yes",
    f"--suppressions={HERE / 'valgrind.supp'}",
    "--xml=yes",
)
# Miri has no stores past the cache (batch), sets no times of files (store), and takes hours for the
# masks of dithering (gif)
PLAIN = ["av1", "batch", "clip", "h264", "index", "order", "parallel", "pixels", "tables"]
MIRI: dict[str, tuple[str, list[str]]] = {
    "plain": ("", [*(f"{name}::" for name in PLAIN), "store::entry::"]),
    "avx2": ("+avx2,+fma,+f16c", ["resize::"]),
}
EXTENSION = re.compile(r"/fastvd/_core\.[^/]+$")
# not ROOT: the paths are those of the machine that compiled it
SOURCES = re.compile(r"/rust/(core|py)/(src|tests)\b")


def check_tests(folder: Path) -> Iterator[dict[str, Any]]:
    """Each test program of the Rust core."""
    build = ["cargo", "test", "--package", "fastvd-core", "--no-run", "--message-format=json"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=True)
    for line in map(json.loads, done.stdout.splitlines()):
        if not line.get("profile", {}).get("test"):
            continue
        name = line["target"]["name"]
        command = [line["executable"], "--test-threads=1"]
        counts = _check(folder / f"{name}.xml", command, cwd=ROOT / "rust" / "core")
        answer = counts.pop("output").partition("test result: ok. ")[2].split()
        yield {"program": name, "tests": int(answer[0]) if answer else 0, **counts}


def check_calls(folder: Path, videos: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The extension, called by Python in all ways: for each video, then for pictures."""
    for video in [*videos, None]:
        name = video.name if video else "pictures"
        place = folder / f"calls-{name}"
        place.mkdir()
        command = [sys.executable, str(HERE / "native_calls.py"), str(place), str(video or "")]
        counts = _check(place / "report.xml", command, cwd=place)
        answer = counts.pop("output").splitlines()
        yield {"called": name, **(json.loads(answer[-1]) if answer else {}), **counts}


def check_by_miri() -> Iterator[dict[str, Any]]:
    """The Rust tests that call nothing foreign, on nightly's interpreter."""
    for case, (features, modules) in MIRI.items():
        env = {
            **os.environ,
            "MIRIFLAGS": "-Zmiri-disable-isolation",
            "RUSTFLAGS": f"-C target-feature={features}" if features else "",
            # other flags build all anew
            "CARGO_TARGET_DIR": str(ROOT / "target" / f"miri-{case}"),
        }
        test = ["cargo", "+nightly", "miri", "test", "--package", "fastvd-core", "--lib", "--"]
        done = subprocess.run([*test, *modules], cwd=ROOT, env=env, capture_output=True, text=True)
        answer = done.stdout.partition("test result: ok. ")[2].split()
        yield {
            "case": case,
            "modules": modules,
            "tests": int(answer[0]) if answer else 0,
            "exit_status": done.returncode,
        }


def _check(report: Path, command: Sequence[str], *, cwd: Path) -> dict[str, Any]:
    path = os.pathsep.join([str(ROOT / "python"), str(HERE.parent)])
    env = {**os.environ, "PYTHONMALLOC": "malloc", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*VALGRIND, f"--xml-file={report}", *command],
        cwd=cwd, env=env, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"exit_status": done.returncode, "output": ""}
    errors = ElementTree.parse(report).getroot().findall("error")
    ours = [error for error in errors if _is_ours(error)]
    wrong = [error for error in ours if error.findtext("kind") != "Leak_PossiblyLost"]
    for error in wrong:
        print(_text(error), file=sys.stderr)
    return {
        "exit_status": done.returncode,
        "errors": len(wrong),
        "kept_open": len(ours) - len(wrong),
        "output": done.stdout,
    }


def _is_ours(error: ElementTree.Element) -> bool:
    """Whether a frame is in the extension, or in a source file of ours."""
    frames = [(f.findtext("obj") or "", f.findtext("dir") or "") for f in error.iter("frame")]
    return any(EXTENSION.search(obj) or SOURCES.search(folder) for obj, folder in frames)


def _text(error: ElementTree.Element) -> str:
    frames = [f"  {f.findtext('fn') or f.findtext('obj')}" for f in error.iter("frame")]
    what = error.findtext("what") or error.findtext("xwhat/text") or ""
    return "\n".join([f"{error.findtext('kind')}: {what}", *frames])
