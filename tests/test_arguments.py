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
        "crop must be a tuple or a list, got 0.5": lambda: fastvd.AugmentConfig(crop=0.5),
        "each of crop must be a number, got '1'": lambda: fastvd.AugmentConfig(crop=(0.5, "1")),
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


def test_networks_and_processes_name_the_argument(tmp_path: Path) -> None:
    preset = fastvd.presets.tiny()
    process, clips = fastvd.Process(preset.process), preset.clips
    pipeline = fastvd.TwoStage(abs, process, clips=clips)
    pretrained = fastvd.TwoStage.from_pretrained
    calls: dict[str, Any] = {
        "config must be a VideoUNetConfig, got TrainConfig: it has one, .network": lambda: (
            fastvd.VideoUNet(preset)
        ),
        "config must be a ProcessConfig, got TrainConfig: it has one, .process": lambda: (
            fastvd.Process(preset)
        ),
        "config must be a ColdConfig, got ProcessConfig": lambda: fastvd.ColdProcess(
            preset.process
        ),
        "base_network must be callable, got None": lambda: fastvd.TwoStage(
            None, process, clips=clips
        ),
        "base_process must be a Process, got ProcessConfig": lambda: fastvd.TwoStage(
            abs, preset.process, clips=clips
        ),
        "interpolator_process must be a ColdProcess, got 5": lambda: fastvd.TwoStage(
            abs, process, clips=clips, interpolator_network=abs, interpolator_process=5
        ),
        "clips must be a ClipConfig, got TrainConfig: it has one, .clips": lambda: fastvd.TwoStage(
            abs, process, clips=preset
        ),
        "base must be a str or a Path, got 5": lambda: pretrained(5),
        "num_clips must be a whole number, got 2.5": lambda: pipeline(num_clips=2.5),
        "batch_size must be a whole number, got '2'": lambda: pipeline(batch_size="2"),
        "doublings must be a whole number, got 1.5": lambda: pipeline(doublings=1.5),
        "generator must be a torch.Generator, got 0": lambda: pipeline(generator=0),
        "seeds must be whole numbers, got [1.5]": lambda: pipeline(seeds=[1.5]),
        "cond must be a torch.Tensor, got [[1]]": lambda: pipeline(cond=[[1]]),
        "network must be a VideoUNetConfig, got TrainConfig: it": lambda: fastvd.TrainConfig(
            clips=clips, network=preset, process=preset.process
        ),
        "process must be ProcessConfig or ColdConfig, got None": lambda: fastvd.TrainConfig(
            clips=clips, network=preset.network, process=None
        ),
        "run_dir must be a str or a Path, got 5": lambda: fastvd.Trainer(
            preset, videos=tmp_path, run_dir=5
        ),
        "videos must be a path or a list of them, got 5": lambda: fastvd.Trainer(
            preset, videos=5, run_dir=tmp_path
        ),
        "path must be a str or a Path, got None": lambda: fastvd.load_config(
            None, fastvd.TrainConfig
        ),
        "name must be a str, got None": lambda: fastvd.presets.get(None),
        "state_dict must be a Mapping, got 'x.pt'": lambda: fastvd.models.from_lucidrains("x.pt"),
        "config must be a config, got None": lambda: fastvd.save_config(tmp_path / "c", None),
        "cls must be the class of a config, got <class 'dict'>": lambda: fastvd.load_config(
            tmp_path / "c", dict
        ),
    }
    for text, call in calls.items():
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value).startswith(text)


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
