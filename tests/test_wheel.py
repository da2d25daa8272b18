"""The wheel, installed where there is no FFmpeg but what PyAV brings, another one, or none."""

import ctypes
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from fastvd import native

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
NEEDS = ("numpy", "pillow", "einops", "pyyaml")
"""What clips, GIFs and batches as arrays need beside PyAV."""
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"}
SONAMES = {"avutil": range(57, 64), "avcodec": range(59, 66), "avformat": range(59, 66)}
SONAMES["swscale"] = range(6, 13)

pytestmark = [
    pytest.mark.skipif(not native.available, reason="no Rust build here"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files and /proc"),
    pytest.mark.timeout(600),
]


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd="/", env=kept | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    manifest = ROOT / "rust" / "py" / "Cargo.toml"
    build = ["build", "--release", "--quiet", "--offline", "--manifest-path", manifest]
    run(BIN / "maturin", *build, "--out", out)
    (wheel,) = out.glob("*.whl")
    return wheel


def test_wheel_fits_every_python_and_holds_what_is_needed(wheel: Path) -> None:
    assert re.fullmatch(r"fastvd-[\d.]+-cp311-abi3-manylinux_2_\d+_x86_64\.whl", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    kernels = {f"fastvd/kernels/{path.name}" for path in (ROOT / "kernels").glob("*.py")}
    assert kernels
    assert kernels <= set(names)
    assert {"fastvd/_core.pyi", "fastvd/py.typed"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_wheel_holds_no_binary_but_ours_and_no_gpl(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    suffixes = {".py", ".pyi", ".typed", ".cu", ".json", ".txt", ".md", ""}
    (ours,) = (name for name in names if Path(name).suffix not in suffixes)
    assert ours == "fastvd/_core.abi3.so"
    data = (tmp_path / ours).read_bytes()
    assert needed_libraries(data) <= SYSTEM_LIBRARIES
    # by the list that maturin puts beside it; test_licences.py looks at all that are locked
    (bill,) = tmp_path.glob("*.dist-info/sboms/*.json")
    crates = {crate["name"] for crate in json.loads(bill.read_text())["components"]}
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert {"pyo3", "fastvd-core"} <= crates <= {crate["name"] for crate in locked}


def needed_libraries(elf: bytes) -> set[str]:
    """Names of the libraries that a 64-bit ELF file asks the loader for."""
    sections, size, count = struct.unpack_from("<Q10xHH", elf, 40)
    headers = [struct.unpack_from("<IIQQQQIIQQ", elf, sections + size * i) for i in range(count)]
    dynamic = next(header for header in headers if header[1] == 6)
    strings = headers[dynamic[6]][4]
    entries = struct.iter_unpack("<QQ", elf[dynamic[4] : dynamic[4] + dynamic[5]])
    starts = [strings + value for tag, value in entries if tag == 1]
    return {elf[start : elf.index(b"\0", start)].decode() for start in starts}


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of a new environment: the wheel and what it needs, but not PyAV."""
    venv = tmp_path_factory.mktemp("clean") / "venv"
    run(BIN / "uv", "venv", "--quiet", "--offline", "--python", sys.executable, venv)
    install = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", venv]
    run(BIN / "uv", *install, wheel)
    (site,) = venv.glob("lib/python*/site-packages")
    for name in NEEDS:
        link_package(name, site)
    return site


def link_package(name: str, site: Path) -> None:
    """Lay an installed package into another environment, which no network is needed for."""
    installed = distribution(name)
    tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}
    for top in tops:
        (site / top).symlink_to(installed.locate_file(top))


@pytest.fixture(scope="module")
def no_ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for LD_LIBRARY_PATH that hides the system's FFmpeg: files that can't be loaded."""
    folder = tmp_path_factory.mktemp("hidden")
    for name, versions in SONAMES.items():
        for version in versions:
            (folder / f"lib{name}.so.{version}").touch()
    return str(folder)


# GIF, stills, resize, cache and loader by Rust; prints what a video gave, which FFmpeg is in use
WORK = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
import fastvd
from fastvd import native

folder, video = Path(sys.argv[1]), sys.argv[2]
assert native.available and Path(fastvd.__file__).is_relative_to(sys.prefix)
frames = np.arange(6 * 9 * 11 * 3, dtype=np.uint8).reshape(6, 9, 11, 3)
fastvd.write_gif(folder / "a.gif", frames, fps=10, palette="local")
assert np.array_equal(fastvd.read_gif(folder / "a.gif").frames, frames)
Image.fromarray(frames[0]).save(folder / "0.png")
assert np.array_equal(fastvd.read_clip(folder / "0.png")[0], frames[0])
config = fastvd.ClipConfig(frames=3, size=4)
clips = fastvd.ClipDataset(folder / "a.gif", config, cache=folder / "cache")
loader = fastvd.ClipLoader(clips, batch_size=2, workers=1, output="numpy")
assert sum(len(batch.clip) for _ in range(2) for batch in loader) == 2 * len(clips)
try:
    clip = fastvd.read_clip(video)
    print([round((level - 16) / 6) for level in clip.mean(axis=(1, 2, 3))] == list(range(40)))
except fastvd.MediaError as error:
    print(error)
maps = {line.split()[-1] for line in open("/proc/self/maps") if "/libavformat" in line}
print("torch" in sys.modules, "av" in sys.modules, native.video_available, *sorted(maps))
"""


@pytest.fixture
def work(
    site: Path, no_ffmpeg: str, counting_video: Path, tmp_path: Path
) -> Callable[[], tuple[list[str], list[str]]]:
    """``work()``: lines that WORK prints, and lines that it warns with."""

    def lines() -> tuple[list[str], list[str]]:
        python = site.parents[2] / "bin" / "python"
        done = run(python, "-c", WORK, tmp_path, counting_video, LD_LIBRARY_PATH=no_ffmpeg)
        return done.stdout.splitlines(), done.stderr.splitlines()

    return lines


def test_videos_are_decoded_by_rust_through_pyavs_libraries(site: Path, work: Callable) -> None:
    link_package("av", site)
    try:
        (is_exact, state), warnings = work()
    finally:
        unlink_av(site)
    assert is_exact == "True"
    assert re.fullmatch(r"False False True \S+/av\.libs/libavformat-\S+", state)
    assert warnings == []


def test_pyav_of_an_unknown_ffmpeg_reads_videos_itself(site: Path, work: Callable) -> None:
    link_package("av", site)
    try:
        make_unknown(site / "av.libs")
        (is_exact, state), (warning,) = work()
    finally:
        unlink_av(site)
    assert is_exact == "True"
    # the changed one is what PyAV decodes by
    assert re.fullmatch(rf"False True False {site}/av\.libs/libavformat-\S+", state)
    assert warning.startswith("videos are read by PyAV: no FFmpeg 5.1 to 8 could be opened")
    assert "libavformat 99, " in warning


def test_without_any_ffmpeg_only_videos_are_refused(work: Callable, counting_video: Path) -> None:
    (error, state), (warning,) = work()
    assert error == f"{counting_video}: needs PyAV, try pip install av (No module named 'av')"
    assert state == "False False False"
    assert warning.startswith("videos can't be read, try pip install av: no FFmpeg 5.1 to 8")


def unlink_av(site: Path) -> None:
    for path in site.glob("av*"):
        path.unlink() if path.is_symlink() else shutil.rmtree(path)


def make_unknown(libs: Path) -> None:
    """Put a copy of PyAV in its place, whose libavformat says that it is version 99."""
    original, package = libs.resolve(), libs.with_name("av")
    libs.unlink()
    libs.mkdir()
    # a copy, since a library looks for others beside where a link to it leads
    target = package.resolve()
    package.unlink()
    shutil.copytree(target, package)
    for path in original.iterdir():
        if not path.name.startswith("libavformat-"):
            (libs / path.name).symlink_to(path)
            continue
        version = ctypes.CDLL(str(path)).avformat_version().to_bytes(4, "little")
        data = path.read_bytes()
        # all of avformat_version: mov eax, version; ret
        assert data.count(b"\xb8" + version + b"\xc3") == 1
        unknown = b"\xb8" + version[:2] + b"\x63\0\xc3"
        (libs / path.name).write_bytes(data.replace(b"\xb8" + version + b"\xc3", unknown))
