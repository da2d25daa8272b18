import re
import shlex
from pathlib import Path

import pytest
import torch
from video_diffusion_pytorch import GaussianDiffusion, Unet3D

import fastvd
from fastvd import cli
from fastvd.data.synthetic import moving_shapes

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^\| .*\| `fastvd (.*)` \|$", README, re.MULTILINE)
# a real run is long: the examples train two steps
SHORT = ["--steps", "2", "--batch_size", "2", "--sample_clips", "1"]
SMALL = shlex.split("--dim 8 --mults 1 --batch 1 --frames 2 --size 8 --dtype float32 --eager_only")


@pytest.fixture(scope="module")
def reader_folder(tmp_path_factory):
    """What the README's reader has: videos, a foreign checkpoint, and an interpolator's run."""
    folder = tmp_path_factory.mktemp("readme")
    clips = moving_shapes(4, frames=40, size=32, seed=0)
    (folder / "videos").mkdir()
    for i, clip in enumerate(clips):
        fastvd.write_video(folder / "videos" / f"{i}.mp4", clip, fps=10)
    fastvd.write_video(folder / "video.mp4", clips[0], fps=10)
    foreign = GaussianDiffusion(Unet3D(dim=8, dim_mults=(1, 2)), image_size=16, num_frames=3)
    torch.save({"model": foreign.state_dict()}, folder / "model-10.pt")
    run = ["--config", "tiny_interpolator", "--run_dir", str(folder / "runs" / "interpolator")]
    assert cli.main(["train", *run, "--videos", str(folder / "videos"), *SHORT]) == 0
    return folder


def test_python_examples_run_in_turn(reader_folder, monkeypatch):
    monkeypatch.chdir(reader_folder)
    assert len(EXAMPLES) > 3
    for example in EXAMPLES:
        exec(compile(example, "README.md", "exec"), {})


def test_every_command_has_an_example_that_runs(reader_folder, monkeypatch, capsys):
    monkeypatch.chdir(reader_folder)
    monkeypatch.setattr("builtins.input", lambda _: "")
    done = set()
    for line in COMMANDS:
        command, *rest = shlex.split(line)
        done.add(command)
        argv = rest[: rest.index(">")] if ">" in rest else rest
        if command == "train":
            argv += SHORT
        if command == "bench":
            argv += SMALL
        # the demo takes minutes and is what `x.py demo` shows
        if command != "demo":
            assert cli.main([command, *argv]) == 0, line
    assert (reader_folder / "kernels.png").stat().st_size > 1000
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert done == set(re.findall(r"^    ([a-z-]+)\b", capsys.readouterr().out, re.MULTILINE))
