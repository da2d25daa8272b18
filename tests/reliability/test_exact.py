"""Frame i is frame i: random reads of odd videos against a full decode."""

from pathlib import Path

import numpy as np
import pytest
from robust.exact import check_file
from robust.oddities import ENCODED, SPECIAL, make_oddities

from fastvd.media.video import iter_clips, probe, read_clip, read_frames

NAMES = [*ENCODED, *(make.__name__ for make in SPECIAL)]


@pytest.fixture(scope="session")
def oddities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Videos of every kind, by name."""
    made = make_oddities(tmp_path_factory.mktemp("oddities"))
    return dict(zip(NAMES, made, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_random_reads_equal_a_full_decode(rust: None, oddities: dict[str, Path], name: str) -> None:
    found = check_file(oddities[name], reads=35, rng=np.random.default_rng(0))
    assert found.frames >= 50
    assert (found.wrong, found.unlike_pyav) == (0, 0)


@pytest.mark.parametrize("at", [80_000, 150_000, 250_000])
def test_a_damaged_avi_is_the_same_by_all_ways(
    reader: str, shared_videos: Path, tmp_path: Path, at: int
) -> None:
    # reading on loses a chunk that the index, by which FFmpeg seeks, still counts
    data = bytearray((shared_videos / "nasa_mjpeg.avi").read_bytes())
    data[at : at + 2000] = bytes(2000)
    path = tmp_path / f"hole-{at}.avi"
    path.write_bytes(data)
    whole = read_clip(path, size=16)
    assert len(whole) == probe(path).frames == 89
    assert np.array_equal(np.concatenate(list(iter_clips(path, frames=10, size=16))), whole)
    for i in range(1, 89, 8):
        assert np.array_equal(read_frames(path, [i], size=16)[0], whole[i]), i
