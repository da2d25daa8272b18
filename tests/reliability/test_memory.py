"""Clips that are opened, decoded and dropped leave nothing behind."""

import os
from pathlib import Path

import pytest
from robust.pool import Worker
from robust.seeds import make_seed

MAX_GROWTH = 2 << 20
"""Bytes by which 140 reads may add to the memory of a process that is warm."""


@pytest.mark.parametrize("name", ["mp4-h264", "gif"])
def test_reads_leave_no_memory_files_or_threads_behind(
    rust: None, tmp_path: Path, name: str
) -> None:
    seed = make_seed(tmp_path, name)
    os.utime(seed, (1, 1))
    worker = Worker("rust")
    try:
        answers = [worker.read(seed, timeout_s=30) for _ in range(200)]
    finally:
        worker.close()
    warm = answers[60:]
    assert all("frames" in answer for answer in answers)
    assert warm[-1]["rss"] - warm[0]["rss"] < MAX_GROWTH
    assert len({answer["files"] for answer in warm}) == 1
    # a thread that has ended may be counted a moment longer
    first, last = ([answer["threads"] for answer in part] for part in (warm[:40], warm[-40:]))
    assert min(first) == min(last)
