"""Every scheduler on a Gaussian data set, whose exact denoiser is known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fastvd.diffusion import Process, ProcessConfig, generators, sample
from fastvd.diffusion.objective import to_x0
from fastvd.diffusion.schedule import trailing_timesteps
from fastvd.diffusion.stepper import (
    LEAST_SIGNAL,
    SCHEDULERS,
    SHORT_NAMES,
    Stepper,
    scheduler_class,
)

CONFIG = ProcessConfig(beta_schedule="cosine", prediction="v_prediction", clip="none")
VALUES = 20_000
# four standard errors of the mean, and of a standard deviation over itself, of so many values
MEAN_NOISE = 4 / math.sqrt(VALUES)
SPREAD_NOISE = 4 / math.sqrt(2 * VALUES)

FIRST_ORDER = {"DDIM": 0.0, "DDIMParallel": 0.0, "EulerDiscrete": 0.0}
ANCESTRAL = {"DDPM": 1.0, "DDPMParallel": 1.0, "EulerAncestralDiscrete": 1.0}
HIGHER_ORDER = [name for name in SCHEDULERS if name not in FIRST_ORDER | ANCESTRAL]
STOCHASTIC = ["DDPM", "EulerAncestralDiscrete", "KDPM2AncestralDiscrete", "SASolver"]


def draw(gaussian, process: Process, *, steps: int, values: int = VALUES, seed: int = 0) -> Tensor:
    start = gaussian.start(process, values)
    return sample(
        gaussian.network(process),
        process,
        start.shape,
        steps=steps,
        start=start,
        generator=torch.Generator().manual_seed(seed),
    )


def ddim_spread(gaussian, process: Process, *, steps: int, eta: float) -> Tensor:
    """Spread of what DDIM draws with the exact denoiser, in closed form (2010.02502, eq. 12)."""
    spread = gaussian.spread
    levels = process.alpha_bar[trailing_timesteps(len(process.alpha_bar), steps)].tolist()
    drawn = (levels[0] * spread**2 + 1 - levels[0]).sqrt()
    for now, after in zip(levels, [*levels[1:], 1.0], strict=True):
        added = eta * math.sqrt((1 - after) / (1 - now) * (1 - now / after))
        slope_x0 = math.sqrt(now) * spread**2 / (now * spread**2 + 1 - now)
        slope_noise = (1 - math.sqrt(now) * slope_x0) / math.sqrt(1 - now)
        slope = math.sqrt(after) * slope_x0 + math.sqrt(1 - after - added**2) * slope_noise
        drawn = ((slope * drawn) ** 2 + added**2).sqrt()
    return drawn


@pytest.mark.parametrize("schedule", ["cosine", "linear", "two_stage"])
@pytest.mark.parametrize("name", FIRST_ORDER)
def test_first_order_schedulers_draw_what_ddim_does_in_closed_form(gaussian, name, schedule):
    process = Process(replace(CONFIG, scheduler=name, beta_schedule=schedule))
    clip = draw(gaussian, process, steps=30).double()
    expected = ddim_spread(gaussian, process, steps=30, eta=0)
    torch.testing.assert_close(
        clip.std((0, 1, 3, 4), correction=0, keepdim=True), expected, rtol=1e-3, atol=0
    )
    torch.testing.assert_close(
        clip.mean((0, 1, 3, 4), keepdim=True), gaussian.mean, rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("name", ANCESTRAL)
def test_ancestral_schedulers_draw_what_ddpm_does_in_closed_form(gaussian, name):
    process = Process(replace(CONFIG, scheduler=name))
    clip = draw(gaussian, process, steps=30).double()
    # DDPM is DDIM with eta = 1 (2010.02502, section 4.1)
    expected = ddim_spread(gaussian, process, steps=30, eta=1)
    error = clip.std((0, 1, 3, 4), correction=0, keepdim=True) / expected - 1
    assert error.abs().max() < SPREAD_NOISE
    assert gaussian.errors(clip)[0] < MEAN_NOISE


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_adds_the_noise_that_eta_says(gaussian, eta):
    process = Process(replace(CONFIG, scheduler="ddim", eta=eta))
    clip = draw(gaussian, process, steps=30).double()
    expected = ddim_spread(gaussian, process, steps=30, eta=eta)
    error = clip.std((0, 1, 3, 4), correction=0, keepdim=True) / expected - 1
    assert error.abs().max() < SPREAD_NOISE


@pytest.mark.parametrize("name", HIGHER_ORDER)
def test_higher_order_schedulers_beat_first_order_and_converge(gaussian, name):
    process = Process(replace(CONFIG, scheduler=name))
    first_order = ddim_spread(gaussian, process, steps=100, eta=0) / gaussian.spread - 1
    noise = SPREAD_NOISE if name in STOCHASTIC else 0
    # four of them begin at this signal, and so miss this much of the mean
    missed = math.sqrt(LEAST_SIGNAL) * float((gaussian.mean / gaussian.spread).abs().max())
    coarse = gaussian.errors(draw(gaussian, process, steps=25))
    fine = gaussian.errors(draw(gaussian, process, steps=100))
    assert fine[0] < missed + (MEAN_NOISE if name in STOCHASTIC else 1e-3)
    assert fine[1] < first_order.abs().max() / 2 + noise
    # at least first order: a quarter of the error, half of that as a margin
    assert fine[1] < coarse[1] / 2 + noise


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_works_on_the_shifted_schedule(gaussian, name):
    process = Process(replace(CONFIG, scheduler=name, shift=4.0))
    # none is worse than ancestral sampling in as many steps
    spread = ddim_spread(gaussian, process, steps=40, eta=1) / gaussian.spread - 1
    error = gaussian.errors(draw(gaussian, process, steps=40))
    assert error[1] < spread.abs().max() + SPREAD_NOISE


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_prediction_type_draws_the_same(gaussian, name):
    clips = [
        draw(
            gaussian, Process(replace(CONFIG, scheduler=name, prediction=kind)), steps=12, values=9
        )
        for kind in ("epsilon", "sample", "v_prediction")
    ]
    torch.testing.assert_close(clips[0], clips[2], rtol=0, atol=2e-3)
    torch.testing.assert_close(clips[1], clips[2], rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_network_sees_the_noise_level_that_it_is_told(gaussian, name):
    process = Process(replace(CONFIG, scheduler=name))
    calls = []
    start = gaussian.start(process, 2000)
    sample(
        gaussian.network(process, calls),
        process,
        start.shape,
        steps=50,
        start=start,
        generator=torch.Generator().manual_seed(0),
    )
    # early, where what is drawn is as spread as the data noised to that level
    for x, t in calls[: len(calls) // 4]:
        below = process.alpha_bar[math.ceil(float(t[0]))]
        above = process.alpha_bar[math.floor(float(t[0]))]
        low, high = ((level * gaussian.spread**2 + 1 - level).sqrt() for level in (above, below))
        drawn = x.std((0, 1, 3, 4), correction=0, keepdim=True)
        assert (drawn > low * 0.94).all()
        assert (drawn < high * 1.06).all()


EXTRA_CALLS = {"HeunDiscrete": 9, "KDPM2Discrete": 9, "KDPM2AncestralDiscrete": 9, "PNDM": 1}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_steps_are_as_many_as_asked_for(gaussian, name):
    process = Process(replace(CONFIG, scheduler=name, beta_schedule="linear"))
    calls = []
    shape = (1, 1, 2, 1, 3)
    network = gaussian.network(process, calls)
    sample(network, process, shape, steps=10, generator=torch.Generator().manual_seed(0))
    assert len(calls) == 10 + EXTRA_CALLS.get(name, 0)
    times = [float(t[0]) for _, t in calls]
    assert times[0] == 999
    assert times == sorted(times, reverse=True)
    if name not in EXTRA_CALLS:
        assert times == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]


# at 463 of 1000 diffusers' own trailing spacing runs one timestep below zero
@pytest.mark.parametrize("steps", [1, 2, 7, 463])
@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "euler"])
def test_any_number_of_steps_draws_the_mean(gaussian, name, steps):
    process = Process(replace(CONFIG, scheduler=name))
    clip = draw(gaussian, process, steps=steps, values=50)
    assert clip.isfinite().all()
    assert gaussian.errors(clip)[0] < 1e-2


@pytest.mark.parametrize("name", ["dpm++2m", "euler", "heun", "unipc"])
def test_karras_sigmas_draw_the_data(gaussian, name):
    options = {"use_karras_sigmas": True}
    process = Process(
        replace(CONFIG, scheduler=name, scheduler_options=options, beta_schedule="linear")
    )
    coarse = gaussian.errors(draw(gaussian, process, steps=25, values=2000))
    fine = gaussian.errors(draw(gaussian, process, steps=75, values=2000))
    assert fine[0] < 1e-2
    # at least first order: a third of the error, and a margin
    assert fine[1] < 0.4 * coarse[1]


def test_sde_solver_draws_the_data(gaussian):
    options = {"algorithm_type": "sde-dpmsolver++"}
    process = Process(replace(CONFIG, scheduler="dpm++2m", scheduler_options=options))
    mean, spread = gaussian.errors(draw(gaussian, process, steps=100))
    assert mean < MEAN_NOISE
    assert spread < 0.01 + SPREAD_NOISE


@pytest.mark.parametrize("name", [*STOCHASTIC, "DDIM"])
def test_clip_of_a_batch_is_the_clip_of_its_seed_alone(gaussian, name):
    process = Process(replace(CONFIG, scheduler=name, eta=1.0))
    network = gaussian.network(process)
    both = sample(network, process, (2, 1, 2, 1, 5), steps=9, generator=generators([3, 4]))
    alone = sample(network, process, (1, 1, 2, 1, 5), steps=9, generator=generators([4]))
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], both[1])


def test_ddpm_steps_as_video_diffusion_pytorch_does():
    lucidrains = pytest.importorskip("video_diffusion_pytorch.video_diffusion_pytorch")

    class Network(torch.nn.Module):
        channels = 3

        def forward(self, x, t, **_):
            return torch.tanh(1.3 * x + t.reshape(-1, 1, 1, 1, 1) / 1000 - 0.3)

        forward_with_cond_scale = forward

    network = Network()
    theirs = lucidrains.GaussianDiffusion(network, image_size=4, num_frames=2, timesteps=1000)
    process = Process(ProcessConfig(prediction="epsilon"))
    torch.testing.assert_close(process.alpha_bar, theirs.alphas_cumprod.double(), rtol=1e-6, atol=0)
    stepper = Stepper("ddpm", process.alpha_bar, steps=1000, options={})
    x = torch.randn(1, 3, 2, 4, 4)
    for t in (999, 998, 500, 20, 1, 0):
        mean, _, log_variance = theirs.p_mean_variance(x, torch.tensor([t]), clip_denoised=True)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(t))
        expected = mean + (t > 0) * (log_variance / 2).exp() * noise
        level = stepper.level(999 - t)
        assert level.t == t
        output = network(x, torch.tensor([t]))
        x0 = to_x0("epsilon", output, x, alpha=level.alpha, sigma=level.sigma).clamp(-1, 1)
        generator = torch.Generator().manual_seed(t)
        ours = stepper.step(999 - t, x, x0=x0, eta=0, generators=generator)
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DDIM", "DDIMScheduler"),
        ("ddim", "DDIMScheduler"),
        ("DPMSolverMultistepScheduler", "DPMSolverMultistepScheduler"),
        ("dpmsolvermultistep", "DPMSolverMultistepScheduler"),
        ("DPM++ 2M", "DPMSolverMultistepScheduler"),
        ("euler_a", "EulerAncestralDiscreteScheduler"),
        ("Euler-Ancestral", "EulerAncestralDiscreteScheduler"),
        ("heun", "HeunDiscreteScheduler"),
        ("unipc", "UniPCMultistepScheduler"),
    ],
)
def test_names_may_be_short_and_in_any_case(name, meant):
    assert scheduler_class(name) == meant


def test_short_names_mean_known_schedulers():
    assert set(SHORT_NAMES.values()) <= set(SCHEDULERS)


def test_unknown_scheduler_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no scheduler 'ddmi'; there are .*ddim.*unipc"):
        ProcessConfig(scheduler="ddmi")


@pytest.mark.parametrize("option", ["thresholdin", "trained_betas", "prediction_type"])
def test_unknown_option_is_refused_with_the_known_ones(gaussian, option):
    process = Process(replace(CONFIG, scheduler="ddim", scheduler_options={option: 1}))
    with pytest.raises(ValueError, match=rf"no option '{option}'; it has clip_sample, .*"):
        draw(gaussian, process, steps=2, values=2)
