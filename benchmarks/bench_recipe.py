"""What the demo's recipe draws: coherent clips of sixteen, on several seeds.

``python benchmarks/bench_recipe.py`` makes the demo's videos, trains both stages of the ``tiny``
presets on them and draws a 4 x 4 grid of 17-frame clips, all from one seed, for each of
``--seeds``. It writes the grid (GIF) and a strip of every clip (PNG) into out/recipe, a record
into results/, and fails if fewer than 12 of 16 clips of a seed are coherent.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coherence import judge
from numpy.typing import NDArray
from report import RESULTS, write_records

from fastvd import demo, presets
from fastvd.data import ClipConfig, ClipDataset
from fastvd.data.synthetic import write_shape_videos
from fastvd.generate import TwoStage
from fastvd.media import write_gif, write_png
from fastvd.media.grid import strip, tile

PICTURES = Path(__file__).parents[1] / "out" / "recipe"
CLIPS = 16
COLUMNS = 4
DOUBLINGS = 2
WANTED = 12
FPS = 10.0
ZOOM = 2


def draw(runs: Path, seed: int) -> NDArray[np.uint8]:
    """Draw clips uint8 [N, T, H, W, 3] from the stages in ``runs``."""
    pipeline = TwoStage.from_pretrained(runs / "base", interpolator=runs / "interpolator")
    generator = torch.Generator().manual_seed(seed)
    return pipeline(num_clips=CLIPS, doublings=DOUBLINGS, generator=generator)


def check_real(videos: Path, *, frames: int) -> None:
    """Real clips of the videos must all be coherent, else the check is worth nothing."""
    clips = ClipDataset(videos, ClipConfig(frames=frames, size=32))
    wrong = [clip.source for clip in map(clips.__getitem__, range(CLIPS)) if judge(clip.clip).fault]
    if wrong:
        raise SystemExit(f"the check fails real clips: {wrong}")


def measure(seed: int, out: Path) -> dict[str, Any]:
    """The record of one seed, whose runs go into ``out``."""
    start = time.perf_counter()
    write_shape_videos(out / "videos", seed=seed)
    if demo.train_stages(out / "videos", out / "runs", seed=seed) != 0:
        raise SystemExit("training failed")
    drawing = time.perf_counter()
    clips = draw(out / "runs", seed)
    end = time.perf_counter()
    check_real(out / "videos", frames=clips.shape[1])
    verdicts = [judge(clip) for clip in clips]
    write_pictures(clips, PICTURES / f"seed{seed}")
    return {
        "suite": "recipe",
        "case": f"seed {seed}",
        "clips": CLIPS,
        "coherent": sum(verdict.fault is None for verdict in verdicts),
        "faults": dict(Counter(v.fault for v in verdicts if v.fault)),
        "kinds": dict(Counter(v.kind for v in verdicts if v.kind)),
        "steps": [presets.tiny().steps, presets.tiny_interpolator().steps],
        "minutes": round((end - start) / 60, 2),
        "drawing_s": round(end - drawing, 1),
    }


def write_pictures(clips: NDArray[np.uint8], stem: Path) -> None:
    """Write the moving grid and every clip's frames in a row."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    grid = tile(clips, columns=COLUMNS)
    write_gif(stem.with_suffix(".gif"), grid.repeat(ZOOM, 1).repeat(ZOOM, 2), fps=FPS)
    write_png(stem.with_suffix(".png"), strip(list(clips)))


def main() -> int:
    """Measure the seeds of the command line; 1 if one of them falls short."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="keep the runs here, a folder for each seed")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    status = 0
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            # a folder of its own: training would go on with what an old one holds
            out = (arguments.out or Path(scratch)) / f"seed{seed}"
            out.mkdir(parents=True)
            record = measure(seed, out)
        write_records([record], packages=["torch"])
        print(record, flush=True)
        status |= record["coherent"] < WANTED
    return status


if __name__ == "__main__":
    sys.exit(main())
