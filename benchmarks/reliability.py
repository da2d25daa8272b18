"""Takes the figures of reliability and keeps them in ``results/reliability.json``.

``python benchmarks/reliability.py --videos FOLDER R1 R4 R5 ffmpegs`` takes the named figures, each
as "n of N" with its seed; without names those that need nothing but fastvd. R2 is fuzzing, R6
memory under valgrind, miri and R17 GIFs in a browser: ``robust/`` says what each needs. A
file on which a reader fails is kept in ``tests/reliability/files``, where the tests read it.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import write_records
from robust import browser, ffmpegs, fuzz, memcheck
from robust.damage import damage
from robust.exact import check_file
from robust.oddities import make_oddities
from robust.pool import Answer, Worker, read_all
from robust.seeds import FORMATS, make_seed

ROOT = Path(__file__).parents[1]
FAILED = ROOT / "tests" / "reliability" / "files"
LARGEST_KEPT = 100_000
"""Bytes of a file that may be kept in the repository."""
VIDEO_SUFFIXES = {".avi", ".mkv", ".mov", ".mp4", ".ts", ".webm"}
Record = dict[str, Any]


def damaged(folder: Path, seed: int, count: int, reader: str) -> Iterator[Record]:
    """R1: damaged files end in frames or in one typed error that names the file."""
    for name in FORMATS:
        sound = make_seed(folder, name)
        paths = [folder / f"{name}-{seed}-{i}{sound.suffix}" for i in range(count)]
        for i, path in enumerate(paths):
            path.write_bytes(damage(sound.read_bytes(), np.random.default_rng([seed, i])))
        # memory comes to its height in three rounds, what the fourth adds is leaked
        answers = list(read_all(paths * 4, reader=reader, workers=1))
        first = answers[:count]
        for path, _ in (pair for pair in first if not is_clean(*pair)):
            if path.stat().st_size < LARGEST_KEPT:
                shutil.copy(path, FAILED)
        yield {
            "case": f"R1 {name} {reader}",
            "of": count,
            "clean": sum(is_clean(*pair) for pair in first),
            "crashes": sum("crash" in answer for _, answer in first),
            "hangs": sum("hang" in answer for _, answer in first),
            "decoded": sum("frames" in answer for _, answer in first),
            "decoded_alike_at_random": sum(answer.get("is_exact", False) for _, answer in first),
            "slowest_s": round(max(answer.get("seconds", 0) for _, answer in first), 2),
            "growth_mib": growth_mib(answers[3 * count - 1][1], answers[-1][1]),
        }
        for path in paths:
            path.unlink()


def is_clean(path: Path, answer: Answer) -> bool:
    """Whether a file ended in frames, or in one typed error that names it."""
    if "frames" in answer:
        return True
    return "text" in answer and "is_untyped" not in answer and path.name in answer["text"]


def exact(folder: Path, seed: int, reads: int, videos: Path) -> Iterator[Record]:
    """R4: random reads against a full decode."""
    real = sorted(path for path in videos.iterdir() if path.suffix in VIDEO_SUFFIXES)
    for path in [*make_oddities(folder), *real]:
        found = check_file(path, reads=reads, rng=np.random.default_rng(seed))
        yield {
            "case": f"R4 {path.name}",
            "of": found.reads,
            "wrong": found.wrong,
            "frames": found.frames,
            "frames_unlike_pyav": found.unlike_pyav,
        }


def memory(folder: Path, count: int) -> Iterator[Record]:
    """R5: memory, files and threads after opening and dropping clips many times."""
    sound = [make_seed(folder, name) for name in FORMATS]
    for path in sound:
        # a frame table is kept only of files that have settled
        os.utime(path, (1, 1))
    names = [sound[i % len(sound)] for i in range(count)]
    for case, paths in (("same", names), ("different", linked(folder, names))):
        worker = Worker("rust")
        answers = [worker.read(path, timeout_s=20) for path in paths]
        worker.close()
        settled = answers[count // 5 :]
        yield {
            "case": f"R5 {case} clips",
            "of": count,
            "read": sum("frames" in answer for answer in answers),
            "growth_mib": growth_mib(settled[0], settled[-1]),
            "files": sorted({answer["files"] for answer in settled}),
            "threads": sorted({answer["threads"] for answer in settled}),
        }


def linked(folder: Path, paths: list[Path]) -> list[Path]:
    """A name of its own for each path."""
    links = [folder / f"link-{i}{path.suffix}" for i, path in enumerate(paths)]
    for link, path in zip(links, paths, strict=True):
        link.hardlink_to(path)
    return links


def growth_mib(before: Answer, after: Answer) -> float:
    """By how much the resident memory grew."""
    return round((after.get("rss", 0) - before.get("rss", 0)) / 2**20, 2)


def versions(folder: Path, videos: Path) -> Iterator[Record]:
    """Each FFmpeg against its own PyAV."""
    real = sorted(path for path in videos.iterdir() if path.suffix in VIDEO_SUFFIXES)
    for major, found in ffmpegs.compare_all(folder, real).items():
        yield {"case": f"FFmpeg {major}", **found}


def memory_checks(folder: Path, videos: Path) -> Iterator[Record]:
    """R6: the Rust tests and the extension under valgrind."""
    for row in memcheck.check_tests(folder):
        yield {"case": f"R6 valgrind, tests {row.pop('program')}", **row}
    real = sorted(path for path in videos.iterdir() if path.suffix in VIDEO_SUFFIXES)
    for row in memcheck.check_calls(folder, real):
        yield {"case": f"R6 valgrind, extension, {row.pop('called')}", **row}


def in_browser(folder: Path, videos: Path) -> Iterator[Record]:
    """R17: GIFs in Chromium."""
    rows = list(browser.compare_all(folder, sorted(videos.glob("*.gif"))))
    wrong = [row for row in rows if "error" in row or any(row[key] for key in browser.FAULTS)]
    for row in wrong:
        print(row, flush=True)
    yield {
        "case": "R17 browser",
        "of": len(rows),
        "alike": len(rows) - len(wrong),
        "frames": sum(row.get("frames", 0) for row in rows),
        "browser": browser.browser_version(),
    }


def main() -> None:
    """Take figures and write each down as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help="R1, R2, R4, R5, R6, R17, ffmpegs, miri")
    parser.add_argument("--videos", type=Path, required=True, help="folder of real videos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000, help="damaged files a format, reads")
    options = parser.parse_args()
    seed, count, videos = options.seed, options.count, options.videos.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "R1": lambda: damaged(folder, seed, count, "rust"),
            "R1 twin": lambda: damaged(folder, seed, count // 5, "twin"),
            "R4": lambda: exact(folder, seed, count, videos),
            "R5": lambda: memory(folder, 5 * count),
            "ffmpegs": lambda: versions(folder, videos),
        }
        more = {
            "R2": lambda: (
                {"case": f"R2 {row.pop('target')}", **row}
                for row in fuzz.fuzz_all(seconds=60, seed=seed)
            ),
            "R6": lambda: memory_checks(folder, videos),
            "R17": lambda: in_browser(folder, videos),
            "miri": lambda: (
                {"case": f"R6 Miri {row.pop('case')}", **row} for row in memcheck.check_by_miri()
            ),
        }
        for figure in options.figures or figures:
            for record in (figures | more)[figure]():
                print(record, flush=True)
                record |= {"suite": "reliability", "seed": seed}
                write_records([record], packages=["av", "numpy", "pillow"], name="reliability")


if __name__ == "__main__":
    main()
