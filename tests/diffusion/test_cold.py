from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastvd.diffusion import ColdConfig, ColdProcess, generators
from fastvd.diffusion.cold import CLEAN, algorithm_2

SHAPE = (4, 2, 3, 5, 6)
CONFIG = ColdConfig(clip_sample=False)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ends(shape=(4, 2, 1, 5, 6)):
    return torch.rand(shape) - 0.5, torch.rand(shape) - 0.5


@given(
    x0=st.lists(st.integers(-50, 50), min_size=1, max_size=4),
    e=st.integers(-9, 9),
    times=st.lists(st.integers(0, 60), min_size=1, max_size=8, unique=True),
    seed=st.integers(0, 2**32),
)
def test_algorithm_2_is_exact_for_a_straight_degradation_whatever_is_answered(x0, e, times, seed):
    clean = torch.tensor(x0, dtype=torch.float64)
    answers = generator(seed)

    def nonsense(x, t):
        del t
        return torch.randint(-100, 100, x.shape, generator=answers).double()

    def straight(x, t):
        return x + (t - CLEAN) * e

    times = sorted(times, reverse=True)
    restored = algorithm_2(straight(clean, times[0]), times, restore=nonsense, degrade=straight)
    # whole numbers, so float64 holds every step exactly
    assert torch.equal(restored, clean)


def test_algorithm_2_of_a_perfect_network_is_exact_for_any_degradation():
    clean = torch.rand(3)
    restored = algorithm_2(
        torch.tanh(9 * clean),
        [8, 5, 2],
        restore=lambda x, t: clean + 0 * x + 0 * t,
        degrade=lambda x, t: torch.tanh((t - CLEAN) * x) if t > CLEAN else x,
    )
    torch.testing.assert_close(restored, clean)


def middle_network(value):
    """A network that answers ``value`` for the middle frame and nonsense for the ends."""
    calls = []

    def network(x, t, cond=None):
        del cond
        calls.append((x, t))
        return torch.cat([x[:, :, :1] + 7, value.expand_as(x[:, :, :1]), x[:, :, 2:] - 7], dim=2)

    return network, calls


def test_restoring_draws_what_a_sure_network_answers():
    first, last = ends()
    network, _ = middle_network(torch.full((4, 2, 1, 5, 6), 0.4))
    middle = ColdProcess(CONFIG).restore(network, first, last, generator=generator())
    torch.testing.assert_close(middle, torch.full_like(first, 0.4), rtol=0, atol=1e-4)


def test_network_sees_the_known_ends_and_one_fixed_noise():
    first, last = ends()
    network, calls = middle_network(torch.full((4, 2, 1, 5, 6), 0.4))
    process = ColdProcess(CONFIG)
    process.restore(network, first, last, steps=5, generator=generator(3))
    noise = torch.randn(first.shape, generator=generator(3))
    assert [float(t[0]) for _, t in calls] == [999, 799, 599, 399, 199]
    for x, t in calls:
        assert torch.equal(x[:, :, :1], first)
        assert torch.equal(x[:, :, 2:], last)
        level = float(process._levels[t[:1].long() + 1])
        expected = level**0.5 * 0.4 + (1 - level) ** 0.5 * noise
        torch.testing.assert_close(x[:, :, 1:2], expected, rtol=0, atol=1e-4)


def test_restoring_a_frame_depends_on_its_generator_alone():
    first, last = ends()

    def network(x, t, cond=None):
        del t, cond
        return x.tanh()

    process = ColdProcess(CONFIG)
    whole = process.restore(network, first, last, generator=generators([1, 2, 3, 4]))
    alone = process.restore(network, first[2:3], last[2:3], generator=generators([3]))
    assert torch.equal(whole[2:3], alone)


def test_answers_are_cut_to_the_range_of_clips():
    first, last = ends()
    network, _ = middle_network(torch.full((4, 2, 1, 5, 6), 9.0))
    middle = ColdProcess(ColdConfig()).restore(network, first, last, generator=generator())
    torch.testing.assert_close(middle, torch.ones_like(first), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("frames", "expected"), [("middle", 0.0), ("all", 2 * 49 / 3)])
def test_loss_is_over_the_frames_that_are_asked_for(frames, expected):
    clip = torch.rand(SHAPE)
    network, _ = middle_network(clip[:, :, 1:2])
    process = ColdProcess(replace(CONFIG, loss_frames=frames))
    loss = process.loss_at(network, clip, torch.tensor([0, 9, 500, 999]), noise=torch.randn(SHAPE))
    torch.testing.assert_close(loss, torch.full((4,), expected), rtol=1e-5, atol=1e-6)


def test_training_noises_the_middle_alone():
    process = ColdProcess(CONFIG)
    clip, noise = torch.rand(2, *SHAPE)
    network, calls = middle_network(clip[:, :, 1:2])
    process.loss_at(network, clip, torch.full((4,), 999), noise=noise)
    x, t = calls[0]
    assert torch.equal(x[:, :, [0, 2]], clip[:, :, [0, 2]])
    torch.testing.assert_close(x[:, :, 1], noise[:, :, 1], rtol=0, atol=1e-4)
    assert t.tolist() == [999.0] * 4


def test_all_timesteps_are_trained():
    process = ColdProcess(replace(CONFIG, num_timesteps=5))
    network, calls = middle_network(torch.zeros(4, 2, 1, 5, 6))
    g = generator()
    for _ in range(30):
        process.loss(network, torch.zeros(SHAPE), generator=g)
    assert set(torch.cat([t for _, t in calls]).tolist()) == {0.0, 200.0, 400.0, 600.0, 800.0}


def test_preview_keeps_the_ends():
    clip = torch.rand(SHAPE)
    network, _ = middle_network(torch.full((4, 2, 1, 5, 6), 0.4))
    drawn = ColdProcess(CONFIG).preview(network, clip, generator=generator())
    assert torch.equal(drawn[:, :, [0, 2]], clip[:, :, [0, 2]])
    torch.testing.assert_close(drawn[:, :, 1], torch.full_like(clip[:, :, 1], 0.4))


@pytest.mark.parametrize("kind", ["blur", "downsample", "mask"])
def test_classic_degradations_are_undone_by_a_perfect_network(kind):
    clip = torch.rand(2, 3, 4, 8, 8)
    process = ColdProcess(replace(CONFIG, degradation=kind))
    drawn = process.preview(
        lambda x, t, cond: clip + 0 * (x.sum() + t.sum()) if cond is None else x,
        clip,
        generator=generator(),
    )
    torch.testing.assert_close(drawn, clip, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["blur", "downsample", "mask"])
def test_classic_degradations_are_trained_on_whole_clips(kind):
    clip = torch.rand(2, 3, 4, 8, 8)
    process = ColdProcess(replace(CONFIG, degradation=kind, loss="l1"))
    seen = []

    def network(x, t, cond=None):
        seen.append((x, t, cond))
        return x

    loss = process.loss_at(network, clip, torch.tensor([0, 999]), noise=torch.zeros_like(clip))
    difference = (seen[0][0] - clip).abs().mean((1, 2, 3, 4))
    torch.testing.assert_close(loss, difference)
    assert loss[0] < 0.9 * loss[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_steps": 0}, "sample_steps must be at least 1, got 0"),
        ({"degradation": "snow"}, "degradation must be one of interpolate, .*, got 'snow'"),
        ({"loss": "l3"}, "loss must be one of l2, l1, huber, got 'l3'"),
        ({"loss_frames": "ends"}, "loss_frames must be one of middle, all, got 'ends'"),
        ({"num_timesteps": 1}, "num_timesteps must be at least 2, got 1"),
    ],
)
def test_bad_config_is_refused_with_its_value(changes, message):
    with pytest.raises(ValueError, match=message):
        ColdConfig(**changes)


def test_clip_of_other_than_three_frames_is_refused():
    network, _ = middle_network(torch.zeros(1))
    with pytest.raises(ValueError, match=r"clip must be \[B, C, 3, H, W\], got \(1, 2, 4, 5, 6\)"):
        ColdProcess(CONFIG).loss(network, torch.zeros(1, 2, 4, 5, 6), generator=generator())


def test_ends_must_be_single_frames():
    network, _ = middle_network(torch.zeros(1))
    two = torch.zeros(1, 2, 2, 5, 6)
    with pytest.raises(ValueError, match=r"first and last must be \[B, C, 1, H, W\]"):
        ColdProcess(CONFIG).restore(network, two, two, generator=generator())


def test_known_frames_are_floating():
    network, _ = middle_network(torch.zeros(1))
    first, last = ends()
    with pytest.raises(ValueError, match=r"last must be floating, -1\.\.1, got torch.uint8"):
        ColdProcess(CONFIG).restore(network, first, last.byte(), generator=generator())


def test_more_steps_than_timesteps_are_refused():
    network, _ = middle_network(torch.zeros(1))
    with pytest.raises(ValueError, match=r"steps must be 1\.\.1000, got 2000"):
        ColdProcess(CONFIG).restore(network, *ends(), steps=2000, generator=generator())


def test_each_restoring_is_for_its_own_degradation():
    network, _ = middle_network(torch.zeros(1))
    with pytest.raises(ValueError, match="restore is for interpolate, not blur"):
        ColdProcess(ColdConfig(degradation="blur")).restore(network, *ends(), generator=generator())
    with pytest.raises(ValueError, match=r"restore_clip is for blur, .* not interpolate"):
        ColdProcess(CONFIG).restore_clip(network, torch.zeros(SHAPE))
