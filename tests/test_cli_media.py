"""The commands that move frames: which video of a file, limits, names of pictures."""

import json
from pathlib import Path

import pytest
from PIL import Image

import fastvd
from fastvd import cli


def run(*words: object) -> int:
    """The exit status of a command."""
    return cli.main([str(word) for word in words])


def test_commands_take_the_video_asked_for(shared_videos: Path, tmp_path: Path, capsys) -> None:
    path = shared_videos / "nasa_13013.mp4"
    assert run("probe", "--json", path, "--stream", "0") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["width"]) == (325, 320)
    part = ["--stream", "0", "--frames", "2", "--stride", "3"]
    for name in ("a.gif", "a.webp"):
        assert run("gif", path, tmp_path / name, *part) == 0
        assert fastvd.probe(tmp_path / name).width == 320
    assert run("extract", path, tmp_path / "f", "--stream", "0", "--stride", "200") == 0
    assert len(list((tmp_path / "f").rglob("*.jpg"))) == 2
    with Image.open(next((tmp_path / "f").rglob("*.jpg"))) as picture:
        assert picture.size == (320, 180)
    assert run("probe", path, "--stream", "2") == 2
    assert "has 2 video streams, number 2 was asked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limits.max_side", "40"], "frame size 48x32 is outside 1x1 to 40x40"),
        (["--limits.max_frames=39"], "has more than 39 frames"),
        (["--limits.max_sid", "40"], "limits.max_sid: no such key, did you mean max_side?"),
        (["--limits.max_side", "many"], "limits.max_side: expected int, got 'many'"),
        (["--limits.max_side", "0"], "limits: max_side must be a whole number in 1..65535"),
        (["--limits.max_side"], "--limits.max_side needs a value"),
    ],
)
def test_limits_hold_for_any_command(
    reader: str, counting_video: Path, tmp_path: Path, capsys, words: list[str], said: str
) -> None:
    for command in (["probe", counting_video], ["gif", counting_video, tmp_path / "a.gif"]):
        assert run(*command, *words) == 2
        assert said in capsys.readouterr().err


def test_limits_that_were_raised_hold_too(counting_video: Path, capsys) -> None:
    assert run("probe", "--limits.max_side", "40", counting_video) == 2
    assert run("probe", "--limits.max_side", "48", counting_video) == 0
    assert fastvd.get_limits() == fastvd.Limits(max_side=48)


@pytest.mark.parametrize(("options", "suffix"), [([], "jpg"), (["--format", "png"], "png")])
def test_extracted_frames_sort_by_name(
    counting_video: Path, tmp_path: Path, frame_numbers, options: list[str], suffix: str
) -> None:
    assert run("extract", counting_video, tmp_path / "f", "--size", "16", *options) == 0
    names = sorted(path.name for path in (tmp_path / "f" / "0").iterdir())
    assert names == [f"{i:06d}.{suffix}" for i in range(40)]
    assert frame_numbers(fastvd.read_clip(tmp_path / "f" / "0")[:, 8:9]) == list(range(40))


def test_pictures_of_other_kinds_are_not_extracted(counting_video: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="suffix must be jpg, jpeg or png, got 'bmp'"):
        fastvd.extract_frames(counting_video, tmp_path / "f", suffix="bmp")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("there", ["0/000007.jpg", "3/old.txt", "cover.PNG"])
def test_frames_are_never_mixed_with_those_that_are_there(
    counting_video: Path, tmp_path: Path, capsys, there: str
) -> None:
    old = tmp_path / "f" / there
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    assert run("extract", counting_video, tmp_path / "f", "--frames_per_folder", "9") == 2
    name = there.partition("/")[0]
    said = f"{tmp_path / 'f'}: holds frames already ({name}): empty it, or name another folder"
    assert said in capsys.readouterr().err
    assert [path for path in (tmp_path / "f").rglob("*") if path.is_file()] == [old]


def test_frames_go_beside_other_files(counting_video: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(counting_video.read_bytes())
    assert run("extract", tmp_path / "film.mp4", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "film.mp4"]
