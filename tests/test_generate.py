import logging

import numpy as np
import pytest
import torch
from torch import nn

from fastvd import checkpoint, config, generate
from fastvd.data import ClipConfig
from fastvd.diffusion import ColdConfig, ColdProcess, Process, ProcessConfig
from fastvd.errors import CheckpointError
from fastvd.generate import TwoStage, seeded
from fastvd.models import VideoUNet, VideoUNetConfig

CLIPS = ClipConfig(frames=4, size=8)
BASE = ProcessConfig(prediction="sample", sample_steps=4)
COLD = ColdConfig(sample_steps=3)
NETWORK = VideoUNetConfig(dim=8, mults=(1, 2), attention=("none", "none"))


class Smooth(nn.Module):
    """Stands in for a network: its answer hangs together over frames, and on every value."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift
        self.modes: list[bool] = []
        self.inner = nn.Dropout(0.5)

    def forward(self, x, t, *, cond=None):
        self.modes += [self.training, self.inner.training]
        pull = 0 if cond is None else cond.reshape(-1, 1, 1, 1, 1)
        mean = x.mean(dim=2, keepdim=True)
        return torch.tanh(x + mean + self.shift + pull + 0 * t.sum()) / 2


def base_only(**changes):
    return TwoStage(Smooth(0.2), Process(BASE), clips=CLIPS, **changes)


@pytest.fixture
def pipeline():
    return base_only(interpolator_network=Smooth(-0.1), interpolator_process=ColdProcess(COLD))


@pytest.mark.parametrize(("doublings", "frames"), [(0, 4), (1, 7), (2, 13), (3, 25)])
def test_frames_double_less_one(pipeline, doublings, frames):
    clip = pipeline(doublings=doublings, generator=seeded(0))
    assert clip.shape == (frames, 8, 8, 3)
    assert clip.dtype == np.uint8


@pytest.mark.parametrize("num_clips", [1, 3])
def test_key_frames_stay_what_they_are_to_the_bit(pipeline, num_clips):
    drawn = {
        d: pipeline(num_clips=num_clips, doublings=d, generator=seeded(5)).reshape(
            num_clips, -1, 8, 8, 3
        )
        for d in (0, 1, 2)
    }
    assert np.array_equal(drawn[1][:, ::2], drawn[0])
    assert np.array_equal(drawn[2][:, ::2], drawn[1])


def test_no_frame_is_doubled(pipeline):
    clip = pipeline(doublings=2, generator=seeded(0))
    assert len(np.unique(clip.reshape(len(clip), -1), axis=0)) == len(clip)


def test_frames_between_stand_between_their_own_key_frames():
    """The interpolator answers the mean of the ends; so each pair must reach it in order."""

    def halfway(x, t, *, cond=None):
        del t, cond
        middle = (x[:, :, :1] + x[:, :, 2:]) / 2
        return torch.cat([x[:, :, :1], middle, x[:, :, 2:]], dim=2)

    pipeline = base_only(interpolator_network=halfway, interpolator_process=ColdProcess(COLD))
    clips = pipeline(num_clips=3, doublings=1, generator=seeded(1)).astype(float)
    expected = (clips[:, 0:-1:2] + clips[:, 2::2]) / 2
    # three roundings to whole levels
    assert np.abs(clips[:, 1::2] - expected).max() <= 1


def test_equal_seeds_draw_equal_bits(pipeline):
    clips = [pipeline(num_clips=2, generator=seeded(s)) for s in (7, 7, 8)]
    assert np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])
    assert not np.array_equal(clips[0][0], clips[0][1])


def test_each_clip_is_a_function_of_its_own_seed(pipeline):
    together = pipeline(num_clips=3, doublings=2, seeds=[1, 2, 3])
    alone = pipeline(doublings=2, seeds=[2])
    assert np.array_equal(together[1], alone)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_batches_do_not_change_what_is_drawn(pipeline, batch_size):
    whole = pipeline(num_clips=3, doublings=2, generator=seeded(4))
    parts = pipeline(num_clips=3, doublings=2, generator=seeded(4), batch_size=batch_size)
    assert np.array_equal(whole, parts)


def test_doublings_follow_from_the_stages(pipeline):
    assert len(pipeline(generator=seeded(0))) == 7
    for stride, frames in ((2, 7), (4, 13), (6, 7)):
        pipeline.clips = ClipConfig(frames=4, size=8, stride=stride)
        assert len(pipeline(generator=seeded(0))) == frames
    assert len(base_only()(generator=seeded(0))) == 4


def test_one_key_frame_has_nothing_between(pipeline):
    pipeline.clips = ClipConfig(frames=1, size=8)
    assert pipeline(doublings=2, generator=seeded(0)).shape == (1, 8, 8, 3)


def test_grey_clips_have_one_channel():
    pipeline = TwoStage(Smooth(0.0), Process(BASE), clips=ClipConfig(frames=4, size=8, grey=True))
    assert pipeline(generator=seeded(0)).shape == (4, 8, 8, 1)


def test_networks_are_in_evaluation_mode_and_get_their_modes_back(pipeline):
    base, interpolator = pipeline.base_network, pipeline.interpolator_network
    base.train()
    base.inner.eval()
    interpolator.eval()
    pipeline(generator=seeded(0))
    assert not any(base.modes + interpolator.modes)
    assert (base.training, base.inner.training) == (True, False)
    assert (interpolator.training, interpolator.inner.training) == (False, False)


def test_modes_come_back_after_an_error(pipeline):
    pipeline.base_network.train()
    with pytest.raises(ValueError, match="steps must be"):
        pipeline(steps=5000, generator=seeded(0))
    assert pipeline.base_network.training


def test_cond_and_guidance_reach_each_clip():
    def echo(x, t, *, cond=None):
        del t
        return torch.zeros_like(x) if cond is None else cond.reshape(-1, 1, 1, 1, 1).expand_as(x)

    pipeline = TwoStage(echo, Process(BASE), clips=CLIPS)
    cond = torch.tensor([[-0.2], [0.2]])
    clips = pipeline(num_clips=2, generator=seeded(0), cond=cond, guidance=3.0, batch_size=1)
    # -0.6 and 0.6 as levels of 0..255
    assert set(np.unique(clips[0])) == {51}
    assert set(np.unique(clips[1])) == {204}


def test_progress_goes_through_both_stages(pipeline):
    seen = []
    pipeline(
        num_clips=2,
        doublings=2,
        generator=seeded(0),
        batch_size=1,
        progress=lambda *step: seen.append(step),
    )
    assert seen[:8] == [("base", i, 8) for i in range(1, 9)]
    # 2 x 3 gaps of three frames, of which batches of one clip's 4 frames hold one
    assert seen[8:26] == [("doubling 1", i, 18) for i in range(1, 19)]
    assert seen[-1][0] == "doubling 2"
    assert seen[-1][1] == seen[-1][2]


def test_without_a_seed_clips_differ_and_the_seed_is_logged(caplog):
    pipeline = base_only()
    with caplog.at_level(logging.INFO, logger="fastvd.generate"):
        first, second = pipeline(), pipeline()
    assert not np.array_equal(first, second)
    seed = int(caplog.messages[0].removeprefix("drawing with seed "))
    assert np.array_equal(pipeline(generator=torch.Generator().manual_seed(seed)), first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_clips": 0}, "num_clips must be at least 1, got 0"),
        ({"doublings": -1}, "doublings must be at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seeds": [1, 2]}, "seeds must be 1, one a clip, got 2"),
        ({"seeds": [-3]}, r"a seed must be 0\.\.9223372036854775807, got -3"),
        ({"seeds": [1], "generator": torch.Generator()}, "generator or seeds, not both"),
        ({"cond": torch.zeros(2, 1)}, "cond must have a row for each of 1 clips, got 2"),
        ({"guidance": 2.0}, r"guidance 2\.0 needs a cond"),
        ({"scheduler": "dimm"}, "no scheduler 'dimm'"),
        ({"interpolator_steps": 0}, r"steps must be 1\.\.1000, got 0"),
    ],
)
def test_bad_argument_is_refused_with_its_number(pipeline, given, message):
    with pytest.raises(ValueError, match=message):
        pipeline(**given)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"got {seed}"):
        seeded(seed)


def test_doubling_without_an_interpolator_is_refused():
    with pytest.raises(ValueError, match="1 doublings need an interpolator"):
        base_only()(doublings=1)


def test_stages_of_the_wrong_kind_are_refused():
    cold = ColdProcess(COLD)
    with pytest.raises(ValueError, match="base must be of kind gaussian, got cold"):
        TwoStage(Smooth(0.0), cold, clips=CLIPS)
    blur = ColdProcess(ColdConfig(degradation="blur"))
    with pytest.raises(ValueError, match="must be of kind cold, interpolate; got blur"):
        base_only(interpolator_network=Smooth(0.0), interpolator_process=blur)
    with pytest.raises(ValueError, match="interpolate; got gaussian"):
        base_only(interpolator_network=Smooth(0.0), interpolator_process=Process(BASE))
    with pytest.raises(ValueError, match="both a network and a process"):
        base_only(interpolator_process=cold)


def make_run(folder, process, *, step=10, clips=CLIPS, seed=0, state=None):
    """Write a run directory whose ``ema`` and ``model`` are networks of different weights."""
    folder.mkdir()
    sections = {"network": NETWORK, "process": process, "clips": clips}
    text = "format: 1\nsteps: 10\n"
    for name, section in sections.items():
        lines = config.to_yaml(section).splitlines()[1:]
        text += f"{name}:\n" + "".join(f"  {line}\n" for line in lines)
    (folder / "config.yaml").write_text(text)
    torch.manual_seed(seed)
    parts = {}
    for part in ("model", "ema"):
        network = VideoUNet(NETWORK)
        for weight in network.parameters():
            nn.init.normal_(weight, std=0.1)
        parts[part] = network.state_dict()
    checkpoint.save(folder, step, tensors=parts, state=state or {"step": step})
    return folder


def test_pretrained_stages_are_those_of_the_run_directories(tmp_path):
    base = make_run(tmp_path / "base", BASE)
    interpolator = make_run(
        tmp_path / "interpolator", COLD, clips=ClipConfig(frames=3, size=8), seed=1
    )
    loaded = TwoStage.from_pretrained(base, interpolator=interpolator)
    networks = []
    for run in (base, interpolator):
        network = VideoUNet(NETWORK)
        found = checkpoint.load(checkpoint.newest(run))
        network.load_state_dict(found.tensors["ema"])
        networks.append(network)
    built = TwoStage(
        networks[0],
        Process(BASE),
        clips=CLIPS,
        interpolator_network=networks[1],
        interpolator_process=ColdProcess(COLD),
    )
    clip = loaded(doublings=2, generator=seeded(0))
    assert clip.shape == (13, 8, 8, 3)
    assert np.array_equal(clip, built(doublings=2, generator=seeded(0)))


def test_weights_in_training_are_taken_on_request(tmp_path):
    base = make_run(tmp_path / "base", BASE)
    weights = checkpoint.load(checkpoint.newest(base)).tensors
    for ema, part in [(True, "ema"), (False, "model")]:
        state = TwoStage.from_pretrained(base, ema=ema).base_network.state_dict()
        assert all(torch.equal(state[name], weights[part][name]) for name in state)


def test_precision_is_the_runs_on_a_gpu_alone(tmp_path, monkeypatch):
    run = make_run(tmp_path / "base", BASE)
    with (run / "config.yaml").open("a") as file:
        file.write("precision: bfloat16\n")
    monkeypatch.setattr(generate, "move", lambda *_: None)
    for device, precision in (("cpu", "float32"), ("cuda", "bfloat16")):
        assert TwoStage.from_pretrained(run, device=device).precision == precision
    named = TwoStage.from_pretrained(run, device="cuda", precision="float16")
    assert named.precision == "float16"
    with pytest.raises(ValueError, match=r"precision must be one of float32, .* got 'half'"):
        TwoStage.from_pretrained(run, precision="half")


def test_networks_run_at_the_precision_and_clips_are_float32_between(pipeline):
    exact, seen = pipeline(generator=seeded(0)), []

    def low(x, t, *, cond=None):
        y = torch.nn.functional.linear(x, torch.eye(8))
        seen.append((x.dtype, y.dtype))
        return Smooth(0.2)(y.float(), t, cond=cond)

    pipeline.base_network, pipeline.precision = low, "bfloat16"
    close = pipeline(generator=seeded(0))
    assert set(seen) == {(torch.float32, torch.bfloat16)}
    assert 0 < np.abs(exact.astype(int) - close).max() <= 8


def test_untrained_network_is_warned_of(tmp_path, caplog):
    TwoStage.from_pretrained(make_run(tmp_path / "new", BASE, step=0))
    assert "untrained (step 0)" in caplog.text


def test_trained_and_imported_networks_are_not_warned_of(tmp_path, caplog):
    TwoStage.from_pretrained(make_run(tmp_path / "trained", BASE, step=1))
    state = {"imported_from": "model.pt"}
    TwoStage.from_pretrained(make_run(tmp_path / "imported", BASE, step=0, state=state))
    assert caplog.text == ""


def test_run_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TwoStage.from_pretrained(tmp_path / "nowhere")


def test_run_without_a_checkpoint_is_refused(tmp_path):
    run = make_run(tmp_path / "base", BASE)
    for file in (run / "checkpoints").rglob("*.*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(CheckpointError, match="none of 1 checkpoints is sound"):
        TwoStage.from_pretrained(run)
    (run / "checkpoints" / "step-00000010").rmdir()
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        TwoStage.from_pretrained(run)


def test_weights_of_another_network_are_refused(tmp_path):
    run = make_run(tmp_path / "base", BASE)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("dim: 8", "dim: 16"))
    with pytest.raises(CheckpointError, match="ema does not fit"):
        TwoStage.from_pretrained(run)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("process:", "proces:", "has no section process"),
        ("scheduler: DDIM", "schedular: DDIM", r"process\.schedular: no such key, did you mean"),
        ("sample_steps: 4", "sample_steps: 0", "sample_steps must be at least 1, got 0"),
    ],
)
def test_bad_config_of_a_run_names_file_and_key(tmp_path, old, new, message):
    run = make_run(tmp_path / "base", BASE)
    text = (run / "config.yaml").read_text()
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=rf"config\.yaml: .*{message}"):
        TwoStage.from_pretrained(run)


def test_stages_of_different_frames_are_refused(tmp_path):
    base = make_run(tmp_path / "base", BASE)
    other = make_run(tmp_path / "other", COLD, clips=ClipConfig(frames=3, size=16))
    with pytest.raises(ValueError, match="differ in size: 8, 16"):
        TwoStage.from_pretrained(base, interpolator=other)


def test_runs_in_the_wrong_place_are_refused(tmp_path):
    base = make_run(tmp_path / "base", BASE)
    cold = make_run(tmp_path / "cold", COLD)
    with pytest.raises(ValueError, match="base must be of kind gaussian, got cold"):
        TwoStage.from_pretrained(cold)
    with pytest.raises(ValueError, match="interpolate; got gaussian"):
        TwoStage.from_pretrained(base, interpolator=base)
