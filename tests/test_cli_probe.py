"""The command that tells what files hold: one by one, or many in sum."""

import json
import shutil
from pathlib import Path

import av
import pytest

from fastvd import cli


@pytest.fixture
def folder(counting_video: Path, encode, counting_frames, tmp_path: Path) -> Path:
    """Two readable videos, a broken one, and two files that are passed over."""
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(counting_video, folder / "a.mp4")
    encode(folder / "b.avi", counting_frames(10, width=64), fps=10, codec="mpeg4")
    (folder / "c.mp4").write_text("no video")
    (folder / ".d.mp4").touch()
    (folder / "film").touch()
    return folder


def probe(capsys, *words: object) -> tuple[int, str, str]:
    """The exit status of probe, and what it prints."""
    status = cli.main(["probe", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def rows_of(text: str) -> dict[str, str]:
    """The last block of rows by their names."""
    block = text.rstrip().rpartition("\n\n")[2]
    return {line[:17].rstrip(): line[18:] for line in block.splitlines()}


def test_a_summary_comes_last(folder: Path, capsys) -> None:
    status, out, err = probe(capsys, folder)
    assert status == 2
    assert [line.split("c.mp4")[0] for line in err.splitlines()] == [f"fastvd: {folder}/"]
    assert out.count("is_truncated") == 2
    why = "hidden, or without a video's suffix"
    assert rows_of(out) == {
        "videos": "2 of 3 can be read",
        "frames": "50; 10 to 40 each, median 10",
        "duration": "2.6 s (0:00:03)",
        "codecs": "h264 (1), mpeg4 (1)",
        "sizes": "48x32 (1), 64x32 (1)",
        "frame rates": "25 fps (1), 10 fps (1)",
        "others": f"2 passed over ({why}): {folder}/.d.mp4; {folder}/film",
    }


def test_one_file_has_no_summary(counting_video: Path, capsys) -> None:
    status, out, err = probe(capsys, counting_video)
    assert (status, err, out.count("frames")) == (0, "", 1)
    assert rows_of(out)["path"] == str(counting_video)


def test_many_files_are_told_in_sum(folder: Path, capsys) -> None:
    for i in range(9):
        shutil.copy(folder / "a.mp4", folder / f"{i}.mp4")
    status, out, err = probe(capsys, folder)
    assert (status, len(err.splitlines()), "path" in out) == (2, 1, False)
    rows = rows_of(out)
    assert rows["videos"] == "11 of 12 can be read"
    assert rows["codecs"] == "h264 (10), mpeg4 (1)"
    assert len(probe(capsys, folder, "--json")[1].splitlines()) == 11


def test_truncated_files_are_named(counting_video: Path, tmp_path: Path, capsys) -> None:
    # with its lists first, so that it can be read
    muxing = {"movflags": "faststart"}
    with (
        av.open(str(counting_video)) as source,
        av.open(str(tmp_path / "a.mp4"), "w", options=muxing) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            packet.stream = stream
            target.mux([packet] if packet.dts is not None else [])
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[:-1])
    assert rows_of(probe(capsys, tmp_path)[1])["truncated"] == f"1: {tmp_path / 'a.mp4'}"


def test_seldom_values_are_counted(tmp_path: Path, encode, counting_frames, capsys) -> None:
    for i in range(8):
        encode(tmp_path / f"{i}.avi", counting_frames(2, width=16 * (i + 1)), codec="mpeg4")
    rows = rows_of(probe(capsys, tmp_path)[1])
    shown = ", ".join(f"{16 * (i + 1)}x32 (1)" for i in range(6))
    assert rows["sizes"] == f"{shown} and 2 more"
    assert rows["codecs"] == "mpeg4 (8)"


def test_json_of_a_folder_is_objects_alone(folder: Path, capsys) -> None:
    (folder.parent / "empty").mkdir()
    status, out, err = probe(capsys, "--json", folder.parent / "empty", folder)
    assert status == 2
    assert [Path(json.loads(line)["path"]).name for line in out.splitlines()] == ["a.mp4", "b.avi"]
    empty, broken = err.splitlines()
    assert "holds no videos; it is empty" in empty
    assert "c.mp4" in broken
