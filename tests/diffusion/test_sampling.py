from dataclasses import replace

import pytest
import torch

from fastvd.diffusion import Process, ProcessConfig, generators, mix, sample
from fastvd.diffusion.sampling import draw_noise

CONFIG = ProcessConfig(beta_schedule="cosine", prediction="sample", clip="none")
SHAPE = (2, 1, 2, 3, 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def answering(value):
    """Return a network that predicts ``value`` everywhere, and the list of its calls."""
    calls = []

    def network(x, t, cond=None):
        calls.append((x, t, cond))
        return torch.full_like(x, value if cond is None else float(cond[0]))

    return network, calls


def test_a_sure_network_gets_what_it_predicts():
    network, _ = answering(0.25)
    clip = sample(network, Process(CONFIG), SHAPE, steps=5, generator=generator())
    torch.testing.assert_close(clip, torch.full(SHAPE, 0.25), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_same_generator_draws_the_same_clip(gaussian, name):
    process = Process(replace(CONFIG, scheduler=name))
    network = gaussian.network(process)
    clips = [sample(network, process, SHAPE, steps=5, generator=generator(s)) for s in (1, 1, 2)]
    assert torch.equal(clips[0], clips[1])
    assert not torch.equal(clips[0], clips[2])


def test_arguments_stand_in_for_the_config(gaussian):
    process = Process(replace(CONFIG, scheduler="ddpm", scheduler_options={"thresholding": True}))
    other = Process(replace(CONFIG, scheduler="ddim", eta=0.5, sample_steps=7))
    given = {"steps": 7, "scheduler": "ddim", "eta": 0.5}
    network = gaussian.network(process)
    clip = sample(network, process, SHAPE, generator=generator(), **given)
    assert torch.equal(clip, sample(network, other, SHAPE, generator=generator()))


def test_default_steps_are_no_more_than_the_timesteps():
    network, calls = answering(0.0)
    process = Process(replace(CONFIG, num_timesteps=4))
    sample(network, process, SHAPE, generator=generator())
    assert [float(t[0]) for _, t, _ in calls] == [750, 500, 250, 0]


def test_more_steps_than_timesteps_are_refused():
    network, _ = answering(0.0)
    with pytest.raises(ValueError, match=r"steps must be 1\.\.1000, got 1001"):
        sample(network, Process(CONFIG), SHAPE, steps=1001, generator=generator())


def test_sub_range_begins_at_its_end():
    network, calls = answering(0.0)
    sample(network, Process(replace(CONFIG, t_max=499)), SHAPE, steps=5, generator=generator())
    assert [float(t[0]) for _, t, _ in calls] == [499, 399, 299, 199, 99]


def test_start_is_what_the_network_sees_first():
    network, calls = answering(0.0)
    start = torch.randn(SHAPE)
    sample(
        network, Process(CONFIG), SHAPE, steps=3, generator=generator(), start=start, t_start=299
    )
    x, t, _ = calls[0]
    assert torch.equal(x, start)
    assert float(t[0]) == 299


def test_start_of_another_shape_is_refused():
    network, _ = answering(0.0)
    with pytest.raises(ValueError, match=r"start is \(1, 1, 1, 1, 1\)"):
        sample(
            network, Process(CONFIG), SHAPE, generator=generator(), start=torch.zeros(1, 1, 1, 1, 1)
        )


@pytest.mark.parametrize("t_start", [-1, 1000])
def test_timestep_out_of_range_is_refused(t_start):
    network, _ = answering(0.0)
    with pytest.raises(ValueError, match=rf"t must be 0\.\.999, got {t_start}"):
        sample(network, Process(CONFIG), SHAPE, generator=generator(), t_start=t_start)


def test_gain_multiplies_the_predicted_clip():
    network, _ = answering(0.5)
    process = Process(replace(CONFIG, x0_gain=1.2))
    clip = sample(network, process, SHAPE, steps=1, generator=generator())
    torch.testing.assert_close(clip, torch.full(SHAPE, 0.6), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("clip", "expected"), [("static", 1.0), ("none", 3.0), ("dynamic", 1.0)])
def test_predicted_clip_is_bounded_as_the_config_says(clip, expected):
    network, _ = answering(3.0)
    process = Process(replace(CONFIG, clip=clip))
    drawn = sample(network, process, SHAPE, steps=4, generator=generator())
    torch.testing.assert_close(drawn, torch.full(SHAPE, expected), rtol=0, atol=1e-4)


def test_guidance_mixes_with_the_null_pass():
    network, calls = answering(0.1)
    cond = torch.tensor([[0.3]])
    process = Process(replace(CONFIG, guidance=2.0))
    clip = sample(network, process, SHAPE, steps=2, generator=generator(), cond=cond)
    torch.testing.assert_close(clip, torch.full(SHAPE, 0.5), rtol=0, atol=1e-5)
    assert [c is None for _, _, c in calls] == [False, True, False, True]


def test_guidance_without_cond_is_refused_before_the_first_call():
    network, calls = answering(0.0)
    with pytest.raises(ValueError, match=r"guidance 3\.0 needs a cond"):
        sample(network, Process(CONFIG), SHAPE, generator=generator(), guidance=3.0)
    assert calls == []


def test_progress_counts_every_call():
    network, _ = answering(0.0)
    seen = []
    process = Process(replace(CONFIG, scheduler="heun"))
    sample(
        network,
        process,
        SHAPE,
        steps=3,
        generator=generator(),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_half_precision_network_draws_float32():
    network, _ = answering(0.25)
    clip = sample(
        lambda x, t, cond: network(x, t, cond).half(),
        Process(CONFIG),
        SHAPE,
        steps=3,
        generator=generator(),
    )
    assert clip.dtype == torch.float32


def test_noise_of_a_sample_is_that_of_its_generator():
    noise = draw_noise((3, 2, 2), generators([5, 6, 7]))
    assert torch.equal(noise[1:2], draw_noise((1, 2, 2), generators([6])))
    assert torch.equal(noise[1], torch.randn(2, 2, generator=generator(6)))


def test_too_few_generators_are_refused():
    with pytest.raises(ValueError, match="2 generators for a batch of 3"):
        draw_noise((3, 2), generators([5, 6]))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"a seed must be 0\.\.{2**63 - 1}, got {seed}"):
        generators([0, seed])


def test_mixing_meets_both_clips_at_its_ends():
    process = Process(CONFIG)
    first, second = torch.rand(2, *SHAPE)
    seen = []

    def network(x, t, cond=None):
        del t, cond
        seen.append(x)
        return x

    mixed = [
        mix(network, process, a, b, weight=w, t=400, steps=4, generator=generator())
        for a, b, w in [(first, second, 0.0), (second, first, 1.0), (first, first, 0.5)]
    ]
    assert torch.equal(mixed[0], mixed[1])
    torch.testing.assert_close(mixed[0], mixed[2])
    noise = torch.randn(SHAPE, generator=generator())
    expected = process.noised(first, torch.tensor([400, 400]), noise=noise)
    torch.testing.assert_close(seen[0], expected)


def test_mixing_keeps_the_noise_level():
    process = Process(CONFIG)
    shape = (1, 1, 10, 40, 40)
    network, calls = answering(0.0)
    mix(
        network,
        process,
        torch.zeros(shape),
        torch.zeros(shape),
        weight=0.5,
        t=600,
        steps=2,
        generator=generator(),
    )
    sigma = float((1 - process.alpha_bar[600]).sqrt())
    # four standard errors of a standard deviation of 16000 values
    assert float(calls[0][0].std()) == pytest.approx(sigma, rel=4 / 32_000**0.5)


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_mixing_weight_is_checked(weight):
    network, _ = answering(0.0)
    clip = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match=rf"weight must be 0\.\.1, got {weight}"):
        mix(network, Process(CONFIG), clip, clip, weight=weight, t=5, generator=generator())


def test_mixing_clips_of_two_shapes_is_refused():
    network, _ = answering(0.0)
    with pytest.raises(ValueError, match=r"shape: \(2, 1, 2, 3, 4\), \(2, 1, 2, 3, 5\)"):
        mix(
            network,
            Process(CONFIG),
            torch.zeros(SHAPE),
            torch.zeros(*SHAPE[:-1], 5),
            weight=0.5,
            t=5,
            generator=generator(),
        )


BAD = {
    "no network": ({"network": None}, TypeError, "network must be callable, got None"),
    "no process": ({"process": CONFIG}, TypeError, "process must be a Process, got ProcessConfig"),
    "generator": ({"generator": None}, TypeError, "generator must be a torch.Generator, or a list"),
    "seeds": ({"generator": [0, 1]}, TypeError, r"generator must be .* got \[0, 1\]"),
    "one of two": ({"generator": generators([0])}, ValueError, "1 generators for a batch of 2"),
    "half a step": ({"steps": 2.5}, TypeError, "steps must be a whole number, got 2.5"),
    "no step": ({"steps": 0}, ValueError, r"steps must be 1\.\.1000, got 0"),
    "rank": ({"shape": SHAPE[1:]}, ValueError, r"shape must be five .* got \(1, 2, 3, 4\)"),
    "empty": ({"shape": (0, *SHAPE[1:])}, ValueError, "shape must be five whole .* 1 or more each"),
    "sizes": ({"shape": (2, 1, 2, 3, 4.0)}, TypeError, "shape must be five whole numbers"),
    "bytes": ({"start": torch.zeros(SHAPE).byte()}, ValueError, "start must be floating, .*uint8"),
    "half a time": ({"t_start": 2.5}, TypeError, "t must be a whole number, got 2.5"),
    "device": ({"device": "gpu"}, ValueError, "device must be cpu, cuda, .* got 'gpu'"),
    "eta": ({"eta": "1"}, TypeError, "eta must be a number, got '1'"),
    "options": ({"scheduler_options": [1]}, TypeError, "scheduler_options must be a Mapping"),
    "scheduler": ({"scheduler": 5}, TypeError, "scheduler must be a str, got 5"),
    "tuple": (
        {"network": lambda *given, **_: given},
        TypeError,
        "what the network answers must be a torch.Tensor, got",
    ),
    # it would be spread over all channels and frames
    "answer": (
        {"network": lambda x, *_, **__: x[:, :, :1]},
        ValueError,
        r"must answer \(2, 1, 2, 3, 4\), got \(2, 1, 1, 3, 4\)",
    ),
}


@pytest.mark.parametrize(("bad", "error", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_named(bad, error, message):
    given = {"network": answering(0.0)[0], "process": Process(CONFIG), "shape": SHAPE}
    with pytest.raises(error, match=message):
        sample(**{**given, "generator": generator(), "steps": 2, **bad})
