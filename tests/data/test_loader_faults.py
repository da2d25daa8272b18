import itertools
import multiprocessing
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

from fastvd.data.clips import ClipConfig, ClipDataset
from fastvd.data.loader import ClipLoader
from fastvd.errors import MediaError, TooManyBadError


@pytest.fixture
def lossy(folder, tmp_path, config):
    """``lossy(on_error)``: six clips an epoch, of which the two of 10.mp4 can't be read."""

    def make(on_error, **options) -> ClipDataset:
        copy = shutil.copytree(folder, tmp_path / "videos", dirs_exist_ok=True)
        paths = [copy / "2.mp4", copy / "10.mp4"]
        clips = ClipDataset(paths, config, seed=1, on_error=on_error, **options)
        paths[1].write_bytes(b"\0" * paths[1].stat().st_size)
        return clips

    return make


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_clips_leave_their_batches_smaller(workers, clips, lossy):
    bad = [i for i in range(6) if clips.source(0, i).path.endswith("10.mp4")]
    skipping = lossy("skip")
    loader = ClipLoader(skipping, batch_size=3, workers=workers, output="numpy")
    for batch in loader:
        rows = range(3 * batch.number, 3 * batch.number + 3)
        kept = [i for i in rows if i not in bad]
        assert np.array_equal(batch.clip, np.stack([clips.clip(0, i).clip for i in kept]))
        assert [source.start for source in batch.source] == [clips.source(0, i).start for i in kept]
        assert len(batch.frames) == len(kept)
        assert [error.index for error in batch.errors] == [i for i in rows if i in bad]
    # batches of one: those that are lost are passed over, and keep their number
    loader = ClipLoader(skipping, batch_size=1, workers=workers)
    loader.epoch = 0
    assert [batch.number for batch in loader] == [i for i in range(6) if i not in bad]


def test_replaced_clips_keep_the_batches_whole(lossy):
    replacing = lossy("replace")
    batches = list(ClipLoader(replacing, batch_size=3, output="numpy"))
    assert [len(batch.clip) for batch in batches] == [3, 3]
    assert all(s.path.endswith("2.mp4") for batch in batches for s in batch.source)
    assert sum(len({error.index for error in batch.errors}) for batch in batches) == 2


def test_error_policy_raises_at_the_batch(lossy):
    loader = ClipLoader(lossy("error"), batch_size=6, output="numpy")
    with pytest.raises(MediaError, match=r"10\.mp4"):
        next(iter(loader))


@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_too_many_bad_files_end_it(on_error, lossy):
    clips = lossy(on_error, max_bad=0.4)
    with pytest.raises(
        TooManyBadError, match=r"1 of 2 videos can't be read, max_bad=0\.4 allows 0"
    ):
        list(ClipLoader(clips, batch_size=3, output="numpy"))


@pytest.mark.parametrize("cache", [None, "memory"])
def test_stuck_file_times_out_and_others_go_on(folder, tmp_path, make_stuck, cache):
    copy = shutil.copytree(folder, tmp_path / "videos")
    config = ClipConfig(frames=3, size=8)
    clips = ClipDataset(copy, config, on_error="skip", timeout_s=1.0, cache=cache)
    make_stuck(copy / "still" / "2.png")
    begun = time.monotonic()
    loader = ClipLoader(clips, batch_size=1, output="numpy")
    got = [batch for _ in range(4) for batch in loader]
    # one wait for the file, not one for each of its clips
    assert time.monotonic() - begun < 8
    assert {source.path for batch in got for source in batch.source} >= {
        str(copy / "2.mp4"), str(copy / "10.mp4"),
    }  # fmt: skip
    assert clips.errors
    assert {error.source.path for error in clips.errors} == {str(copy / "still")}
    assert "no answer within 1 s" in clips.errors[0].reason


def test_interrupt_during_a_stuck_read(folder, tmp_path, make_stuck):
    copy = shutil.copytree(folder, tmp_path / "videos")
    script = f"""
        import sys, time
        from pathlib import Path
        from fastvd.data import ClipConfig, ClipDataset, ClipLoader
        folder = Path({str(copy / "still")!r})
        clips = ClipDataset(folder, ClipConfig(frames=8, size=8))
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            for batch in ClipLoader(clips, batch_size=1, workers=0, output="numpy").stream():
                pass
        except KeyboardInterrupt:
            print(time.monotonic())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        make_stuck(copy / "still" / "2.png")
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(0.5)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            left, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert float(left) - sent < 2


@pytest.mark.parametrize("cache", [None, "memory", "folder"])
def test_64_threads_share_one_loader_and_one_stream(folder, tmp_path, cache, config):
    paths = [folder / "2.mp4", folder / "10.mp4"]
    place = tmp_path if cache == "folder" else cache
    clips = ClipDataset(paths, config, seed=1, cache=place)
    loader = ClipLoader(clips, batch_size=2, workers=2, output="numpy")
    wanted = dict(enumerate(itertools.islice(loader.stream(), 128)))
    shared, seen, failures = loader.stream(), [], []

    def work() -> None:
        try:
            for _ in range(2):
                batch = next(shared)
                seen.append(batch.number)
                assert np.array_equal(batch.clip, wanted[batch.number].clip)
            assert len(list(loader)) == 3
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(64)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(seen) == list(range(128))
    assert loader.epoch == 64


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("cache", [None, "memory", "folder"])
def test_loop_goes_on_after_a_fork(folder, tmp_path, cache, sources, config):
    place = tmp_path if cache == "folder" else cache
    paths = [folder / "2.mp4", folder / "10.mp4"]
    clips = ClipDataset(paths, config, seed=1, cache=place)
    wanted = sources(itertools.islice(ClipLoader(clips, batch_size=2).stream(), 8))
    stream = ClipLoader(clips, batch_size=2, workers=3, output="numpy").stream()
    assert tuple(next(stream).source) == wanted[0]
    # as at a fork while another thread is in the middle of it
    stream._lock.acquire()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=lambda: there.send(sources(itertools.islice(stream, 7))))
    child.start()
    stream._lock.release()
    try:
        assert here.poll(60)
        assert here.recv() == wanted[1:]
    finally:
        child.kill()
    assert sources(itertools.islice(stream, 7)) == wanted[1:]


def test_loader_survives_pickling(clips, sources):
    loader = ClipLoader(clips, batch_size=2, output="numpy")
    copy = pickle.loads(pickle.dumps(loader))
    assert sources(copy) == sources(loader)


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("cache", ["None", "'memory'", "folder"])
def test_script_that_ends_while_decoding_leaves_cleanly(
    shared_videos, tmp_path, workers, cache, run
):
    done = run(f"""
        import threading, time
        from fastvd.data import ClipConfig, ClipDataset, ClipLoader
        folder = {str(tmp_path)!r}
        video = {str(shared_videos / "nasa_13013.mp4")!r}
        clips = ClipDataset(video, ClipConfig(frames=150, size=64), cache={cache})
        stream = ClipLoader(clips, batch_size=2, workers={workers}, output="numpy").stream()
        thread = threading.Thread(target=lambda: next(stream), daemon=True)
        thread.start()
        time.sleep(0.1)
        print("end")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
