import itertools
import time

import numpy as np
import pytest
import torch

from fastvd.data.clips import ClipDataset
from fastvd.data.loader import ClipLoader
from fastvd.data.transforms import to_network_twin


def test_arrays_take_no_torch(folder, run):
    done = run(f"""
        import sys
        import numpy as np
        import fastvd
        clips = fastvd.ClipDataset({str(folder / "2.mp4")!r}, fastvd.ClipConfig(frames=5, size=8))
        loader = fastvd.ClipLoader(clips, batch_size=2, output="numpy")
        for batch in loader:
            assert type(batch.clip) is np.ndarray
            assert batch.clip.shape == (2, 5, 8, 8, 3)
        print("torch" in sys.modules, len(loader))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False 4\n", "")


@pytest.mark.parametrize("cache", [None, "memory"])
@pytest.mark.parametrize("workers", [0, 2])
def test_all_outputs_hold_the_same_clips(clips, folder, cache, workers, config):
    paths = [folder / "2.mp4", folder / "10.mp4"]
    same = ClipDataset(paths, config, seed=1, cache=cache)
    options = {"batch_size": 4, "workers": workers}
    for epoch in range(3):
        arrays = ClipLoader(same, output="numpy", **options).stream(epoch)
        batch = next(arrays)
        numbers = range(4 * epoch, 4 * epoch + 4)
        wanted = np.stack([clips.clip(n // 6, n % 6).clip for n in numbers])
        assert np.array_equal(batch.clip, wanted)
        for name in ("float32", "float16", "bfloat16"):
            made = next(ClipLoader(same, output=name, **options).stream(epoch))
            twin = to_network_twin(torch.from_numpy(wanted), dtype=getattr(torch, name))
            assert made.clip.dtype == getattr(torch, name)
            assert made.clip.is_contiguous()
            assert torch.equal(made.clip, twin)
            assert made.source == batch.source


def test_record_names_the_frames(clips):
    for batch in ClipLoader(clips, batch_size=2, output="numpy"):
        for row, source in zip(batch.frames, batch.source, strict=True):
            assert row.tolist() == [source.start + 2 * k for k in range(5)]
        assert batch.errors == []


def test_batches_are_handed_on_without_a_copy(clips):
    batch = next(ClipLoader(clips, batch_size=2, output="numpy").stream())
    tensor = torch.from_dlpack(batch.clip)
    assert tensor.data_ptr() == batch.clip.ctypes.data
    made = next(ClipLoader(clips, batch_size=2).stream())
    assert np.from_dlpack(made.clip).ctypes.data == made.clip.data_ptr()


def test_batches_in_use_are_not_written_over(clips):
    for output in ("numpy", "float32"):
        stream = ClipLoader(clips, batch_size=2, workers=1, output=output).stream()
        held = [np.asarray(next(stream).clip[1]) for _ in range(12)]
        copies = [clip.copy() for clip in held]
        for _ in range(12):
            next(stream)
        assert all(np.array_equal(a, b) for a, b in zip(held, copies, strict=True))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shards_share_the_order_out(clips, world, sources):
    whole = sources(itertools.islice(ClipLoader(clips, batch_size=2).stream(), 12))
    for rank in range(world):
        loader = ClipLoader(clips, batch_size=2, shard=(rank, world))
        part = sources(itertools.islice(loader.stream(), 12 // world))
        assert part == whole[rank::world]
        assert sources(loader) == whole[:3][: 3 // world * world][rank::world]


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0)])
def test_bad_shard_is_refused(clips, shard):
    with pytest.raises(ValueError, match="shard"):
        ClipLoader(clips, batch_size=1, shard=shard)


def test_queue_is_bounded_by_bytes(clips):
    read: list[int] = []
    clip = clips.clip
    clips.clip = lambda epoch, index, seed: read.append(index) or clip(epoch, index, seed=seed)
    batch_bytes = 2 * 5 * 8 * 8 * 3
    for room, ahead in ((0, 0), (batch_bytes, 1), (10 * batch_bytes, 2)):
        read.clear()
        loader = ClipLoader(clips, batch_size=2, output="numpy", queue_bytes=room)
        stream = loader.stream()
        next(stream)
        time.sleep(0.5)
        assert len(read) == 2 * (1 + ahead)
        stream.close()
