import math
from dataclasses import replace

import pytest
import torch

from fastvd import config
from fastvd.diffusion import (
    ColdConfig,
    ColdProcess,
    Process,
    ProcessConfig,
    make_process,
)

CONFIG = ProcessConfig(beta_schedule="cosine", clip="none")
SHAPE = (6, 2, 3, 4, 5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def zero(x, t, cond=None):
    del t, cond
    return torch.zeros_like(x)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_loss_of_a_perfect_network_is_zero(kind):
    process = Process(replace(CONFIG, prediction=kind))
    clip, noise = torch.randn(2, *SHAPE)
    t = torch.tensor([0, 1, 250, 500, 750, 999])

    def oracle(x, times, cond=None):
        del cond
        assert times.tolist() == t.tolist()
        alpha = process.alpha_bar[t].sqrt().float().reshape(-1, 1, 1, 1, 1)
        sigma = (1 - process.alpha_bar[t]).sqrt().float().reshape(-1, 1, 1, 1, 1)
        torch.testing.assert_close(x, alpha * clip + sigma * noise)
        answers = {"epsilon": noise, "sample": clip, "v_prediction": alpha * noise - sigma * clip}
        return answers[kind]

    loss = process.loss_at(oracle, clip, t, noise=noise)
    torch.testing.assert_close(loss, torch.zeros(6), rtol=0, atol=1e-12)


def test_loss_of_a_silent_epsilon_network_is_the_noise_variance():
    process = Process(replace(CONFIG, prediction="epsilon"))
    clip, noise = torch.randn(2, *SHAPE)
    loss = process.loss_at(zero, clip, torch.arange(6), noise=noise)
    torch.testing.assert_close(loss, noise.square().mean((1, 2, 3, 4)))


def test_same_generator_gives_the_same_loss():
    process = Process(CONFIG)
    clip = torch.randn(SHAPE)
    losses = [float(process.loss(zero, clip, generator=generator(s))) for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def times_of(process, batch=64, rounds=40):
    """Timesteps that the training loss meets, on the network's scale."""
    seen = []

    def recording(x, t, cond=None):
        seen.append(t)
        return zero(x, t, cond)

    g = generator()
    for _ in range(rounds):
        process.loss(recording, torch.zeros(batch, 1, 1, 1, 1), generator=g)
    return torch.cat(seen)


def test_last_timestep_is_trained():
    times = times_of(Process(replace(CONFIG, num_timesteps=10)))
    assert sorted(set(times.tolist())) == [100.0 * i for i in range(10)]


def test_only_the_range_is_trained_with_both_ends():
    times = times_of(Process(replace(CONFIG, num_timesteps=10, t_min=3, t_max=6)))
    assert sorted(set(times.tolist())) == [300.0, 400.0, 500.0, 600.0]


def test_min_snr_weighs_the_loss_of_each_level():
    # at a range of one timestep the weight is the same for all
    at_one = replace(CONFIG, prediction="epsilon", t_min=100, t_max=100)
    clip = torch.randn(SHAPE)
    plain = Process(at_one).loss(zero, clip, generator=generator())
    weighed = Process(replace(at_one, min_snr_gamma=5.0)).loss(zero, clip, generator=generator())
    level = float(Process(at_one).alpha_bar[100])
    assert float(weighed / plain) == pytest.approx(5 / (level / (1 - level)), rel=1e-5)


def test_cond_reaches_the_network():
    conds = []

    def recording(x, t, cond=None):
        conds.append(cond)
        return zero(x, t)

    cond = torch.ones(6, 2)
    Process(CONFIG).loss(recording, torch.zeros(SHAPE), generator=generator(), cond=cond)
    assert conds == [cond]


def test_loss_has_a_gradient():
    network = torch.nn.Conv3d(2, 2, 1)
    loss = Process(CONFIG).loss(
        lambda x, t, cond: network(x) + 0 * t.sum() if cond is None else x,
        torch.randn(SHAPE),
        generator=generator(),
    )
    loss.backward()
    assert network.weight.grad is not None
    assert (network.weight.grad != 0).all()


def test_noised_clips_keep_unit_variance():
    process = Process(CONFIG)
    clip, noise = torch.randn(2, 3, 1, 10, 32, 32)
    noised = process.noised(clip, torch.tensor([0, 500, 999]), noise=noise)
    # five standard errors of a variance over 10 * 32 * 32 values
    error = 5 * math.sqrt(2 / (10 * 32 * 32))
    assert (noised.var((1, 2, 3, 4)) - 1).abs().max() < error


def test_preview_has_the_shape_of_the_clip():
    process = Process(replace(CONFIG, sample_steps=2))
    clip = process.preview(zero, torch.zeros(2, 3, 4, 5, 6), generator=generator())
    assert clip.shape == (2, 3, 4, 5, 6)
    assert clip.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t_min": 5, "t_max": 4}, r"t_min\.\.t_max must lie in 0\.\.999, got 5\.\.4"),
        ({"t_max": 1000}, r"0\.\.999, got 0\.\.1000"),
        ({"t_min": -1}, r"got -1\.\.None"),
        (
            {"prediction": "noise"},
            "prediction must be one of epsilon, sample, v_prediction, got 'noise'",
        ),
        ({"loss": "l3"}, "loss must be one of l2, l1, huber, got 'l3'"),
        ({"clip": "hard"}, "clip must be one of static, dynamic, none, got 'hard'"),
        ({"min_snr_gamma": 0.0}, r"min_snr_gamma must be above 0 or null, got 0\.0"),
        ({"sample_steps": 0}, "sample_steps must be at least 1, got 0"),
        ({"eta": 1.5}, r"eta must be 0\.\.1, got 1\.5"),
        ({"dynamic_quantile": 0.0}, r"dynamic_quantile must be above 0, at most 1, got 0\.0"),
        ({"x0_gain": -1.0}, r"x0_gain must be above 0, got -1\.0"),
        ({"num_timesteps": 0}, "num_timesteps must be at least 2, got 0"),
    ],
)
def test_bad_config_is_refused_with_its_number(changes, message):
    with pytest.raises(ValueError, match=message):
        ProcessConfig(**changes)


@pytest.mark.parametrize(
    "wanted",
    [
        ProcessConfig(scheduler="dpm++2m", scheduler_options={"solver_order": 3, "x": True}),
        ColdConfig(degradation="blur"),
    ],
)
def test_config_survives_yaml(tmp_path, wanted):
    config.save_config(tmp_path / "process.yaml", wanted)
    assert config.load_config(tmp_path / "process.yaml", type(wanted)) == wanted


def test_config_makes_its_process():
    assert isinstance(make_process(ProcessConfig()), Process)
    assert isinstance(make_process(ColdConfig()), ColdProcess)


CLIP = torch.zeros(2, 1, 3, 4, 5)
TIMES = torch.tensor([0, 999])
BAD = {
    "bytes": ({"clip": CLIP.byte()}, ValueError, "clip must be floating, .* got torch.uint8"),
    "rank": (
        {"clip": CLIP[0]},
        ValueError,
        r"clip must be \[B, C, T, H, W\], .* got \(1, 3, 4, 5\)",
    ),
    "empty": ({"clip": CLIP[:0]}, ValueError, r"none of them 0, got \(0, 1, 3, 4, 5\)"),
    "array": ({"clip": CLIP.numpy()}, TypeError, "clip must be a torch.Tensor, got ndarray"),
    "network": ({"network": None}, TypeError, "network must be callable, got None"),
    # these would be spread, or counted from the end, in silence
    "answer": (
        {"network": lambda x, *_, **__: x[:1]},
        ValueError,
        r"must answer \(2, 1, 3, 4, 5\), got \(1, 1, 3, 4, 5\)",
    ),
    "noise": ({"noise": CLIP[:1]}, ValueError, r"noise must be \(2, .* got \(1, 1, 3, 4, 5\)"),
    "one time": ({"t": TIMES[:1]}, ValueError, r"t must be int \[2\], got torch.int64 \[1\]"),
    "float times": ({"t": TIMES.float()}, ValueError, r"t must be int \[2\], got torch.float32"),
    "mask": ({"t": TIMES > 0}, ValueError, r"t must be int \[2\], got torch.bool"),
    "below": ({"t": TIMES - 1}, ValueError, r"t must be 0\.\.999, got \[-1, 998\]"),
    "above": ({"t": TIMES + 1}, ValueError, r"t must be 0\.\.999, got \[1, 1000\]"),
}


@pytest.mark.parametrize("cfg", [CONFIG, ColdConfig()], ids=["gaussian", "cold"])
@pytest.mark.parametrize(("bad", "error", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_has_no_loss(cfg, bad, error, message):
    given = {"network": zero, "clip": CLIP, "t": TIMES, "noise": CLIP} | bad
    process = make_process(cfg)
    with pytest.raises(error, match=message):
        process.loss_at(**given)
    if "clip" in bad or "network" in bad:
        with pytest.raises(error, match=message):
            process.loss(given["network"], given["clip"], generator=generator())


@pytest.mark.parametrize("cfg", [CONFIG, ColdConfig()], ids=["gaussian", "cold"])
def test_training_noise_takes_a_generator(cfg):
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator, got 0"):
        make_process(cfg).loss(zero, CLIP, generator=0)
