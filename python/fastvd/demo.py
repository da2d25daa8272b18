"""``fastvd demo``: small videos, two trained stages, one GIF, in minutes on a CPU."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastvd import presets
from fastvd.data import ClipConfig, ClipDataset
from fastvd.data.scan import find_videos
from fastvd.data.synthetic import write_shape_videos
from fastvd.generate import TwoStage, seeded
from fastvd.media import read_gif, write_gif
from fastvd.media.grid import strip, tile
from fastvd.media.write import write_png, write_video
from fastvd.train.log import read_log
from fastvd.train.stop import Stop, StopRequested

# and the preset of each
STAGES = {"base": "tiny", "interpolator": "tiny_interpolator"}
SEED = 0
NUM_CLIPS = 16
COLUMNS = 4
FPS = 8.0
# 5 key frames to 9 and to 17
DOUBLINGS = 2
# clips of 32 x 32 are shown this much larger
ZOOM = 3

Frames = npt.NDArray[np.uint8]


def run(videos: Path | str | None, out: Path) -> int:
    """Train both stages on ``videos`` (default: moving shapes), generate, write into ``out``.

    Returns 0 only if both losses fell and the GIF reads back with the right number of frames.
    """
    if videos is not None:
        find_videos(videos)
    # a demo starts afresh: it would go on with the runs of an earlier one
    for name in ("runs", "videos"):
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    if videos is None:
        videos = out / "videos"
        write_shape_videos(videos, seed=SEED)
    status = train_stages(videos, out / "runs")
    if status != 0:
        return status
    print(f"drawing {NUM_CLIPS} clips", flush=True)
    pipeline = TwoStage.from_pretrained(
        out / "runs" / "base", interpolator=out / "runs" / "interpolator"
    )
    drawn = pipeline(num_clips=NUM_CLIPS, doublings=DOUBLINGS, generator=seeded(SEED))
    _write(drawn, _real_clips(videos, frames=drawn.shape[1]), out)
    return _judge(out, frames=drawn.shape[1])


def train_stages(videos: Path | str, runs: Path, *, seed: int = SEED) -> int:
    """Train both stages into ``runs``, side by side on half of the cores each; return a status.

    Threads that share a step wait for each other at every operation, and for long where another
    program takes a core; two runs of one thread each lose no more than their share. The base's
    progress is shown, the interpolator's log only if it fails, which ends the base too.
    """
    runs.mkdir()
    print(
        f"training the base (below) and the interpolator ({runs / 'interpolator.log'})", flush=True
    )
    threads = max(1, (os.cpu_count() or 1) // 2)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    stages = []
    with (runs / "interpolator.log").open("w") as log:
        for (name, preset), output in zip(STAGES.items(), (None, log), strict=True):
            command = [sys.executable, "-m", "fastvd", "train", "--config", preset]
            command += ["--videos", str(videos), "--run_dir", str(runs / name)]
            # a folder of a user's own may hold anything: what is no video is left out
            command += ["--on_error", "replace", "--seed", str(seed)]
            stages.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
    codes: list[int | None] = [None]
    try:
        # SIGTERM would leave both behind
        with Stop() as stop, stop.breakable():
            while None in codes and not any(codes):
                time.sleep(0.1)
                codes = [stage.poll() for stage in stages]
    except StopRequested:
        raise KeyboardInterrupt from None
    finally:
        for stage in stages:
            stage.terminate()
            stage.wait()
    if codes[1]:
        print((runs / "interpolator.log").read_text(), file=sys.stderr)
    return next((abs(code) for code in codes if code), 0)


def _real_clips(videos: Path | str, *, frames: int) -> list[Frames]:
    """Return as many real clips as the strip has rows for, of the same length as the drawn."""
    config = ClipConfig(frames=frames, stride=1, size=presets.tiny().clips.size)
    clips = ClipDataset(videos, config, seed=SEED, on_error="replace")
    return [clips[i % len(clips)].clip for i in range(COLUMNS)]


def _write(drawn: Frames, real: list[Frames], out: Path) -> None:
    grid = _zoomed(tile(drawn, columns=COLUMNS))
    write_gif(out / "demo.gif", grid, fps=FPS)
    write_video(out / "demo.mp4", grid, fps=FPS)
    write_png(out / "strip.png", _zoomed(strip([*real, *drawn[:COLUMNS]])))
    _plot_losses(out)
    for name in ("demo.gif", "demo.mp4", "strip.png", "loss.png"):
        print(out / name)


def _zoomed(frames: Frames) -> Frames:
    """Repeat each pixel: ``frames`` [..., H, W, C]."""
    return frames.repeat(ZOOM, axis=-3).repeat(ZOOM, axis=-2)


def _plot_losses(out: Path) -> None:
    # matplotlib takes half a second to import, which only the demo should pay
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for stage in STAGES:
        records = _losses(out, stage)
        axes.semilogy([r["step"] for r in records], [r["loss"] for r in records], label=stage)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.legend()
    figure.savefig(out / "loss.png", dpi=120)


def _judge(out: Path, *, frames: int) -> int:
    """Print what was reached; return 0 only if it is what the demo promises."""
    is_falling = True
    for stage in STAGES:
        losses = [record["loss"] for record in _losses(out, stage)]
        tenth = max(1, len(losses) // 10)
        first, last = np.mean(losses[:tenth]), np.mean(losses[-tenth:])
        is_falling &= bool(last < first)
        print(f"{stage}: loss {first:.4f} to {last:.4f}")
    read_back = len(read_gif(out / "demo.gif").frames)
    if not is_falling:
        print("a loss did not fall")
    if read_back != frames:
        print(f"demo.gif has {read_back} frames, not {frames}")
    return 0 if is_falling and read_back == frames else 1


def _losses(out: Path, stage: str) -> list[dict[str, Any]]:
    return [r for r in read_log(out / "runs" / stage) if r.get("loss") is not None]
