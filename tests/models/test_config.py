import pytest

from fastvd import config as configs
from fastvd.models import VideoUNetConfig, tiny, two_stage, vdm


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"out_channels": 0}, "out_channels must be at least 1, got 0"),
        ({"mults": ()}, r"mults must be .* got \(\)"),
        ({"attention": ("none",)}, "attention must name 4 levels.* got 1"),
        ({"stem_kernel": 4}, "stem_kernel must be odd and positive, got 4"),
        ({"time_features": 7}, "time_features must be even and at least 4, got 7"),
        ({"heads": None}, "heads must be a number"),
        ({"heads": None, "head_dim": None, "relative_bias": False}, "can't both be none"),
        ({"temporal_head_dim": 5}, "temporal_head_dim must be even for rotary, got 5"),
        ({"norm": "group", "groups": 7}, "groups must divide every width, got 7, 64"),
        ({"block": "norm"}, "block must be one of"),
        ({"layout": "deep"}, "layout must be one of"),
        ({"attention": ("none", "none", "none", "all")}, "attention must be"),
        ({"frame_embedding": -1}, "frame_embedding must be at least 0, got -1"),
    ],
)
def test_a_bad_value_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        VideoUNetConfig(**bad)


@pytest.mark.parametrize("config", [vdm(), two_stage("base"), tiny()], ids=["vdm", "two", "tiny"])
def test_configs_survive_the_trip_to_a_dict(config):
    assert configs.from_dict(VideoUNetConfig, configs.to_dict(config)) == config
