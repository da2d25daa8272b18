"""Damaged files end in frames or in one typed error that names the file; none kills or hangs."""

from pathlib import Path

import numpy as np
import pytest
from robust.damage import damage
from robust.pool import read_all
from robust.seeds import FORMATS, make_seed
from robust.worker import read_file

from fastvd import native
from fastvd.errors import MediaError
from fastvd.media.gif import read_gif
from fastvd.media.video import probe, read_clip

FILES = Path(__file__).parent / "files"
"""Damaged files on which a reader failed once."""


@pytest.mark.parametrize(("kind", "count"), [("rust", 200), ("twin", 40)])
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_end_in_frames_or_one_typed_error(
    tmp_path: Path, name: str, kind: str, count: int
) -> None:
    if kind == "rust" and not native.video_available:
        pytest.skip("no Rust core, or no FFmpeg libraries")
    seed = make_seed(tmp_path, name)
    paths = [tmp_path / f"{i:03}{seed.suffix}" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(damage(seed.read_bytes(), np.random.default_rng([0, i])))
    answers = dict(read_all([*paths, seed], reader=kind, workers=1))
    assert answers[seed]["frames"] > 0
    failures = {p.name: a for p, a in answers.items() if not is_clean(p, a)}
    assert not failures
    # the damage does something
    assert sum("error" in answer for answer in answers.values()) > count // 20


def is_clean(path: Path, answer: dict[str, object]) -> bool:
    if "frames" in answer:
        return True
    return "text" in answer and "is_untyped" not in answer and path.name in str(answer["text"])


def test_codec_that_ffmpeg_does_not_know_is_refused(
    reader: str, counting_video: Path, tmp_path: Path
) -> None:
    path = tmp_path / "unknown.mp4"
    path.write_bytes(counting_video.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(MediaError, match=r"unknown\.mp4: FFmpeg has no decoder"):
        probe(path)


def test_names_inside_a_file_may_be_no_text(
    reader: str, counting_video: Path, tmp_path: Path
) -> None:
    path = tmp_path / "name.mp4"
    data = counting_video.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"\xd8\xd8\xff\xd8"))
    assert np.array_equal(read_clip(path), read_clip(counting_video))


def test_gif_frame_of_65535_by_65535_is_refused(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.gif"
    screen = b"GIF89a\x05\0\x05\0\x80\0\0\0\0\0\xff\xff\xff"
    path.write_bytes(screen + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;")
    with pytest.raises(MediaError, match=r"bomb\.gif: frame 0"):
        read_gif(path)


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_file_on_which_a_reader_failed_once(reader: str, name: str) -> None:
    answer = read_file(FILES / name)
    assert is_clean(FILES / name, answer)
