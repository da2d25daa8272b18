import pytest
import torch

from fastvd.models import VideoUNet, VideoUNetConfig, tiny, two_stage, vdm


def count(config: VideoUNetConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in VideoUNet(config).parameters())


def test_vdm_counts():
    assert count(vdm(64)) == 35_706_243
    assert count(vdm(32)) < 10_050_000


@pytest.mark.parametrize(
    ("stage", "parameters"), [("base", 158_007_811), ("interpolator", 127_290_371)]
)
def test_two_stage_counts_round_to_those_of_system_0(stage, parameters):
    assert count(two_stage(stage)) == parameters


def test_tiny_counts():
    assert 700_000 < count(tiny()) < 900_000


def test_two_stage_attention_is_as_wide_as_its_level():
    with torch.device("meta"):
        net = VideoUNet(two_stage("base"))
        y = net(torch.empty(1, 3, 5, 64, 64), torch.empty(1))
    assert y.shape == (1, 3, 5, 64, 64)
    widths = [net.ups[i].mixers[0][0].qkv.out_features // 3 for i in (2, 3)]
    assert widths == [1024, 1024]


def test_only_the_interpolator_predicts_pixels():
    assert two_stage("interpolator").tanh
    assert not two_stage("base").tanh


def test_tiny_runs_on_base_and_interpolator_clips():
    torch.manual_seed(0)
    net = VideoUNet(tiny())
    for frames in (3, 5, 9, 17):
        assert net(torch.ones(1, 3, frames, 32, 32), torch.ones(1)).shape[2] == frames
