"""The fuzz targets of ``rust/fuzz`` under AddressSanitizer.

Needs nightly Rust and cargo-fuzz: ``cargo install cargo-fuzz``.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastvd.media.gif import write_gif
from robust.seeds import moving_frames

ROOT = Path(__file__).parents[2]
CARGO = ("cargo", "+nightly", "fuzz")
FOLDER = ("--fuzz-dir", "rust/fuzz")


def fuzz_all(*, seconds: int, seed: int) -> Iterator[dict[str, Any]]:
    """Each target for a while; what it found stays in ``rust/fuzz/corpus`` and ``artifacts``."""
    build = subprocess.run([*CARGO, "build", *FOLDER], cwd=ROOT, capture_output=True, text=True)
    if build.returncode != 0:
        raise SystemExit(build.stderr)
    sow_gifs(ROOT / "rust" / "fuzz" / "corpus" / "gif_in")
    listed = subprocess.run(
        [*CARGO, "list", *FOLDER], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for target in listed.stdout.split():
        # libFuzzer takes 0 as "any"
        options = [f"-max_total_time={seconds}", f"-seed={seed + 1}", "-print_final_stats=1"]
        command = [*CARGO, "run", *FOLDER, target, "--", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
        coverage = re.findall(r" cov: (\d+)", done.stderr)
        yield {
            "target": target,
            "of": int(runs[1]) if runs else 0,
            "panics": int(done.returncode != 0),
            "seconds": seconds,
            "coverage": int(coverage[-1]) if coverage else 0,
            "sanitizer": "address, leak",
        }


def sow_gifs(corpus: Path) -> None:
    """Small sound GIFs to start from: chance alone takes long to get past a header."""
    corpus.mkdir(parents=True, exist_ok=True)
    frames = moving_frames(3, height=5, width=7)
    for palette in ("global", "local"):
        write_gif(corpus / f"{palette}.gif", frames, fps=10, colors=8, palette=palette)
    clear = frames.repeat(2, axis=0)
    clear[1:4, 1:3] = 0
    write_gif(corpus / "still.gif", clear, fps=10, loop=2, colors=4)
