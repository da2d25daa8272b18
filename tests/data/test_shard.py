import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvd.data import shard

KEY = bytes(range(32))
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def write(path, frames=FRAMES) -> None:
    assert shard.write_shard(path, [frames[:2], frames[2:]], frames=len(frames), key=KEY)


def test_frames_come_back(tmp_path):
    write(tmp_path / "a.frames")
    header = shard.read_header(tmp_path / "a.frames")
    frames = shard.open_shard(tmp_path / "a.frames", header)
    shard.check_frames(frames, header)
    assert header.key == KEY
    assert np.array_equal(frames, FRAMES)
    assert not frames.flags.writeable
    assert [path.name for path in tmp_path.iterdir()] == ["a.frames"]


def test_mapped_frames_outlive_their_file(tmp_path):
    write(tmp_path / "a.frames")
    frames = shard.open_shard(tmp_path / "a.frames", shard.read_header(tmp_path / "a.frames"))
    (tmp_path / "a.frames").unlink()
    assert np.array_equal(frames, FRAMES)


@pytest.mark.parametrize("offset", [0, 8, 12, 28, 32, 63, 66, 100, 4095])
def test_any_changed_byte_of_the_header_is_seen(tmp_path, offset):
    path = tmp_path / "a.frames"
    write(path)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(shard.DamagedShardError):
        shard.read_header(path)


@pytest.mark.parametrize("place", [0, 179, 359])
def test_any_changed_byte_of_the_frames_is_seen(tmp_path, place):
    path = tmp_path / "a.frames"
    write(path)
    content = bytearray(path.read_bytes())
    content[shard.PAGE + place] ^= 1
    path.write_bytes(content)
    header = shard.read_header(path)
    with pytest.raises(shard.DamagedShardError, match="frames"):
        shard.check_frames(shard.open_shard(path, header), header)


@pytest.mark.parametrize("length", [0, 10, 4095, 4096, 4455, 4457])
def test_shortened_and_lengthened_files_are_refused(tmp_path, length):
    path = tmp_path / "a.frames"
    write(path)
    path.write_bytes(path.read_bytes().ljust(length, b"\0")[:length])
    with pytest.raises(shard.DamagedShardError):
        shard.read_header(path)


@given(st.binary(max_size=80), st.integers(0, 2**40))
def test_header_of_random_bytes_is_refused(start, size):
    with pytest.raises(shard.DamagedShardError):
        shard.parse_header(start.ljust(shard.PAGE, b"\0"), file_size=size)


@given(
    st.tuples(*[st.integers(0, 2**32 - 1)] * 4), st.integers(0, 2**32 - 1), st.integers(0, 2**64)
)
def test_header_with_a_sound_checksum_is_sane_or_refused(shape, checksum, size):
    page = shard.pack_header(shard.Header(shape, checksum, KEY))
    with pytest.raises(shard.DamagedShardError):
        shard.parse_header(page, file_size=size)


def test_shard_that_is_being_written_is_left_to_its_writer(tmp_path):
    path, begun, go_on = tmp_path / "a.frames", threading.Event(), threading.Event()

    def pieces():
        begun.set()
        yield FRAMES[:3]
        go_on.wait(20)
        yield FRAMES[3:]

    results = []
    first = threading.Thread(
        target=lambda: results.append(shard.write_shard(path, pieces(), frames=5, key=KEY))
    )
    first.start()
    begun.wait(20)
    assert not shard.write_shard(path, [FRAMES], frames=5, key=KEY)
    go_on.set()
    first.join()
    assert results == [True]
    shard.check_frames(shard.open_shard(path, shard.read_header(path)), shard.read_header(path))


def test_broken_off_writing_leaves_nothing(tmp_path):
    def pieces():
        yield FRAMES[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shard.write_shard(tmp_path / "a.frames", pieces(), frames=5, key=KEY)
    with pytest.raises(ValueError, match="3 frames came, 5"):
        shard.write_shard(tmp_path / "a.frames", [FRAMES[:3]], frames=5, key=KEY)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_what_a_dead_writer_left_is_written_over(tmp_path):
    (tmp_path / "a.tmp").write_bytes(b"x" * 10_000)
    write(tmp_path / "a.frames")
    assert shard.read_header(tmp_path / "a.frames").shape == FRAMES.shape
    assert [path.name for path in tmp_path.iterdir()] == ["a.frames"]
