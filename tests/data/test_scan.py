import os
import random

import numpy as np
import pytest
from PIL import Image

from fastvd.data.deadline import Deadline
from fastvd.data.scan import find_videos, make_report, natural_key, probe_videos
from fastvd.errors import MediaError
from fastvd.media.still import frame_files


@pytest.fixture
def touch(tmp_path):
    def touch(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return touch


def found_names(root) -> tuple[list[str], list[str]]:
    found, ignored = find_videos(root)
    return [os.path.relpath(p, root) for p in found], [os.path.relpath(p, root) for p in ignored]


def test_numbers_sort_by_value():
    names = ["b", "a10", "a9", "A9b", "a", "10", "9", "a09", "a9.5"]
    random.shuffle(names)
    assert sorted(names, key=natural_key) == [
        "9",
        "10",
        "a",
        "a09",
        "a9",
        "a9.5",
        "A9b",
        "a10",
        "b",
    ]


def test_folder_is_searched_with_all_below_it(touch, tmp_path):
    touch("10.mp4", "9.MOV", "sub/2/b.webm", "sub/10/a.gif", "notes.txt", "sub/LICENSE", ".hid.mp4")
    found, ignored = found_names(tmp_path)
    assert found == ["9.MOV", "10.mp4", "sub/2/b.webm", "sub/10/a.gif"]
    assert ignored == [".hid.mp4", "notes.txt", "sub/LICENSE"]


def test_folder_of_numbered_images_is_one_video(touch, tmp_path):
    touch(
        "a/1.png",
        "a/._1.png",
        "a/2.png",
        "d/._1.png",
        "a/labels.json",
        "b/frame_01.jpg",
        "b/deeper/1.JPEG",
        "c.mp4",
    )
    found, ignored = found_names(tmp_path)
    assert found == ["c.mp4", "a", "b", "b/deeper"]
    assert ignored == ["a/._1.png", "a/labels.json", "d/._1.png"]
    assert [path.name for path in frame_files(tmp_path / "a")] == ["1.png", "2.png"]


def test_images_beside_videos_are_no_video(touch, tmp_path):
    touch("clip1.mp4", "poster1.jpg", "sub/cover.png", "sub/x.mkv")
    found, ignored = found_names(tmp_path)
    assert found == ["clip1.mp4", "sub/x.mkv"]
    assert ignored == ["poster1.jpg", "sub/cover.png"]


def test_the_root_itself_can_hold_the_images(touch, tmp_path):
    touch("1.png", "2.png")
    assert find_videos(tmp_path) == ([str(tmp_path)], [])


def test_named_files_are_taken_whatever_their_suffix(touch, tmp_path):
    touch("data.bin", "folder/x.mp4", "picture.png")
    named = [tmp_path / "data.bin", str(tmp_path / "folder"), tmp_path / "picture.png"]
    found, ignored = find_videos(named)
    assert found == [str(tmp_path / name) for name in ("data.bin", "folder/x.mp4", "picture.png")]
    assert ignored == []


def test_links_are_followed_but_not_in_circles(touch, tmp_path):
    touch("root/a.mp4", "elsewhere/b.mp4")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "up").symlink_to(tmp_path / "root")
    assert found_names(tmp_path / "root")[0] == ["a.mp4", "linked/b.mp4"]


def test_missing_and_empty_inputs_are_named(touch, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="empty list"):
        find_videos([])
    touch("empty/readme.txt", "full/a.mp4")
    with pytest.raises(MediaError, match=r"empty holds no videos; 1 passed over.*readme\.txt"):
        find_videos([tmp_path / "full", tmp_path / "empty"])


def test_hidden_and_nameless_files_are_counted(touch, tmp_path):
    touch("full/a.mp4", "full/b.txt", "odd/.a.mp4", "odd/.git/x.mp4", "odd/film", "odd/sub/.b.mp4")
    (tmp_path / "none").mkdir()
    assert found_names(tmp_path / "full")[1] == ["b.txt"]
    names = [str(tmp_path / "odd" / name) for name in (".a.mp4", ".git", "film", "sub/.b.mp4")]
    said = "odd holds no videos; 4 passed over (hidden, or without a video's suffix): "
    with pytest.raises(MediaError) as caught:
        find_videos([tmp_path / "full", tmp_path / "odd"])
    assert str(caught.value).endswith(said + "; ".join(sorted(names, key=natural_key)))
    with pytest.raises(MediaError, match="none holds no videos; it is empty"):
        find_videos(tmp_path / "none")


def test_videos_are_counted(folder):
    found = probe_videos(find_videos(folder)[0], None, with_times=False, deadline=Deadline(60))
    assert [video.frames for video in found] == [40, 20, 8]
    assert [video.reason for video in found] == ["", "", ""]
    assert all(video.times is None for video in found)


def test_times_come_when_asked_for(folder):
    (video,) = probe_videos([str(folder / "10.mp4")], None, with_times=True, deadline=Deadline(60))
    np.testing.assert_allclose(video.times, np.arange(20) / 25, atol=1e-6)
    assert video.length == "20 frames in 0.76 s"


def test_each_bad_file_gets_its_reason(tmp_path, encode, counting_frames):
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "zero.gif").touch()
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    encode(tmp_path / "whole.mp4", counting_frames(10))
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    paths, _ = find_videos(tmp_path)
    reasons = {
        video.path: video.reason
        for video in probe_videos(paths, None, with_times=False, deadline=Deadline(60))
    }
    assert reasons.pop(str(tmp_path / "whole.mp4")) == ""
    assert len(reasons) == 5
    assert all(reasons.values())
    # the path is said once, not in the reason again
    assert not any(reason.startswith(path) for path, reason in reasons.items())
    assert "pipe" in reasons[str(tmp_path / "pipe.mp4")]


def test_report_reads_well(folder, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video at all")
    paths, ignored = find_videos([folder, tmp_path])
    found = probe_videos(paths, None, with_times=False, deadline=Deadline(60))
    report = make_report(found, [25, 5, 0, 0], ignored, wanted="16 frames")
    assert [file.usable for file in report.files] == [True, True, False, False]
    assert report.unusable[0].reason == "8 frames, a clip spans 16 frames"
    lines = str(report).splitlines()
    assert lines[0] == "2 of 4 videos usable, 60 frames"
    assert lines[1] == f"  left out {folder / 'still'}: 8 frames, a clip spans 16 frames"
    assert lines[2].startswith(f"  left out {tmp_path / 'text.mp4'}: ")
    why = "hidden, or without a video's suffix"
    assert lines[3] == f"  1 passed over ({why}): {folder / 'captions.txt'}"


def test_long_lists_are_cut(tmp_path):
    for i in range(14):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.webp")
        (tmp_path / f"{i}.txt").touch()
    paths, ignored = find_videos(tmp_path)
    found = probe_videos(paths, None, with_times=False, deadline=Deadline(60))
    assert len(paths) == 14
    assert str(make_report(found, [1] * 14, ignored, wanted="1 frame")).endswith(" and 4 more")
