import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from fastvd.data import cache as cache_module
from fastvd.data import folder as folder_module
from fastvd.data import shard
from fastvd.data.cache import Video, make_cache
from fastvd.data.clips import ClipConfig, ClipDataset
from fastvd.data.reader import FrameReader
from fastvd.media import read_clip

CONFIG = ClipConfig(frames=5, stride=2, size=8)
FRAME_BYTES = 8 * 8 * 3


@pytest.fixture
def videos(folder) -> list[str]:
    return [str(folder / "2.mp4"), str(folder / "10.mp4")]


@pytest.fixture
def settled(folder):
    """The files of ``folder`` as last changed a while ago."""
    for file in folder.rglob("*"):
        os.utime(file, (1e9, 1e9))


class CountingReader(FrameReader):
    """Notes what is decoded as a whole."""

    def __init__(self) -> None:
        super().__init__(CONFIG, timeout_s=60)
        self.decoded: list[str] = []

    def pieces(self, path, frames):
        self.decoded.append(path)
        return super().pieces(path, frames)


def known(videos) -> list[Video]:
    return [Video(path, len(read_clip(path, size=8))) for path in videos]


def whole(path) -> np.ndarray:
    return read_clip(path, size=8)


def shards(folder) -> list:
    return sorted(folder.glob("*.frames"))


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_each_video_is_decoded_once(videos, tmp_path, kind):
    reader = CountingReader()
    place = "memory" if kind == "memory" else tmp_path
    cache = make_cache(place, known(videos), reader, max_bytes=None)
    assert cache.peek([0]) == [None]
    for _ in range(2):
        for i, path in enumerate(videos):
            assert np.array_equal(cache.get(i), whole(path))
            assert not cache.get(i).flags.writeable
    assert reader.decoded == videos
    assert cache.peek([0])[0] is cache.get(0)


def test_folder_serves_later_runs(videos, tmp_path, settled):
    first, second = CountingReader(), CountingReader()
    make_cache(tmp_path, known(videos), first, max_bytes=None).get(0)
    later = make_cache(tmp_path, known(videos), second, max_bytes=None)
    assert np.array_equal(later.get(0), whole(videos[0]))
    assert second.decoded == []
    assert len(shards(tmp_path)) == 1


def test_shard_is_found_by_content(videos, tmp_path):
    make_cache(tmp_path / "c", known(videos[:1]), CountingReader(), max_bytes=None).get(0)
    moved = shutil.copy(videos[0], tmp_path / "renamed.mp4")
    reader = CountingReader()
    cache = make_cache(tmp_path / "c", known([moved]), reader, max_bytes=None)
    assert np.array_equal(cache.get(0), whole(moved))
    assert reader.decoded == []


def test_changed_file_under_the_same_name_is_decoded_anew(videos, tmp_path):
    path = shutil.copy(videos[0], tmp_path / "a.mp4")
    make_cache(tmp_path / "c", known([path]), CountingReader(), max_bytes=None).get(0)
    shutil.copy(videos[1], path)
    cache = make_cache(tmp_path / "c", known([path]), CountingReader(), max_bytes=None)
    assert np.array_equal(cache.get(0), whole(videos[1]))


@pytest.mark.parametrize(
    "changed", [{"size": 12}, {"grey": True}, {"fit": "pad"}, {"resample": "area"}]
)
def test_other_decoding_has_other_shards(videos, tmp_path, changed):
    config = ClipConfig(**{"size": 8, **changed})
    for wanted in (ClipConfig(size=8), config):
        reader = FrameReader(wanted, timeout_s=60)
        frames = make_cache(tmp_path, known(videos), reader, max_bytes=None).get(0)
        options = {"fit": wanted.fit, "resample": wanted.resample, "grey": wanted.grey}
        assert np.array_equal(frames, read_clip(videos[0], size=wanted.size, **options))
    assert len(shards(tmp_path)) == 2


@pytest.mark.parametrize("place", [0, 60, shard.PAGE, -1])
def test_damaged_shard_is_decoded_again(videos, tmp_path, caplog, place):
    make_cache(tmp_path, known(videos), CountingReader(), max_bytes=None).get(0)
    (path,) = shards(tmp_path)
    sound = path.read_bytes()
    content = bytearray(sound)
    content[place] ^= 0xFF
    path.write_bytes(content)
    reader = CountingReader()
    cache = make_cache(tmp_path, known(videos), reader, max_bytes=None)
    assert np.array_equal(cache.get(0), whole(videos[0]))
    assert reader.decoded == videos[:1]
    assert path.read_bytes() == sound
    assert "decoded again" in caplog.text


def test_swapped_shards_are_seen(videos, tmp_path):
    cache = make_cache(tmp_path, known(videos), CountingReader(), max_bytes=None)
    for i in range(2):
        cache.get(i)
    one, two = shards(tmp_path)
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    later = make_cache(tmp_path, known(videos), CountingReader(), max_bytes=None)
    for i, path in enumerate(videos):
        assert np.array_equal(later.get(i), whole(path))


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_first_videos_that_fit_are_kept_and_the_rest_is_told(videos, tmp_path, caplog, kind):
    place = "memory" if kind == "memory" else tmp_path
    head = shard.PAGE if kind == "folder" else 0
    limit = 20 * FRAME_BYTES + head
    cache = make_cache(place, known(videos), CountingReader(), max_bytes=limit)
    assert "1 of 2 videos fit" in caplog.text
    sizes = f"take {60 * FRAME_BYTES + 2 * head} bytes, the smallest {20 * FRAME_BYTES + head}"
    assert f"fit into cache_bytes={limit}, " in caplog.text
    assert f"all of them {sizes}" in caplog.text
    assert cache.get(0) is None
    assert np.array_equal(cache.get(1), whole(videos[1]))


def test_folder_never_passes_its_limit(videos, tmp_path, caplog, monkeypatch):
    limit = 45 * FRAME_BYTES + 2 * shard.PAGE
    both = [make_cache(tmp_path, known([v]), CountingReader(), max_bytes=limit) for v in videos]
    assert caplog.text == ""
    monkeypatch.setattr(folder_module, "_USAGE_S", 0)
    assert both[0].get(0) is not None
    assert both[1].get(0) is None
    assert "the cache is full" in caplog.text
    assert sum(path.stat().st_size for path in shards(tmp_path)) <= limit


def test_videos_that_are_there_need_no_room(videos, tmp_path, caplog, settled):
    make_cache(tmp_path, known(videos[:1]), CountingReader(), max_bytes=None).get(0)
    cache = make_cache(tmp_path, known(videos), CountingReader(), max_bytes=0)
    assert cache.get(0) is not None
    assert cache.get(1) is None


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_more_than_the_machine_has_is_told(videos, tmp_path, caplog, monkeypatch, kind):
    place = "memory" if kind == "memory" else tmp_path
    head = 2 * shard.PAGE if kind == "folder" else 0
    make_cache(place, known(videos), CountingReader(), max_bytes=10**18)
    # what is never used is no fault
    assert caplog.text == ""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 60, 40))
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4}.__getitem__)
    make_cache(place, known(videos), CountingReader(), max_bytes=10**18)
    said = f"cache_bytes={10**18}, of which the videos take {60 * FRAME_BYTES + head}, but there"
    assert f"{said} are only 40 bytes free" in caplog.text


def test_threads_that_ask_together_decode_once(videos, tmp_path):
    reader = CountingReader()
    cache = make_cache(tmp_path, known(videos), reader, max_bytes=None)
    threads = [threading.Thread(target=cache.get, args=(0,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.decoded == videos[:1]


def test_damaged_video_is_tried_once_and_left_to_single_reads(videos, tmp_path, caplog):
    path = shutil.copy(videos[0], tmp_path / "a.mp4")
    cache = make_cache("memory", known([path]), reader := CountingReader(), max_bytes=None)
    (tmp_path / "a.mp4").write_bytes(b"\0" * 5000)
    assert cache.get(0) is None
    assert cache.get(0) is None
    assert reader.decoded == [path]
    assert "a.mp4" in caplog.text


def test_long_video_is_decoded_in_the_background(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "AT_ONCE", 10)
    cache = make_cache(tmp_path, known(videos), reader := CountingReader(), max_bytes=None)
    assert cache.get(0) is None
    for _ in range(400):
        if cache.get(0) is not None:
            break
        time.sleep(0.02)
    assert np.array_equal(cache.get(0), whole(videos[0]))
    assert reader.decoded == videos[:1]
    thread = cache._state.thread
    del cache
    gc.collect()
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_pickled_cache_works_anew(videos, tmp_path, kind):
    place = "memory" if kind == "memory" else tmp_path
    cache = make_cache(place, known(videos), CountingReader(), max_bytes=None)
    cache.get(0)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.peek([0]) == [None]
    assert np.array_equal(copy.get(0), whole(videos[0]))


def test_negative_size_is_refused(videos):
    with pytest.raises(ValueError, match="-1"):
        ClipDataset(videos, CONFIG, cache="memory", cache_bytes=-1)


def test_full_disk_stops_nothing(videos, tmp_path, monkeypatch, caplog):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard.os, "pwrite", full)
    dataset = ClipDataset(videos, CONFIG, cache=tmp_path)
    plain = ClipDataset(videos, CONFIG)
    assert np.array_equal(dataset[0].clip, plain[0].clip)
    assert "No space left" in caplog.text
    assert list(tmp_path.glob("*.tmp")) == []


FILL = """
    import sys, time
    import numpy as np
    from fastvd.data import reader, shard
    from fastvd.data.clips import ClipConfig, ClipDataset
    reader.AT_ONCE = 4
    *videos, folder, at = sys.argv[1:]

    write = shard.os.pwrite
    count = 0
    def counted(*args):
        global count
        count += 1
        if count == int(at):
            print("there", flush=True)
            time.sleep(60)
        return write(*args)
    shard.os.pwrite = counted
    replace = shard.Path.replace
    def late(*args):
        if at == "-1" and args[1].suffix == ".frames":
            print("there", flush=True)
            time.sleep(60)
        return replace(*args)
    shard.Path.replace = late
    dataset = ClipDataset(videos, ClipConfig(frames=5, stride=2, size=8), cache=folder)
    for i in range(len(dataset)):
        dataset[i]
    print("done", flush=True)
"""


def fill(videos, folder, at) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(FILL), *videos, str(folder), str(at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


# at the first frames, at later ones, at the header, at the second file, at the rename
@pytest.mark.parametrize("at", ["1", "4", "11", "13", "-1"])
def test_kill_while_writing_loses_at_most_the_file_in_work(videos, tmp_path, at):
    with fill(videos, tmp_path, at) as process:
        assert process.stdout.readline() == "there\n"
        process.send_signal(signal.SIGKILL)
    for path in shards(tmp_path):
        header = shard.read_header(path)
        shard.check_frames(shard.open_shard(path, header), header)
    reader = CountingReader()
    cache = make_cache(tmp_path, known(videos), reader, max_bytes=None)
    assert list(tmp_path.glob("*.tmp")) == []
    for i, path in enumerate(videos):
        assert np.array_equal(cache.get(i), whole(path))
    assert len(shards(tmp_path)) == 2
    assert len(reader.decoded) == (1 if at == "13" else 2)


def test_living_writer_keeps_its_file(videos, tmp_path):
    with fill(videos, tmp_path, "4") as process:
        assert process.stdout.readline() == "there\n"
        (part,) = tmp_path.glob("*.tmp")
        dataset = ClipDataset(videos, CONFIG, cache=tmp_path)
        plain = ClipDataset(videos, CONFIG)
        for i in range(len(plain)):
            assert np.array_equal(dataset[i].clip, plain[i].clip)
        assert part.exists()
        process.kill()


def test_processes_share_one_folder(videos, tmp_path):
    several = [fill(videos, tmp_path, 0) for _ in range(3)]
    assert [process.communicate(timeout=120)[0] for process in several] == ["done\n"] * 3
    assert list(tmp_path.glob("*.tmp")) == []
    cache = make_cache(tmp_path, known(videos), reader := CountingReader(), max_bytes=None)
    for i, path in enumerate(videos):
        assert np.array_equal(cache.get(i), whole(path))
    assert reader.decoded == []
