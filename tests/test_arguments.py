"""An argument of the wrong kind raises TypeError that names it and what came."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastvd

CLIP = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start", "3"),
        ("start", 1.5),
        ("start", None),
        ("frames", "3"),
        ("stride", "2"),
        ("threads", "2"),
        ("stream", "0"),
        ("size", "64"),
        ("size", 64.0),
        ("size", ("64", "64")),
        ("crop", 5),
        ("crop", (0, 0, "4", 4)),
        ("grey", "yes"),
    ],
)
def test_read_clip_names_the_argument(
    reader: str, counting_video: Path, name: str, value: Any
) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be") as caught:
        fastvd.read_clip(counting_video, **{name: value})
    assert str(caught.value).endswith(f"got {value!r}")


def test_numbers_of_numpy_are_numbers(reader: str, counting_video: Path) -> None:
    two, side = np.int64(2), np.array([16, 16])
    clip = fastvd.read_clip(counting_video, start=two, frames=two, size=side, grey=np.bool_(True))
    assert clip.shape == (2, 16, 16, 1)
    at = fastvd.clip_at(counting_video, np.float32(0.5), frames=1, fps=np.float64(5))
    assert at.shape == (1, 32, 48, 3)


def test_other_functions_name_the_argument(counting_video: Path, tmp_path: Path) -> None:
    config = fastvd.ClipConfig(frames=4, size=16)
    clips = fastvd.ClipDataset(counting_video, config)
    path, out = counting_video, tmp_path / "out.mp4"
    calls: dict[str, Any] = {
        "path must be a str or a Path, got 5": lambda: fastvd.probe(5),
        "path must be a str or a Path, got b'a'": lambda: fastvd.read_gif(b"a"),
        "indices must be whole numbers, got '12'": lambda: fastvd.read_frames(path, "12"),
        "seconds must be a number, got '1'": lambda: fastvd.clip_at(path, "1", frames=2),
        "frames must be a whole number, got '2'": lambda: fastvd.iter_clips(path, frames="2"),
        "config must be a ClipConfig, got 8": lambda: fastvd.ClipDataset(path, 8),
        "videos must be a path or a list": lambda: fastvd.ClipDataset(5, config),
        "cache must be a folder": lambda: fastvd.ClipDataset(path, config, cache=5),
        "seed must be a whole number": lambda: fastvd.ClipDataset(path, config, seed="a"),
        "timeout_s must be a number": lambda: fastvd.ClipDataset(path, config, timeout_s="a"),
        "max_bad must be a number": lambda: fastvd.ClipDataset(path, config, max_bad="a"),
        "size must be a whole number": lambda: fastvd.ClipConfig(size=(64, 64)),
        "grey must be True or False, got 'no'": lambda: fastvd.ClipConfig(grey="no"),
        "augment must be an AugmentConfig, got {": lambda: fastvd.ClipConfig(augment={"flip": 1}),
        "flip must be a number, got '1'": lambda: fastvd.AugmentConfig(flip="1"),
        "saturation must be a number": lambda: fastvd.AugmentConfig(saturation=None),
        "crop must be two shares, smaller first, got 0.5": lambda: fastvd.AugmentConfig(crop=0.5),
        "crop must be two shares": lambda: fastvd.AugmentConfig(crop=(0.5,)),
        "crop must be a number, got '1'": lambda: fastvd.AugmentConfig(crop=(0.5, "1")),
        "config must be a TrainConfig, got 'tiny'": lambda: fastvd.Trainer(
            "tiny", videos=path, run_dir=tmp_path / "r"
        ),
        "limits must be a Limits, got 5": lambda: fastvd.set_limits(5),
        "max_ratio must be a number": lambda: fastvd.Limits(max_ratio="a"),
        "clips must be a ClipDataset": lambda: fastvd.ClipLoader(path, batch_size=1),
        "batch_size must be a whole": lambda: fastvd.ClipLoader(clips, batch_size="8"),
        "shard must be (rank, world)": lambda: fastvd.ClipLoader(clips, batch_size=1, shard=3),
        "fps must be a number, got '3'": lambda: fastvd.write_video(out, CLIP, fps="3"),
        "quality must be a whole": lambda: fastvd.write_video(out, CLIP, fps=3, quality="3"),
        "stride must be a whole": lambda: fastvd.extract_frames(path, tmp_path, stride="3"),
    }
    for text, call in calls.items():
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value).startswith(text)
    assert not out.exists()


def test_misspelt_names_are_told() -> None:
    code = "import fastvd; fastvd.ClipDatset"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Did you mean: 'ClipDataset'?" in done.stderr


def test_a_writer_of_another_name_tells_who_writes_it(tmp_path: Path) -> None:
    for name, write, hint in (
        ("clip.webp", fastvd.write_video, "; write_webp writes .webp"),
        ("clip.mp4", fastvd.write_gif, "; write_video writes .mp4"),
        ("clip.avi", fastvd.write_video, "name it so"),
    ):
        with pytest.raises(ValueError, match=r"what is written is a") as caught:
            write(tmp_path / name, CLIP, fps=5)
        assert str(caught.value).endswith(hint)
