"""Clips a second from decoded frames and from files, against NumPy and PyTorch.

``python benchmarks/bench_loader.py`` makes its videos from a real clip, decodes them once, times
each case with its peers in turns and writes results/<device>.json. pytest runs the agreement checks
alone.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from report import write_records
from torch import Tensor

from fastvd.data import Batch, ClipConfig, ClipDataset, ClipLoader, prepare_cache
from fastvd.data.batch import Buffers, Kind, fill
from fastvd.data.transforms import to_network_twin
from fastvd.media import read_clip

SOURCE = "nasa_mpeg4_divx_160x120_25fps.avi"
VIDEOS = Path(__file__).parents[2] / "shared" / "data" / "video"
CONFIG = ClipConfig(frames=16, stride=4, size=64)
CONFIG_SHAPE = (CONFIG.frames, CONFIG.size, CONFIG.size, CONFIG.channels)
BATCH = 64
THREADS = 2

_REST_S = 0.3
# cached batches in the time of a decoded one
_CACHED_TURNS = 100

Frames = np.ndarray
Peer = Callable[[int], Any]


def make_videos(folder: Path, *, count: int, frames: int) -> None:
    """Write MPEG-4 videos like those of small action sets: the real clip, from several starts."""
    source = read_clip(VIDEOS / SOURCE)
    for k in range(count):
        with av.open(str(folder / f"{k}.avi"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25, options={"g": "12", "b": "400k"})
            stream.height, stream.width = source.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for i in range(frames):
                frame = av.VideoFrame.from_ndarray(source[(i + 17 * k) % len(source)])
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def torch_forms(batch: Tensor, dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    """Ways to write the conversion of uint8 [B, T, H, W, C]; those that reuse memory reuse all."""
    B, T, H, W, C = batch.shape
    moved = batch.permute(0, 4, 1, 2, 3)
    single, out = torch.empty(B, C, T, H, W), torch.empty(B, C, T, H, W, dtype=dtype)

    def plain() -> Tensor:
        return (batch.to(torch.float32) / 127.5 - 1).permute(0, 4, 1, 2, 3).contiguous().to(dtype)

    def moved_first() -> Tensor:
        return moved.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(
            1
        ).to(dtype)  # fmt: skip

    def reused() -> Tensor:
        single.copy_(moved).div_(127.5).sub_(1)
        return single if dtype == torch.float32 else out.copy_(single)

    return {"plain": plain, "moved first": moved_first, "memory reused": reused}


def check_equal(a: Tensor, b: Tensor) -> None:
    """A case that does not agree is not timed."""
    if not torch.equal(a, b):
        raise SystemExit("the peers' outputs differ")


def timed(
    peers: dict[str, Peer], *, rounds: int, turns: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Clips a second of each peer's turns, the peers one after the other in each round."""
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(rounds + 1):
        for name, peer in peers.items():
            # threads of the peer before may still spin on a core
            time.sleep(_REST_S)
            begun = clock()
            for k in range(turns):
                peer(k)
            if turn:
                rates[name].append(turns * BATCH / (clock() - begun))
    return rates


def record(case: str, rates: dict[str, list[float]], **facts: Any) -> dict[str, Any]:
    """Reduce rates to medians, quartiles and the ratio to the best peer, round by round."""
    ours = rates["fastvd"]
    others = {name: taken for name, taken in rates.items() if name != "fastvd"}
    best = max(others, key=lambda name: statistics.median(others[name]))
    ratios = [a / b for a, b in zip(ours, others[best], strict=True)]
    summary = {}
    for name, taken in rates.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        summary[name] = {"clips_per_s": round(middle), "quartiles": [round(low), round(high)]}
    return {
        "suite": "loader",
        "case": case,
        "shape": [BATCH, CONFIG.frames, CONFIG.size, CONFIG.size, CONFIG.channels],
        "rounds": len(ours),
        "peers": summary,
        "best_peer": best,
        "fastvd_is_faster_by": round(statistics.median(ratios), 2),
        **facts,
    }


class Store:
    """Decoded videos as one array, as a peer would keep them, and random starts in it."""

    def __init__(self, folder: Path, path: Path) -> None:
        frames = [read_clip(file, size=CONFIG.size) for file in sorted(folder.iterdir())]
        np.concatenate(frames).tofile(path)
        count = sum(map(len, frames))
        shape = (count, CONFIG.size, CONFIG.size, CONFIG.channels)
        self.frames = np.memmap(path, np.uint8, "r", shape=shape)
        rng = np.random.default_rng(0)
        starts = rng.integers(0, count - 4 * CONFIG.frames, (20, BATCH, 1))
        self.numbers = starts + CONFIG.stride * np.arange(CONFIG.frames)
        # in the file cache and in this process's page table
        int(self.frames[:, ::16].sum())

    def strided(self, k: int, out: Frames) -> None:
        """One strided copy a clip."""
        for i, start in enumerate(self.numbers[k, :, 0].tolist()):
            out[i] = self.frames[start : start + 4 * CONFIG.frames - 3 : 4]

    def ours(self, k: int, out: Frames, kind: Kind, threads: int) -> None:
        """The gather of the loader, on the same array."""
        fill([self.frames] * BATCH, self.numbers[k], out, kind, threads=threads)


def bench_uint8(store: Store, loader: ClipLoader, rounds: int) -> dict[str, Any]:
    """Batches of uint8 on one core, by CPU time; ours with all that a loader does."""
    out = Buffers((BATCH, *CONFIG_SHAPE), "uint8", keep=1).take()
    other = out.copy()
    store.strided(0, other)
    store.ours(0, out, "uint8", 1)
    check_equal(torch.from_numpy(out), torch.from_numpy(other))
    batches = loader.stream()
    peers: dict[str, Peer] = {
        "fastvd": lambda _: read(batches, 1),
        "fastvd, gather alone": lambda k: store.ours(k, out, "uint8", 1),
        "np.memmap, strided copies": lambda k: store.strided(k, out),
        "np.memmap, take": lambda k: np.take(
            store.frames, store.numbers[k], axis=0, out=out, mode="clip"
        ),
    }
    rates = timed(peers, rounds=rounds, turns=20, clock=time.process_time)
    alone = rates.pop("fastvd, gather alone")
    entry = record("cached uint8, one core", rates, clock="CPU time")
    return {**entry, "gather_alone_clips_per_s": round(statistics.median(alone))}


def bench_floats(store: Store, kind: Kind, threads: int, rounds: int) -> dict[str, Any]:
    """Normalised batches from decoded frames; the peers gather by strided copies."""
    torch.set_num_threads(threads)
    dtype = getattr(torch, kind)
    frames = Buffers((BATCH, *CONFIG_SHAPE), "uint8", keep=1).take()
    out = Buffers((BATCH, *CONFIG_SHAPE), kind, keep=1).take()
    forms = torch_forms(torch.from_numpy(frames), dtype)
    store.strided(0, frames)
    store.ours(0, out, kind, threads)
    for form in forms.values():
        check_equal(torch.from_numpy(out).view(dtype), form())

    def theirs(form: Callable[[], Tensor]) -> Peer:
        def peer(k: int) -> None:
            store.strided(k, frames)
            form()

        return peer

    peers: dict[str, Peer] = {"fastvd": lambda k: store.ours(k, out, kind, threads)}
    peers |= {f"PyTorch, {name}": theirs(form) for name, form in forms.items()}
    clock = time.process_time if threads == 1 else time.perf_counter
    rates = timed(peers, rounds=rounds, turns=4, clock=clock)
    facts = {"dtype": kind, "threads": threads, "clock": "CPU time" if threads == 1 else "wall"}
    return record(f"{kind}, {threads} thread{'s' * (threads > 1)}", rates, **facts)


def bench_decoding(cached: ClipLoader, plain: ClipLoader, rounds: int) -> dict[str, Any]:
    """What a cached clip costs against one that is decoded, by CPU time on one core."""
    one, other = cached.stream(), plain.stream()
    a, b = next(one), next(other)
    check_equal(torch.from_numpy(a.clip), torch.from_numpy(b.clip))
    peers: dict[str, Peer] = {
        "fastvd": lambda _: read(one, _CACHED_TURNS),
        "decoded each time": lambda _: read(other, 1),
    }
    rates = timed(peers, rounds=rounds, turns=1, clock=time.process_time)
    rates["fastvd"] = [_CACHED_TURNS * rate for rate in rates["fastvd"]]
    return record("cached against decoded, one core", rates, clock="CPU time")


def bench_workers(clips: ClipDataset, name: str, batches: int, rounds: int) -> dict[str, Any]:
    """Two threads that read against one, by the clock on the wall; each from a standing start."""

    def peer(workers: int) -> Peer:
        def run(k: int) -> None:
            stream = loader(clips, workers=workers).stream(batches * k)
            read(stream, batches)
            stream.close()

        return run

    peers = {"fastvd": peer(2), "one worker": peer(1)}
    rates = timed(peers, rounds=rounds, turns=1, clock=time.perf_counter)
    rates = {name: [batches * rate for rate in taken] for name, taken in rates.items()}
    return record(f"{name}, two workers against one", rates, clock="wall")


def read(batches: Iterator[Batch], count: int) -> None:
    """Take batches and let each go before the next, as a training step does."""
    for batch in itertools.islice(batches, count):
        del batch


def loader(clips: ClipDataset, *, workers: int) -> ClipLoader:
    """Batches of uint8."""
    return ClipLoader(clips, batch_size=BATCH, workers=workers, output="numpy")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_forms_of_the_peer_agree(dtype: torch.dtype) -> None:
    batch = torch.arange(2 * 2 * 8 * 8 * 3).view(2, 2, 8, 8, 3).to(torch.uint8)
    wanted = to_network_twin(batch, dtype=dtype)
    for form in torch_forms(batch, dtype).values():
        assert torch.equal(form(), wanted)


def cases(folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Make the videos and the stores in ``folder``, then each case in turn."""
    (folder / "videos").mkdir()
    make_videos(folder / "videos", count=10, frames=2000)
    prepare_cache(folder / "videos", folder / "cache", CONFIG)
    store = Store(folder / "videos", folder / "store.bin")
    plain = ClipDataset(folder / "videos", CONFIG)
    cached = ClipDataset(folder / "videos", CONFIG, cache=folder / "cache")
    yield bench_uint8(store, loader(cached, workers=0), rounds)
    for kind in ("float32", "float16", "bfloat16"):
        for threads in (1, THREADS):
            yield bench_floats(store, kind, threads, rounds)
    yield bench_decoding(loader(cached, workers=0), loader(plain, workers=0), rounds)
    yield bench_workers(cached, "cached uint8", 200, rounds)
    yield bench_workers(plain, "decoded uint8", 4, rounds)


def main() -> None:
    """Time all cases and write the records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for entry in cases(Path(folder), arguments.rounds):
            write_records([entry], packages=("torch", "numpy", "av"))
            print(entry["case"], entry["fastvd_is_faster_by"], entry["peers"], flush=True)


if __name__ == "__main__":
    main()
