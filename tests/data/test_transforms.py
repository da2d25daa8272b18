import pytest
import torch

from fastvd.data.transforms import to_frames, to_network, to_network_twin


def every_level(channels: int) -> torch.Tensor:
    """Each of the 256 levels once a channel: uint8 [2, 2, 8, 8, C]."""
    levels = torch.arange(256, dtype=torch.uint8).view(2, 2, 8, 8, 1)
    return torch.cat([levels.roll(c, 0) for c in range(channels)], dim=-1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_round_trip_keeps_every_level(channels, dtype):
    frames = every_level(channels)
    back = to_frames(to_network(frames).to(dtype))
    assert torch.equal(back, frames)
    assert back.is_contiguous()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_rust_and_twin_agree_on_every_level(channels, dtype):
    frames = every_level(channels)
    assert torch.equal(to_network(frames, dtype=dtype), to_network_twin(frames, dtype=dtype))
    strided = frames[:, :, ::2, 1:]
    assert torch.equal(to_network(strided, dtype=dtype), to_network_twin(strided, dtype=dtype))


def test_network_range_and_layout():
    frames = torch.zeros(1, 2, 3, 4, 3, dtype=torch.uint8)
    frames[0, 1, 2, 3] = torch.tensor([255, 51, 0])
    clip = to_network(frames)
    assert clip.shape == (1, 3, 2, 3, 4)
    assert clip.dtype == torch.float32
    assert clip.is_contiguous()
    torch.testing.assert_close(clip[0, :, 1, 2, 3], torch.tensor([1.0, -0.6, -1.0]))
    assert clip[0, :, 0].unique().tolist() == [-1.0]


def test_inputs_stay_as_they_are():
    frames = every_level(1)
    clip = to_network(frames)
    kept = clip.clone()
    to_frames(clip)
    assert torch.equal(clip, kept)
    assert torch.equal(frames, every_level(1))


def test_values_beyond_the_range_are_clamped():
    clip = torch.tensor([-3.0, -1.001, 0.0, 1.5]).view(1, 1, 4, 1, 1)
    assert to_frames(clip).flatten().tolist() == [0, 0, 128, 255]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_values_are_refused(bad):
    clip = torch.zeros(1, 1, 2, 2, 2)
    clip[0, 0, 1, 1, 1] = bad
    with pytest.raises(ValueError, match="1 of 8 values"):
        to_frames(clip)


def test_wrong_dtype_and_shape_are_refused():
    with pytest.raises(ValueError, match=r"float32 \[1, 2, 2, 2, 3\]"):
        to_network(torch.zeros(1, 2, 2, 2, 3))
    with pytest.raises(ValueError, match=r"uint8 \[2, 2, 2, 3\]"):
        to_network(torch.zeros(2, 2, 2, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"uint8 \[1, 3, 2, 2, 2\]"):
        to_frames(torch.zeros(1, 3, 2, 2, 2, dtype=torch.uint8))
