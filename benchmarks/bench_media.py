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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from media.cases import CASES, QUICK, Case
from media.compare import compare
from media.files import DEFAULT_FOLDER, find_file
from media.peers import make_environment, versions, workers
from media.readers import READERS
from report import write_records


def measure(cases: Iterable[Case], readers: list[str], folder: Path, python: Path) -> Iterable[Any]:
    """Yield the record of each case."""
    for case in cases:
        path = find_file(case.file, folder)
        # processes that have read large files do not slow the next case
        with workers(python) as started:
            yield compare(case, path, readers, started)


def line(record: dict[str, Any]) -> str:
    """Return a case's figures as one line."""
    shown = [f"{name} {peer['ms']:g} ({peer['cpu_ms']:g})" for name, peer in _sorted(record)]
    wrong = [f"{name}: {text}" for name, text in record["wrong"].items()]
    head = f"{record['case']}: {record['ratio']}x of {record['best_peer']}, must {record['must']}"
    return "\n    ".join([head, "ms (CPU ms): " + ", ".join(shown), *wrong])


def _sorted(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(record["peers"].items(), key=lambda item: item[1]["ms"])


def main() -> int:
    """Time the cases of the command line, and write the records."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cases, as in clip64*720p*")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--quick", action="store_true", help="one file of each job, few rounds")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="keeps the files made")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="has the extra `peers`")
    arguments = parser.parse_args()
    python = arguments.peers or make_environment(arguments.folder / "peers")
    installed = versions(python)
    readers = [r for r in arguments.readers if r.split(",")[0] in ("fastvd", *installed)]
    print(f"readers: {readers}; {installed}", flush=True)
    cases = [c for c in (QUICK if arguments.quick else CASES)]
    cases = [c for c in cases if fnmatch.fnmatch(c.title, f"{arguments.only}*")]
    start = time.perf_counter()
    for record in measure(cases, readers, arguments.folder, python):
        print(f"[{time.perf_counter() - start:.0f} s] {line(record)}", flush=True)
        if not arguments.no_record:
            record["versions"] = installed
            write_records([record], packages=["av", "numpy"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
