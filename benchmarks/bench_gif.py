"""GIF files against FFmpeg's two-pass palette and Pillow, written and read, on real clips.

``python benchmarks/bench_gif.py`` encodes and decodes each clip with every peer in turns, in one
process with all cores, and writes a record a clip. Files are judged as Pillow decodes them; the
clips are cut from ../shared/data/video.
"""

import argparse
import io
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from report import RESULTS, write_records
from scipy.ndimage import uniform_filter

from fastvd.media import read_clip, read_gif, write_gif

VIDEOS = Path(__file__).parents[2] / "shared" / "data" / "video"
Clip = NDArray[np.uint8]
Coder = Callable[[Clip, Path], None]

CLIPS: dict[str, Callable[[], Clip]] = {
    "cockatoo 64": lambda: _video("cockatoo_yuv420.mp4", 16, 4, (64, 64)),
    "cockatoo 256": lambda: _video("cockatoo_yuv420.mp4", 16, 4, (256, 256)),
    "nasa 480": lambda: _video("nasa_13013.mp4", 64, 1, (270, 480), start=100),
    "newtonscradle": lambda: read_gif(VIDEOS / "newtonscradle.gif").frames,
}
FILES = ("newtonscradle.gif", "moving-mnist.gif", "banner_partial_frames.gif")


def _video(name: str, frames: int, stride: int, size: tuple[int, int], start: int = 0) -> Clip:
    return read_clip(VIDEOS / name, start=start, frames=frames, stride=stride, size=size)


def by_ffmpeg(clip: Clip, path: Path) -> None:
    """The ffmpeg program's palettegen and paletteuse with their defaults."""
    height, width = clip.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "10"]
    graph = "split[a][b];[a]palettegen[p];[b][p]paletteuse"
    command = ["ffmpeg", "-v", "error", "-y", *source, "-i", "-", "-filter_complex", graph]
    subprocess.run([*command, str(path)], input=clip.tobytes(), check=True)


def by_pyav(clip: Clip, path: Path) -> None:
    """The same graph in PyAV: no program to start, no pipe."""
    height, width = clip.shape[1:3]
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base="1/10")
    split, use = graph.add("split"), graph.add("paletteuse")
    make, sink = graph.add("palettegen"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(make, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for i, array in enumerate(clip):
        frame = av.VideoFrame.from_ndarray(array, format="rgb24")
        frame.pts = i
        source.push(frame)
    source.push(None)
    with av.open(str(path), "w", format="gif") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        for _ in clip:
            container.mux(stream.encode(sink.pull()))
        container.mux(stream.encode(None))


def by_octree(clip: Clip, path: Path) -> None:
    """Pillow's quickest: an octree for each frame, no dither, no search for a smaller file."""
    method, dither = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    first, *rest = [Image.fromarray(f).quantize(256, method=method, dither=dither) for f in clip]
    first.save(path, save_all=True, append_images=rest, duration=100, loop=0, optimize=False)


ENCODERS: dict[str, Coder] = {
    "fastvd": lambda clip, path: write_gif(path, clip, fps=10),
    "fastvd fast": lambda clip, path: write_gif(path, clip, fps=10, quality="fast"),
    "fastvd best": lambda clip, path: write_gif(path, clip, fps=10, quality="best"),
    "PyAV palettegen": by_pyav,
    "Pillow FASTOCTREE": by_octree,
} | ({"ffmpeg palettegen": by_ffmpeg} if shutil.which("ffmpeg") else {})


def pillow_frames(content: bytes) -> Clip:
    """All frames by Pillow."""
    with Image.open(io.BytesIO(content)) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
    return np.stack(frames)


def psnr(shown: Clip, clip: Clip) -> float:
    """Decibels over all pixels and channels."""
    error = np.mean((shown.astype(np.float32) - clip) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def ssim(shown: Clip, clip: Clip) -> float:
    """Mean structural similarity of frames and channels, windows of 7 x 7 (Wang et al. 2004)."""
    values = []
    for a, b in zip(shown.astype(np.float64), clip.astype(np.float64), strict=True):
        windows = np.stack([a, b, a * a, b * b, a * b])
        mean_a, mean_b, aa, bb, ab = uniform_filter(windows, size=(0, 7, 7, 0))
        light = (2 * mean_a * mean_b + 6.5025) / (mean_a**2 + mean_b**2 + 6.5025)
        spread = aa - mean_a**2 + bb - mean_b**2
        values.append(light * (2 * (ab - mean_a * mean_b) + 58.5225) / (spread + 58.5225))
    return float(np.mean(values))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_shows_the_clip(tmp_path: Path, name: str) -> None:
    y, x = np.mgrid[:48, :64]
    frame = np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1).astype(np.uint8)
    clip = np.stack([np.roll(frame, 3 * i, axis=1) for i in range(4)])
    ENCODERS[name](clip, tmp_path / "a.gif")
    shown = pillow_frames((tmp_path / "a.gif").read_bytes())
    assert shown.shape == clip.shape
    assert psnr(shown, clip) > 25
    assert ssim(shown, clip) > 0.8
    assert ssim(clip, clip) == pytest.approx(1)


def take_turns(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each job, one after the other in every round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for i in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: dict[str, list[float]], name: str) -> dict[str, Any]:
    """Median, spread, and how many times as long as fastvd's default it took."""
    quarters = statistics.quantiles(seconds[name], n=4)
    ratios = [a / b for a, b in zip(seconds[name], seconds["fastvd"], strict=True)]
    return {
        "median_ms": round(statistics.median(seconds[name]) * 1e3, 2),
        "quartiles_ms": [round(quarters[0] * 1e3, 2), round(quarters[2] * 1e3, 2)],
        "least_ms": round(min(seconds[name]) * 1e3, 2),
        "fastvd_is_faster_by": round(statistics.median(ratios), 2),
    }


def encode_record(case: str, clip: Clip, folder: Path, rounds: int) -> dict[str, Any]:
    """Times, sizes and closeness of all encoders on a clip."""
    paths = {name: folder / f"{i}.gif" for i, name in enumerate(ENCODERS)}
    jobs = {name: lambda n=name: ENCODERS[n](clip, paths[n]) for name in ENCODERS}
    seconds = take_turns(jobs, rounds)
    peers = {}
    for name, path in paths.items():
        content = path.read_bytes()
        shown = pillow_frames(content)
        near = {"psnr_db": round(psnr(shown, clip), 2), "ssim": round(ssim(shown, clip), 4)}
        peers[name] = summary(seconds, name) | {"kib": round(len(content) / 1024, 1)} | near
    base = {"suite": "gif_encode", "case": case, "shape": list(clip.shape), "rounds": rounds}
    return base | {"peers": peers}


def decode_record(case: str, path: Path, rounds: int) -> dict[str, Any]:
    """Times of Pillow and fastvd on a file, on whose pixels they agree."""
    content = path.read_bytes()
    frames = read_gif(path).frames
    np.testing.assert_array_equal(frames, pillow_frames(content))
    jobs = {"fastvd": lambda: read_gif(path), "Pillow": lambda: pillow_frames(content)}
    seconds = take_turns(jobs, rounds)
    base = {"suite": "gif_decode", "case": case, "shape": list(frames.shape), "rounds": rounds}
    return base | {"peers": {name: summary(seconds, name) for name in jobs}}


def main() -> None:
    """Measure, print and keep the records."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    RESULTS.mkdir(exist_ok=True)
    records = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for case, make in CLIPS.items():
            clip = make()
            records.append(encode_record(case, clip, folder, rounds))
            by_pyav(clip, folder / "a.gif")
            records.append(decode_record(f"{case}, by FFmpeg", folder / "a.gif", rounds))
        records += [decode_record(name, VIDEOS / name, rounds) for name in FILES]
    for record in records:
        print(json.dumps(record, indent=None), flush=True)
    write_records(records, packages=["av", "pillow"])


if __name__ == "__main__":
    main()
