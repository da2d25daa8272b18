import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastvd.diffusion.degrade import degrade

KINDS = ["blur", "downsample", "mask"]


@pytest.mark.parametrize("kind", KINDS)
def test_severity_zero_changes_nothing(kind):
    clip = torch.randn(2, 3, 2, 7, 5)
    torch.testing.assert_close(degrade(kind, clip, torch.zeros(2)), clip, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_each_sample_has_its_own_severity(kind):
    clip = torch.randn(2, 1, 2, 8, 6)
    both = degrade(kind, clip, torch.tensor([0.2, 0.9]))
    for k, severity in enumerate((0.2, 0.9)):
        alone = degrade(kind, clip[k : k + 1], torch.tensor([severity]))
        torch.testing.assert_close(both[k : k + 1], alone)


@pytest.mark.parametrize("kind", ["blur", "downsample"])
@given(severity=st.floats(0, 1), height=st.integers(1, 9), width=st.integers(1, 9))
def test_flat_clips_stay_flat(kind, severity, height, width):
    clip = torch.full((1, 1, 1, height, width), 0.7)
    degraded = degrade(kind, clip, torch.tensor([severity]))
    torch.testing.assert_close(degraded, clip, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_more_severity_leaves_less_detail(kind):
    clip = torch.randn(1, 1, 1, 32, 32)
    left = [
        float(degrade(kind, clip, torch.tensor([s])).square().mean()) for s in (0, 0.25, 0.5, 1)
    ]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.2 * left[0]


def test_downsampling_takes_the_mean_of_blocks():
    clip = torch.arange(4.0).reshape(1, 1, 1, 1, 4)
    half = degrade("downsample", clip, torch.tensor([0.5]))
    assert half.flatten().tolist() == [0.5, 0.5, 2.5, 2.5]
    whole = degrade("downsample", clip, torch.tensor([1.0]))
    assert whole.flatten().tolist() == [1.5] * 4


def test_blur_spreads_a_point_as_a_gaussian():
    clip = torch.zeros(1, 1, 1, 1, 41)
    clip[..., 20] = 1
    blurred = degrade("blur", clip, torch.tensor([0.1])).flatten().double()
    at = torch.arange(41) - 20
    assert float((blurred * at).sum()) == pytest.approx(0, abs=1e-5)
    # standard deviation of a tenth of half the width
    assert float((blurred * at**2).sum()) == pytest.approx(2.05**2, rel=1e-2)


def test_mask_takes_the_middle_and_keeps_the_corner():
    masked = degrade("mask", torch.ones(1, 1, 1, 5, 5), torch.tensor([0.3]))[0, 0, 0]
    assert masked[2, 2] == 0
    assert masked[0, 0] > 0.99


def test_frames_are_degraded_alike():
    clip = torch.randn(1, 2, 1, 6, 6).expand(1, 2, 3, 6, 6)
    for kind in KINDS:
        degraded = degrade(kind, clip, torch.tensor([0.4]))
        torch.testing.assert_close(degraded[:, :, 0], degraded[:, :, 2])


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 4\) and \(2,\)"):
        degrade("blur", torch.zeros(2, 3, 4, 4), torch.zeros(2))
    with pytest.raises(ValueError, match=r"and \(3,\)"):
        degrade("blur", torch.zeros(2, 3, 1, 4, 4), torch.zeros(3))


def test_degradation_stays_in_full_precision_under_autocast():
    clip = torch.randn(1, 1, 1, 16, 16)
    expected = degrade("blur", clip, torch.tensor([0.1]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(degrade("blur", clip, torch.tensor([0.1])), expected)
