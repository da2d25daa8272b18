"""fastvd's video reader against PyAV, torchcodec, video-reader-rs, decord, OpenCV and ffmpeg.

``python benchmarks/bench_media.py`` makes the files and an environment with the peers (the extra
``peers``) on its first run, checks that each reader gives the same frames, times the readers in
turns, each in a process of its own, and writes results/<device>.json and a plot. pytest runs every
job once, with fastvd and PyAV alone, and the checks.
"""

import argparse
import fnmatch
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import many
from media.agree import fault, reference
from media.cases import CASES, QUICK, Case
from media.compare import CHECKED, Entry, Times, compare, is_ours, make_record
from media.files import DEFAULT_FOLDER, find_file
from media.peers import Workers, make_environment, versions, workers
from media.plot import draw
from media.readers import READERS
from report import write_records


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of 80 frames: a bar that moves by a pixel a frame."""
    path = tmp_path_factory.mktemp("media") / "counting.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", 25, width=128, height=96, pix_fmt="yuv420p")
        for i in range(80):
            pixels = np.full((96, 128, 3), 40, np.uint8)
            pixels[:, i : i + 32] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def started() -> Iterator[Workers]:
    # PyAV, the one peer that fastvd brings along, is here as well
    with workers(Path(sys.executable)) as started:
        yield started


@pytest.mark.parametrize("name", ["clip64", "kept64", "open", "full64", "full", "many64"])
def test_each_job_runs_once(counting: Path, started: Workers, tmp_path: Path, name: str) -> None:
    path = tmp_path if name == "many64" else counting
    for i in range(CHECKED):
        (tmp_path / f"{i}.mp4").symlink_to(counting)
    case = Case(name, path.name, 0, (1.0, 1.0), 64 if "64" in name else None, starts=2, rounds=1)
    record = compare(
        case, path, ["fastvd", "fastvd, first time", "fastvd, loader", "pyav"], started
    )
    assert not record["wrong"]
    assert {case.ours, "pyav"} <= set(record["peers"])
    assert record["best_peer"] == "pyav"


def test_loader_gives_the_frames_that_it_names(counting: Path, tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / f"{i}.mp4").symlink_to(counting)
    batches, starts = many.load(tmp_path)
    frames = many.frames_of(batches)
    # a clip of 31 frames lies twice in 80
    assert len(frames) == len(starts) == 4
    for clip, start in zip(frames, starts, strict=True):
        numbers = many.span(start)
        assert fault(clip, numbers, reference(counting, 64, numbers)) == ""


def test_frames_of_another_number_are_found(counting: Path) -> None:
    truth = reference(counting, 64, range(80))
    frames = np.stack([truth[i] for i in range(80)])
    numbers = list(range(20, 52, 4))
    assert fault(frames[20:52:4], numbers, truth) == ""
    assert fault(frames[21:53:4], numbers, truth) == "frame 21 for 20"
    assert "dB" in fault(frames[60:76:2], numbers, truth)


def test_best_peer_is_the_quickest_at_its_best() -> None:
    case = Case("clip64", "file", 1, (1.0, 1.0))
    seconds = {
        "fastvd": [[1.0, 3.0], [2.0, 2.0]],
        "slow": [[9.0, 9.0], [8.0, 8.0]],
        "quick": [[4.0, 4.0], [6.0, 2.0]],
    }
    times = {Entry(r, "clip", 1): Times(taken, taken) for r, taken in seconds.items()}
    record = make_record(case, 2, times, {})
    assert record["peers"]["quick"]["ms"] == 3000
    assert (record["best_peer"], record["ratio"]) == ("quick", 2.0)


def line(record: dict[str, Any]) -> str:
    """Return a case's figures as one line."""
    ranked = sorted(record["peers"].items(), key=lambda item: item[1]["ms"])
    shown = [f"{name} {peer['ms']:g} ({peer.get('cpu_ms', '-')})" for name, peer in ranked]
    wrong = [f"{name}: {text}" for name, text in record["wrong"].items()]
    ratios = f"{record['ratio']}x (CPU {record['cpu_ratio']}x) of {record['best_peer']}"
    head = f"{record['case']}: {ratios}, must {record['must']}"
    return "\n    ".join([head, "ms (CPU ms): " + ", ".join(shown), *wrong])


def main() -> int:
    """Time the cases of the command line, and write the records."""
    peers = [reader for reader in READERS if not is_ours(reader)]
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases, as in clip64*720p*")
    parser.add_argument("--against", nargs="+", choices=peers, default=peers)
    parser.add_argument("--quick", action="store_true", help="one file of each job, few rounds")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="keeps the files made")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="has the extra `peers`")
    arguments = parser.parse_args()
    python = arguments.peers or make_environment(arguments.folder / "peers")
    installed = versions(python)
    readers = [r for r in READERS if is_ours(r)]
    readers += [r for r in arguments.against if r.split(",")[0] in installed]
    print(f"readers: {readers}; {installed}", flush=True)
    wanted = QUICK if arguments.quick else CASES
    cases = [case for case in wanted if fnmatch.fnmatch(case.title, f"{arguments.only}*")]
    files = {case.file: find_file(case.file, arguments.folder) for case in cases}
    start = time.perf_counter()
    with workers(python) as started:
        for case in cases:
            record = compare(case, files[case.file], readers, started) | {"versions": installed}
            print(f"[{time.perf_counter() - start:.0f} s] {line(record)}", flush=True)
            if not arguments.no_record:
                draw(write_records([record], packages=["av", "numpy"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
