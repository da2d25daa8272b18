import math

import pytest
import torch

from fastvd.diffusion.schedule import draw_timesteps, signal_levels, trailing_timesteps


def test_two_stage_levels_are_those_of_the_system():
    levels = signal_levels("two_stage", 1001)
    expected = torch.tensor([0.995, 0.591, 0.0490, 8.83e-4], dtype=torch.float64)
    torch.testing.assert_close(levels[[0, 100, 500, 1000]], expected, rtol=2e-3, atol=0)


def test_linear_levels_are_those_of_ddpm():
    levels = signal_levels("linear", 1000)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(levels, torch.cumprod(1 - betas, 0), rtol=1e-6, atol=0)


def test_fewer_linear_timesteps_end_as_noisy():
    full, short = signal_levels("linear", 1000), signal_levels("linear", 100)
    assert float(short[-1]) == pytest.approx(float(full[-1]), abs=1e-4)


def test_cosine_levels_follow_the_cosine_up_to_the_clipped_beta():
    levels = signal_levels("cosine", 1000)
    f = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in (0, 1, 500, 999)]
    expected = torch.tensor([value / f[0] for value in f[1:]], dtype=torch.float64)
    torch.testing.assert_close(levels[[0, 499, 998]], expected, rtol=1e-9, atol=0)
    # the last beta would be 1, and is 0.9999
    assert float(levels[999] / levels[998]) == pytest.approx(1e-4)


@pytest.mark.parametrize("schedule", ["linear", "two_stage", "cosine"])
def test_levels_fall_and_keep_some_signal(schedule):
    levels = signal_levels(schedule, 1000)
    assert (levels[1:] < levels[:-1]).all()
    assert 0 < levels[-1] < levels[0] < 1


def test_shift_divides_the_signal_to_noise_ratio_by_its_square():
    plain, shifted = signal_levels("cosine", 1000), signal_levels("cosine", 1000, shift=3.0)
    torch.testing.assert_close(shifted / (1 - shifted), plain / (1 - plain) / 9)


@pytest.mark.parametrize(
    ("schedule", "count", "shift", "message"),
    [
        ("cosine", 1, 1.0, "num_timesteps must be at least 2, got 1"),
        ("cosine", 10, 0.0, r"shift must be above 0, got 0\.0"),
        ("cosine", 10, math.nan, "shift must be above 0, got nan"),
        ("sine", 10, 1.0, "beta_schedule must be linear, two_stage or cosine, got 'sine'"),
    ],
)
def test_bad_schedules_are_refused(schedule, count, shift, message):
    with pytest.raises(ValueError, match=message):
        signal_levels(schedule, count, shift=shift)


def test_stratified_timesteps_come_one_from_each_part():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        t = draw_timesteps(10, 0, 999, is_stratified=True, generator=generator)
        assert sorted((t // 100).tolist()) == list(range(10))


def test_stratified_timesteps_are_in_random_order():
    generator = torch.Generator().manual_seed(0)
    t = draw_timesteps(50, 0, 999, is_stratified=True, generator=generator)
    assert t.tolist() != sorted(t.tolist())


@pytest.mark.parametrize("is_stratified", [True, False])
def test_both_ends_of_the_range_are_drawn_and_all_alike(is_stratified):
    generator = torch.Generator().manual_seed(0)
    draws = [
        draw_timesteps(7, 3, 8, is_stratified=is_stratified, generator=generator)
        for _ in range(1000)
    ]
    counts = torch.bincount(torch.cat(draws), minlength=9)
    assert counts[:3].sum() == 0
    # 7000 draws of 6 values; five standard deviations of the count
    expected = 7000 / 6
    assert (counts[3:] - expected).abs().max() < 5 * math.sqrt(expected * 5 / 6)


def test_trailing_timesteps_begin_at_the_last():
    assert trailing_timesteps(1000, 4) == [999, 749, 499, 249]
    assert trailing_timesteps(10, 10) == list(range(9, -1, -1))


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_number_of_steps_is_checked(steps):
    with pytest.raises(ValueError, match=rf"steps must be 1\.\.1000, got {steps}"):
        trailing_timesteps(1000, steps)


def test_every_number_of_steps_gives_distinct_timesteps():
    for steps in range(1, 1002):
        times = trailing_timesteps(1001, steps)
        assert len(set(times)) == steps
        assert min(times) >= 0
        assert max(times) == 1000
