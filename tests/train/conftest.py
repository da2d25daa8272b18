"""A run that is as small as one can be: 4 frames of 8x8, some thousand weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastvd.data import ClipConfig
from fastvd.diffusion import ProcessConfig
from fastvd.models import VideoUNetConfig
from fastvd.train import OptimConfig, TrainConfig


def tiny_config(**options: object) -> TrainConfig:
    """A TrainConfig of 4 steps; ``options`` take the place of its fields."""
    values = {
        "clips": ClipConfig(frames=4, size=8),
        "network": VideoUNetConfig(
            layout="plain",
            dim=8,
            mults=(1,),
            blocks_down=1,
            blocks_up=1,
            patch_size=2,
            stem_kernel=3,
            norm="layer",
            attention=("none",),
            mid_attention="none",
            temporal_conv=True,
            temporal_attention=False,
        ),
        "process": ProcessConfig(sample_steps=2),
        "optim": OptimConfig(name="muon", lr=1e-2, schedule="cosine", warmup_steps=2),
        "batch_size": 2,
        "accumulate": 2,
        "steps": 4,
        "held_out_clips": 2,
        "sample_clips": 2,
        "checkpoint_every": 2,
        "evaluate_every": 1,
    }
    return TrainConfig(**{**values, **options})


@pytest.fixture(scope="session", name="tiny_config")
def tiny_config_fixture() -> Callable[..., TrainConfig]:
    """``tiny_config(**options)``: a TrainConfig of 4 steps on 4 frames of 8x8."""
    return tiny_config


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., Path]) -> Path:
    """Two videos of 12 frames in which a square moves."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(2):
        frames = np.zeros((12, 16, 16, 3), np.uint8)
        for i in range(12):
            frames[i, 4:10, i // 2 : i // 2 + 6, number] = 250
        encode(folder / f"{number}.mp4", frames)
    return folder
