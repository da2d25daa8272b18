import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import torch

from fastvd.data.clips import ClipDataset
from fastvd.data.loader import ClipLoader
from fastvd.data.transforms import to_frames
from fastvd.errors import MediaError


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastvd-clips")]


def break_clip(clips: ClipDataset, at: tuple[int, int]) -> None:
    """Let reading clip ``at`` (epoch, index) fail."""
    read = clips.clip

    def clip(epoch: int, index: int, *, seed: int | None = None):
        if (epoch, index) == at:
            raise MediaError(f"broken at {at}")
        return read(epoch, index, seed=seed)

    clips.clip = clip


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_hold_the_clips_of_the_epoch_in_order(clips, workers):
    batches = list(ClipLoader(clips, batch_size=2, workers=workers))
    assert len(batches) == 3
    for b, batch in enumerate(batches):
        assert batch.clip.shape == (2, 3, 5, 8, 8)
        assert batch.clip.dtype == torch.float32
        frames = to_frames(batch.clip).numpy()
        for j in range(2):
            clip, source = clips.clip(0, 2 * b + j)
            assert batch.source[j] == source
            assert np.array_equal(frames[j], clip)


def test_loops_go_through_the_epochs(clips, sources):
    loader = ClipLoader(clips, batch_size=3, workers=1)
    first, second = sources(loader), sources(loader)
    assert loader.epoch == 2
    assert first != second
    assert second == [tuple(clips.source(1, 3 * b + j) for j in range(3)) for b in range(2)]
    loader.epoch = 0
    assert sources(loader) == first


def test_loop_begins_at_the_epoch_of_the_dataset(clips):
    clips.set_epoch(4)
    assert next(iter(ClipLoader(clips, batch_size=1))).source == [clips.source(4, 0)]


def test_loop_yields_whole_batches(clips, sources):
    loader = ClipLoader(clips, batch_size=4, workers=2)
    assert len(loader) == 1
    assert sources(loader) == [tuple(clips.source(0, j) for j in range(4))]


def test_too_large_a_batch_is_refused_by_the_loop_alone(clips):
    loader = ClipLoader(clips, batch_size=7, workers=2)
    with pytest.raises(ValueError, match="6 clips has no whole batch of 7"):
        iter(loader)
    wanted = [clips.source(n // 6, n % 6) for n in range(14)]
    first, second = itertools.islice(loader.stream(), 2)
    assert first.source + second.source == wanted


@pytest.mark.parametrize("first_batch", [0, 1, 2, 7])
@pytest.mark.parametrize("workers", [0, 2])
def test_stream_goes_on_where_it_stopped(clips, first_batch, workers):
    unbroken = list(itertools.islice(ClipLoader(clips, batch_size=4, workers=1).stream(), 10))
    loader = ClipLoader(clips, batch_size=4, workers=workers)
    resumed = list(itertools.islice(loader.stream(first_batch=first_batch), 3))
    for batch, wanted in zip(resumed, unbroken[first_batch:], strict=False):
        assert batch.source == wanted.source
        assert torch.equal(batch.clip, wanted.clip)


def test_stream_visits_each_clip_once_an_epoch(clips):
    stream = ClipLoader(clips, batch_size=4).stream()
    visited = [source for batch in itertools.islice(stream, 3) for source in batch.source]
    assert visited == [clips.source(e, i) for e in range(2) for i in range(6)]


def test_seed_takes_the_place_of_the_dataset_s(clips):
    loader = ClipLoader(clips, batch_size=2, seed=5)
    assert next(iter(loader)).source == [clips.source(0, i, seed=5) for i in range(2)]
    assert clips.seed == 1


@pytest.mark.parametrize("workers", [0, 3])
def test_error_comes_at_its_batch(clips, workers):
    break_clip(clips, at=(0, 3))
    loader = ClipLoader(clips, batch_size=2, workers=workers)
    batches = iter(loader)
    assert next(batches).source == [clips.source(0, i) for i in range(2)]
    with pytest.raises(MediaError, match=r"broken at \(0, 3\)"):
        next(batches)
    assert next(batches, None) is None
    assert our_threads() == []
    assert next(loader.stream(first_batch=2)).source == [clips.source(0, i) for i in (4, 5)]


def test_reading_stays_a_few_batches_ahead(clips):
    read: list[int] = []
    clip = clips.clip
    clips.clip = lambda epoch, index, seed: read.append(index) or clip(epoch, index, seed=seed)
    stream = ClipLoader(clips, batch_size=2, workers=2).stream()
    next(stream)
    time.sleep(0.5)
    # the batch in use and two ahead
    assert len(read) == 6
    stream.close()


@pytest.mark.parametrize("leave", ["close", "collect", "exhaust"])
def test_threads_stop_with_their_iterator(clips, leave):
    loader = ClipLoader(clips, batch_size=2, workers=3)
    batches = iter(loader)
    next(batches)
    assert len(our_threads()) == 3
    if leave == "close":
        batches.close()
    elif leave == "collect":
        del batches
        gc.collect()
    else:
        list(batches)
    assert our_threads() == []


def test_no_threads_without_workers(clips):
    batches = iter(ClipLoader(clips, batch_size=2, workers=0))
    next(batches)
    assert our_threads() == []


def test_loops_side_by_side_do_not_mix(clips):
    loader = ClipLoader(clips, batch_size=2, workers=2)
    both = zip(loader.stream(), loader.stream(first_batch=1), strict=True)
    pairs = list(itertools.islice(both, 6))
    for (_, ahead), (one, _) in itertools.pairwise(pairs):
        assert ahead.source == one.source
        assert torch.equal(ahead.clip, one.clip)


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("batch_size", -1), ("workers", -1), ("seed", -1)]
)
def test_bad_arguments_are_refused(clips, name, value):
    with pytest.raises(ValueError, match=f"{name} .*{value}"):
        ClipLoader(clips, **{"batch_size": 1, name: value})
    with pytest.raises(ValueError, match=r"first_batch .*-3"):
        ClipLoader(clips, batch_size=1).stream(first_batch=-3)


@pytest.mark.parametrize(("workers", "hangs"), [(0, False), (2, True)], ids=["reading", "hanging"])
def test_interrupt_leaves_within_two_seconds(folder, tmp_path, workers, hangs):
    """Ctrl-C ends a script in its loop, even while a read never comes back."""
    os.mkfifo(tmp_path / "pipe")
    script = f"""
        import time
        from fastvd.data import ClipConfig, ClipDataset, ClipLoader
        clips = ClipDataset({str(folder / "2.mp4")!r}, ClipConfig(frames=5, size=8))
        if {hangs}:
            clips.clip = lambda *args, **options: open({str(tmp_path / "pipe")!r}).read()
        print("ready", flush=True)
        try:
            for batch in ClipLoader(clips, batch_size=2, workers={workers}).stream():
                pass
        except KeyboardInterrupt:
            # this clock is the same in all processes
            print(time.monotonic())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            left, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert float(left) - sent < 2


def test_script_that_ends_in_the_middle_leaves_cleanly(folder):
    script = f"""
        from fastvd.data import ClipConfig, ClipDataset, ClipLoader
        clips = ClipDataset({str(folder / "2.mp4")!r}, ClipConfig(frames=5, size=8))
        stream = ClipLoader(clips, batch_size=2, workers=3).stream()
        print(next(stream).clip.shape[0])
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


@pytest.mark.gpu
def test_batches_reach_the_gpu(clips):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    on_host = list(ClipLoader(clips, batch_size=2))
    on_device = list(ClipLoader(clips, batch_size=2, device="cuda"))
    for batch, wanted in zip(on_device, on_host, strict=True):
        assert batch.clip.is_cuda
        assert batch.clip.is_contiguous(memory_format=torch.channels_last_3d)
        assert torch.equal(batch.clip.cpu(), wanted.clip)


@pytest.mark.parametrize(
    ("output", "reason"), [("numpy", "machine's memory"), ("float32", "no GPU")]
)
def test_a_gpu_that_is_not_used_is_refused(clips, monkeypatch, output, reason) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=reason):
        ClipLoader(clips, batch_size=1, device="cuda", output=output)
