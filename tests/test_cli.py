import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fastvd
from fastvd import cli, config

# a network and a run that take a second
SMALL = ["--network.dim", "8", "--network.mults", "[1, 1]", "--network.head_dim", "8"]
SMALL += ["--network.temporal_head_dim", "8", "--clips.size", "16", "--batch_size", "2"]
SMALL += ["--steps", "2", "--sample_clips", "1", "--held_out_clips", "2"]
SMALL += ["--optim.warmup_steps", "1"]


def run_line(capsys, *argv: str) -> tuple[int, str]:
    """Run a command; return its exit status and what it wrote to stderr."""
    try:
        status = cli.main([str(word) for word in argv])
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, capsys.readouterr().err


@pytest.fixture(scope="module")
def runs(tmp_path_factory, counting_video):
    """A base and an interpolator, two steps each."""
    folder = tmp_path_factory.mktemp("runs")
    for name, preset in (("base", "tiny"), ("interpolator", "tiny_interpolator")):
        where = ["--videos", str(counting_video), "--run_dir", str(folder / name)]
        assert cli.main(["train", "--config", preset, *where, *SMALL]) == 0
    return folder


def test_train_writes_a_run_and_goes_on_with_it(runs, counting_video, tmp_path, capsys):
    run_dir = runs / "base"
    saved = config.load_config(run_dir / "config.yaml", fastvd.TrainConfig)
    assert (saved.network.dim, saved.clips.size, saved.steps) == (8, 16, 2)
    where = ["--videos", str(counting_video), "--run_dir", str(run_dir)]
    status, err = run_line(capsys, "train", *where, "--steps", "3")
    assert (status, err.count("Traceback")) == (0, 0)
    steps = [json.loads(line)["step"] for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert max(steps) == 3


def test_generate_writes_the_doubled_frames(runs, tmp_path):
    out = tmp_path / "sample.gif"
    stages = [str(runs / "base"), "--interpolator", str(runs / "interpolator")]
    options = ["--doublings", "2", "--steps", "2", "--out", str(out)]
    assert cli.main(["generate", *stages, *options]) == 0
    assert fastvd.read_gif(out).frames.shape == (17, 16, 16, 3)
    first = out.read_bytes()
    assert cli.main(["generate", *stages, *options]) == 0
    assert out.read_bytes() == first


def test_generate_many_makes_a_grid(runs, tmp_path):
    out = tmp_path / "grid.gif"
    assert cli.main(["generate", str(runs / "base"), "--num_clips", "4", "--out", str(out)]) == 0
    frames = fastvd.read_gif(out).frames
    assert frames.shape[0] == 5
    assert min(frames.shape[1:3]) >= 32


def test_gif_strides_and_keeps_the_speed(counting_video, tmp_path, frame_numbers):
    out = tmp_path / "out.gif"
    assert cli.main(["gif", str(counting_video), str(out), "--stride", "4", "--width", "24"]) == 0
    gif = fastvd.read_gif(out)
    assert gif.frames.shape == (10, 16, 24, 3)
    assert frame_numbers(gif.frames) == list(range(0, 40, 4))
    assert sum(gif.delays_s) == pytest.approx(40 / 25, abs=0.01)


def test_gif_takes_the_frames_shown_at_those_times(counting_video, tmp_path, frame_numbers):
    out = tmp_path / "out.gif"
    options = ["--fps", "5", "--quality", "best", "--palette", "scene", "--dither", "blue_noise"]
    assert cli.main(["gif", str(counting_video), str(out), *options, "--lossy", "10"]) == 0
    gif = fastvd.read_gif(out)
    assert frame_numbers(gif.frames) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert gif.delays_s.tolist() == [0.2] * 8


def test_gif_tells_its_progress_on_a_terminal_only(counting_video, tmp_path, capsys, monkeypatch):
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda answer=is_terminal: answer)
        assert cli.main(["gif", str(counting_video), str(tmp_path / "out.gif")]) == 0
        said = capsys.readouterr()
        assert said.out.endswith("KiB\n")
        assert ("100 %" in said.err) == is_terminal


def test_gif_command_writes_videos_as_well(counting_video, tmp_path):
    out = tmp_path / "out.mp4"
    assert cli.main(["gif", str(counting_video), str(out), "--fps", "12.5"]) == 0
    info = fastvd.probe(out)
    assert (info.frames, info.fps, info.width) == (20, 12.5, 48)


def test_extract_counts_frames_through_folders(counting_video, tmp_path, frame_numbers):
    argv = ["extract", counting_video, tmp_path / "f", "--size", "16", "--frames_per_folder", "30"]
    assert cli.main([str(word) for word in argv]) == 0
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["0", "1"]
    assert len(list((tmp_path / "f" / "0").iterdir())) == 30
    frame = np.asarray(Image.open(tmp_path / "f" / "1" / "000039.jpg"))
    assert frame.shape == (16, 16, 3)
    # padded above and below: the middle row holds the frame's number
    assert frame_numbers(frame[None, 8:9]) == [39]


def test_probe_prints_what_the_file_is(counting_video, capsys):
    assert cli.main(["probe", "--json", str(counting_video)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["fps"], facts["width"], facts["codec"]) == (40, 25.0, 48, "h264")


def test_probe_goes_through_a_folder_and_past_a_bad_file(counting_video, tmp_path, capsys):
    for name in ("a.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(counting_video.read_bytes())
    (tmp_path / "b.mp4").write_text("no video")
    assert cli.main(["probe", "--json", str(tmp_path)]) == 2
    said = capsys.readouterr()
    facts = [json.loads(line) for line in said.out.splitlines()]
    assert [Path(fact["path"]).name for fact in facts] == ["a.mp4", "c.mp4"]
    assert "b.mp4" in said.err


def test_probe_names_the_folder_that_holds_the_frames(counting_video, tmp_path, capsys):
    assert cli.main(["extract", str(counting_video), str(tmp_path / "f")]) == 0
    assert cli.main(["gif", str(tmp_path / "f"), str(tmp_path / "f.gif")]) == 2
    assert str(tmp_path / "f" / "0") in capsys.readouterr().err
    assert cli.main(["probe", str(tmp_path / "f")]) == 0


def test_config_prints_yaml_that_trains(tmp_path, capsys):
    assert cli.main(["config", "base_64"]) == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    loaded = config.load_config(tmp_path / "c.yaml", fastvd.TrainConfig)
    assert loaded == fastvd.presets.base_64()


def test_init_asks_and_writes(tmp_path, monkeypatch):
    answers = iter(["interpolator", "64", "", "5", "2", "1000", "1e-3"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    assert cli.main(["init", str(tmp_path / "c.yaml")]) == 0
    made = config.load_config(tmp_path / "c.yaml", fastvd.TrainConfig)
    assert (made.clips.frames, made.clips.stride, made.batch_size) == (3, 5, 2)
    assert (made.steps, made.optim.lr, made.process.kind) == (1000, 1e-3, "cold")


def test_import_takes_over_a_foreign_checkpoint(tmp_path):
    from video_diffusion_pytorch import GaussianDiffusion, Unet3D

    theirs = Unet3D(dim=8, dim_mults=(1, 2))
    diffusion = GaussianDiffusion(theirs, image_size=16, num_frames=3)
    content = {"step": 3, "model": diffusion.state_dict(), "ema": diffusion.state_dict()}
    torch.save(content, tmp_path / "model-3.pt")
    argv = ["import-checkpoint", tmp_path / "model-3.pt", tmp_path / "run"]
    assert cli.main([str(word) for word in [*argv, "--size", 16, "--frames", 3]]) == 0
    made = config.load_config(tmp_path / "run" / "config.yaml", fastvd.TrainConfig)
    assert (made.process.prediction, made.process.loss) == ("epsilon", "l1")
    pipeline = fastvd.TwoStage.from_pretrained(tmp_path / "run")
    x, t = torch.randn(1, 3, 3, 16, 16), torch.tensor([50])
    with torch.no_grad():
        torch.testing.assert_close(pipeline.base_network(x, t), theirs(x, t), atol=1e-5, rtol=0)
    assert pipeline(steps=2).shape == (3, 16, 16, 3)


def test_import_refuses_other_timesteps(tmp_path, capsys):
    from video_diffusion_pytorch import GaussianDiffusion, Unet3D

    theirs = Unet3D(dim=8, dim_mults=(1, 2))
    diffusion = GaussianDiffusion(theirs, image_size=16, num_frames=3, timesteps=100)
    torch.save(diffusion.state_dict(), tmp_path / "a.pt")
    argv = ["import-checkpoint", tmp_path / "a.pt", tmp_path / "run", "--size", 16, "--frames", 3]
    status, err = run_line(capsys, *argv)
    assert (status, "100 timesteps" in err, (tmp_path / "run").exists()) == (2, True, False)


def bad_lines(tmp_path: Path, video: Path) -> dict[str, tuple[list[object], str]]:
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.gif").write_bytes(b"")
    newer = tmp_path / "newer.yaml"
    newer.write_text(config.to_yaml(fastvd.presets.tiny()).replace("format: 1", "format: 99"))
    pickle = tmp_path / "bad.pt"
    pickle.write_bytes(b"not a pickle")
    run = ["--run_dir", tmp_path / "r"]
    train = ["train", "--config", "tiny", *run]
    gif = ["gif", video, tmp_path / "o.gif"]
    return {
        "no command": ([], "required: COMMAND"),
        "unknown command": (["xyz"], "invalid choice: 'xyz'"),
        "misspelt command": (["trian"], "did you mean train? (see fastvd --help)"),
        "misspelt choice": ([*gif, "--quality", "bst"], "did you mean best?"),
        "missing video": (["probe", tmp_path / "no.mp4"], "no.mp4: No such file or directory"),
        "misspelt preset": (
            ["train", "--config", "tinny", "--videos", video, "--run_dir", tmp_path / "r"],
            "tinny: neither a file nor a preset, did you mean tiny?",
        ),
        "text as video": (["probe", text], "text.mp4"),
        "zero bytes": (["gif", tmp_path / "zero.gif", tmp_path / "o.gif"], "zero.gif"),
        "empty folder": ([*train, "--videos", tmp_path / "empty"], "empty"),
        "misspelt key": ([*train, "--videos", video, "--optm.lr", "1"], "did you mean optim?"),
        "misspelt inner key": (
            [*train, "--videos", video, "--optim.lrr", "1"],
            "optim.lrr: no such key, did you mean lr?",
        ),
        "bad value": ([*train, "--videos", video, "--steps", "many"], "expected int, got 'many'"),
        "bad range": ([*train, "--videos", video, "--batch_size", "0"], "batch_size"),
        "no value": ([*train, "--videos", video, "--steps"], "--steps needs a value"),
        "unknown preset": (["config", "huge"], "no preset huge; there are tiny"),
        "misspelt name of a preset": (["config", "tinny"], "no preset tinny, did you mean tiny?"),
        "demo of nothing": (["demo", tmp_path / "no", "--out", tmp_path / "d"], "no: No such file"),
        "newer config": (
            ["train", "--config", newer, "--videos", video, *run],
            "format 99 is newer than 1",
        ),
        "new run without config": (["train", "--videos", video, *run], "needs --config"),
        "clip too long": ([*train, "--videos", video, "--clips.frames", "60"], "40"),
        "more frames than attention takes": (
            [*train, "--videos", video, "--clips.frames", "900"],
            "64 or fewer",
        ),
        "stride 0": ([*gif, "--stride", "0"], "stride"),
        "negative start": ([*gif, "--start", "-1"], "start"),
        "start past the end": ([*gif, "--start", "40"], "40"),
        "width 0": ([*gif, "--width", "0"], "width must be at least 1, got 0"),
        "no such device": (["generate", tmp_path, "--device", "gpu"], "gpu is no device"),
        "no GPU": (["generate", tmp_path, "--device", "cuda:9"], "cuda:9: torch finds"),
        "run among the videos": (
            [
                "train",
                "--config",
                "tiny",
                "--videos",
                video.parent,
                "--run_dir",
                video.parent / "r",
            ],
            "lies in the videos' folder",
        ),
        "size that does not fit": (
            [*train, "--videos", video, "--clips.size", "33"],
            "clips.size must be a multiple of 8 here, got 33",
        ),
        "too many frames": (
            [*train, "--videos", video, "--clips.frames", "65"],
            "clips.frames must be 64 or fewer here, got 65",
        ),
        "gif too fast": ([*gif, "--fps", "60"], "60"),
        "no run": (["generate", tmp_path / "none"], "none"),
        "not a checkpoint": (
            ["import-checkpoint", pickle, tmp_path / "r", "--size", "16", "--frames", "3"],
            "bad.pt: not a checkpoint",
        ),
        "option of no command": (
            ["probe", video, "--jsn"],
            "unknown arguments: --jsn, did you mean --json?",
        ),
        "option like none": (["probe", video, "--wxyz"], "unknown arguments: --wxyz (see"),
        "option with its value": ([*gif, "--dithr=none"], "--dithr=none, did you mean --dither?"),
        "option of prepare cache": (
            ["prepare", "cache", video, tmp_path / "c", "--shrad", "1/2"],
            "did you mean --shard?",
        ),
    }


def test_bad_input_is_one_line_and_status_2(tmp_path, counting_video, capsys):
    for name, (argv, expected) in bad_lines(tmp_path, counting_video).items():
        status, err = run_line(capsys, *argv)
        assert status == 2, (name, err)
        assert expected in err.strip().splitlines()[-1], (name, err)
        assert "Traceback" not in err


def test_options_may_be_spelt_with_dashes(counting_video, tmp_path, capsys):
    argv = [
        "extract",
        counting_video,
        tmp_path / "f",
        "--frames-per-folder=30",
        "--limits.max-side",
    ]
    assert run_line(capsys, *argv, "48")[0] == 0
    assert len(list((tmp_path / "f").iterdir())) == 2
    assert fastvd.get_limits().max_side == 48
    assert run_line(capsys, "probe", "--", "--a-b.mp4")[1] == (
        "fastvd: --a-b.mp4: No such file or directory\n"
    )


def test_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"fastvd {version('fastvd')}\n"


def test_demo_of_nothing_leaves_an_earlier_one(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    assert run_line(capsys, "demo", tmp_path / "none", "--out", tmp_path)[0] == 2
    assert (tmp_path / "runs").exists()


def test_seed_out_of_range_is_refused(runs, capsys):
    for seed in ("-1", str(2**64)):
        status, err = run_line(capsys, "generate", runs / "base", "--seed", seed)
        assert status == 2
        assert seed in err


def test_damaged_checkpoint_is_named(runs, tmp_path, capsys):
    import shutil

    run = shutil.copytree(runs / "base", tmp_path / "run")
    for path in run.rglob("ema.safetensors"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    status, err = run_line(capsys, "generate", run)
    assert status == 2
    assert "damaged" in err


def test_run_of_another_config_is_refused(runs, counting_video, capsys):
    where = ["--videos", counting_video, "--run_dir", runs / "base"]
    status, err = run_line(capsys, "train", "--config", "tiny_interpolator", *where)
    assert status == 2
    assert "clips.frames" in err


def test_every_command_has_help(capsys):
    for command in ("train", "generate", "gif", "extract", "probe", "init", "config", "demo"):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0
        assert "usage: fastvd" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_fault(shared_videos: Path) -> None:
    command = [sys.executable, "-m", "fastvd", "probe", str(shared_videos / "nasa_13013.mp4")]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
