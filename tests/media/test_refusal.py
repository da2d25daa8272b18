"""What is no video is refused in words that say why, the same by Rust and by the twin."""

import os
from pathlib import Path

import pytest

from fastvd.errors import MediaError
from fastvd.media.video import probe, read_clip

NO_INDEX = "has no index (moov): the recording or the copy was not finished"
UNKNOWN = "is not a video that FFmpeg knows, or its header is damaged"
CONTENTS = {
    "empty": (b"", "the file is empty"),
    "text": (b"Dear diary,\n" * 100, UNKNOWN),
    "one byte": (b"a", UNKNOWN),
    "zeros": (bytes(5000), UNKNOWN),
    "box that never ends": (b"\0\0\0\4ftypisom" + bytes(100), UNKNOWN),
    "head of a matroska file": (bytes.fromhex("1a45dfa3") + bytes(100), UNKNOWN),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_video_is_named(reader: str, tmp_path: Path, name: str) -> None:
    content, reason = CONTENTS[name]
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for read in (probe, read_clip):
        with pytest.raises(MediaError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_recording_that_was_not_finished_is_named(
    reader: str, tmp_path: Path, counting_video: Path, keep: float
) -> None:
    content = counting_video.read_bytes()
    # PyAV writes the index behind the frames
    end = content.rindex(b"moov") - 4
    assert content.index(b"mdat") < end
    path = tmp_path / "clip.mp4"
    path.write_bytes(content[: int(keep * end)])
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert str(caught.value) == f"{path}: {NO_INDEX}"


@pytest.mark.parametrize("size", [0, 1])
def test_frames_of_no_told_length_are_a_recording_too(
    reader: str, tmp_path: Path, size: int
) -> None:
    # 0: up to the end of the file; 1: the length follows in 64 bits
    path = tmp_path / "clip.mov"
    box = size.to_bytes(4, "big") + b"mdat" + (4000).to_bytes(8, "big")
    path.write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + box + os.urandom(1000))
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert str(caught.value) == f"{path}: {NO_INDEX}"


@pytest.mark.parametrize("url", ["https://example.org/clip.mp4", "rtsp://camera/1"])
def test_urls_are_not_opened(reader: str, url: str) -> None:
    for path in (url, Path(url)):
        with pytest.raises(ValueError, match=r"URLs are not opened: download it first"):
            probe(path)


def test_a_name_like_a_url_is_a_name(
    reader: str, tmp_path: Path, counting_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "https:" / "clip.mp4"
    path.parent.mkdir()
    path.write_bytes(counting_video.read_bytes())
    assert probe("https://clip.mp4").frames == 40
