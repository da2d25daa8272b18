"""Frame tables on disk: found by other processes, and never believed where they are not sound."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastvd import native
from fastvd.media.video import probe, read_clip

Encode = Callable[..., Path]
READ = """
import hashlib, sys
from fastvd.media.video import frame_times, read_clip
for path in sys.argv[1:]:
    clip = read_clip(path)
    print(len(frame_times(path)), hashlib.sha256(clip.tobytes()).hexdigest())
"""

pytestmark = pytest.mark.skipif(not native.video_available, reason="no Rust core, or no FFmpeg")


def start(store: Path | str, *paths: Path, **settings: str) -> subprocess.Popen[str]:
    """A new process that reads the videos."""
    names = [str(path) for path in paths]
    return subprocess.Popen(
        [sys.executable, "-c", READ, *names],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FASTVD_CACHE": str(store), **settings},
    )


def read(store: Path | str, *paths: Path, **settings: str) -> list[str]:
    """What a new process reads."""
    process = start(store, *paths, **settings)
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    return lines


def settle(path: Path) -> Path:
    """Date a file back: what changed just now may change again under the same time stamp."""
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def videos(
    tmp_path: Path, encode: Encode, counting_frames: Callable[..., np.ndarray]
) -> list[Path]:
    """Matroska files of 12 and 20 frames."""
    return [
        settle(encode(tmp_path / f"{count}.mkv", counting_frames(count), g="5", crf="10"))
        for count in (12, 20)
    ]


def test_another_process_finds_the_tables(tmp_path: Path, videos: list[Path]) -> None:
    store = tmp_path / "store"
    first = read(store, *videos)
    assert first == read("", *videos)
    names = sorted(path.name for path in store.iterdir())
    assert [name[0] for name in names] == ["c", "c", "f", "f"]
    assert read(store, *videos) == first
    assert sorted(path.name for path in store.iterdir()) == names
    # each other's tables show that it is these which are read
    one, other = (store / name for name in names[2:])
    one.rename(tmp_path / "one")
    other.rename(one)
    (tmp_path / "one").rename(other)
    counts = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from fastvd import probe; print([probe(p).frames for p in sys.argv[1:]])",
            *map(str, videos),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FASTVD_CACHE": str(store)},
    )
    assert counts.stdout == "[20, 12]\n"


def test_frames_are_right_by_a_wrong_table(tmp_path: Path, videos: list[Path]) -> None:
    store = tmp_path / "store"
    short, long = videos
    sound = read(store, short)
    (entry,) = store.glob("c*")
    read(store, long)
    (other,) = set(store.glob("c*")) - {entry}
    # written to in place: both names of an entry show it
    entry.write_bytes(other.read_bytes())
    assert read(store, short) == sound


def test_a_moved_file_is_known_by_its_content(tmp_path: Path, videos: list[Path]) -> None:
    store = tmp_path / "store"
    before = read(store, videos[0])
    (entry,) = store.glob("c*")
    assert entry.stat().st_nlink == 2
    moved = settle(Path(shutil.copy(videos[0], tmp_path / "moved.mkv")))
    assert read(store, moved) == before
    assert entry.stat().st_nlink == 3


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other version", "longer"])
def test_damaged_entries_are_made_again(tmp_path: Path, videos: list[Path], damage: str) -> None:
    store = tmp_path / "store"
    before = read(store, videos[0])
    (entry,) = store.glob("c*")
    sound = entry.read_bytes()
    flipped, other = bytearray(sound), bytearray(sound)
    flipped[len(sound) // 2] ^= 1
    other[7] += 1
    damaged = {
        "cut": sound[:-8],
        "empty": b"",
        "flipped": bytes(flipped),
        "other version": bytes(other),
        "longer": sound + bytes(8),
    }
    entry.write_bytes(damaged[damage])
    assert read(store, videos[0]) == before
    assert entry.read_bytes() == sound


def test_a_file_changed_in_place_is_read_anew(
    tmp_path: Path, encode: Encode, counting_frames: Callable[..., np.ndarray]
) -> None:
    store = tmp_path / "store"
    options = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
    frames = counting_frames(12)
    path = settle(encode(tmp_path / "clip.mkv", frames, **options))
    other = encode(tmp_path / "other.mkv", frames[:9], **options)
    before = read(store, path)
    size = path.stat().st_size
    assert size > other.stat().st_size
    with path.open("r+b") as file:
        file.write(other.read_bytes().ljust(size, b"\0"))
    settle(path)
    after = read(store, path)
    assert (before[0].split()[0], after[0].split()[0]) == ("12", "9")
    assert after == read("", path)


def test_each_video_of_a_file_has_its_entry(tmp_path: Path, shared_videos: Path) -> None:
    store = tmp_path / "store"
    path = shared_videos / "nasa_opengop_offset.ts"
    code = "import sys; from fastvd import probe; print(probe(sys.argv[1], stream=0).frames)"
    read(store, path)
    subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        env={**os.environ, "FASTVD_CACHE": str(store)},
    )
    assert len(list(store.glob("c*"))) == 2


def test_processes_may_write_at_once(tmp_path: Path, videos: list[Path]) -> None:
    store = tmp_path / "store"
    alone = read("", *videos)
    started = [start(store, *videos) for _ in range(4)]
    for process in started:
        assert process.communicate()[0].splitlines() == alone
    assert not list(store.glob("part-*"))
    assert read(store, *videos) == alone


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path, videos: list[Path]) -> None:
    alone = read("", *videos)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert read(blocked, *videos) == alone
    assert read("/proc/none", *videos) == alone
    assert blocked.read_text() == "not a folder"


def test_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FASTVD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native._table_folder() == str(tmp_path / "fastvd" / "tables")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert native._table_folder() == "/home/someone/.cache/fastvd/tables"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert native._table_folder() is None
    monkeypatch.setenv("FASTVD_CACHE", "")
    assert native._table_folder() is None


def test_what_an_mp4_file_lists_is_not_kept(tmp_path: Path, encode: Encode) -> None:
    store = tmp_path / "store"
    frames = np.zeros((1000, 16, 16, 3), np.uint8)
    path = settle(encode(tmp_path / "long.mp4", frames, preset="ultrafast"))
    assert read(store, path) == read("", path)
    assert not store.exists()


def test_tests_leave_the_cache_of_the_user_alone(counting_video: Path) -> None:
    assert os.environ["FASTVD_CACHE"] == ""
    assert probe(counting_video).frames == len(read_clip(counting_video))
