"""Named training configs: functions that return one."""

import dataclasses
from collections.abc import Callable

from fastvd import models
from fastvd.arguments import check_kind
from fastvd.config import nearest
from fastvd.data import ClipConfig
from fastvd.diffusion import ColdConfig, ProcessConfig
from fastvd.train import EmaConfig, OptimConfig, TrainConfig


def tiny() -> TrainConfig:
    """Base for a CPU: 5 key frames of 32 x 32, minutes on two cores."""
    return TrainConfig(
        clips=ClipConfig(frames=5, stride=4, size=32),
        network=models.tiny(),
        # fresh noise at each step saves clips that begin to fade
        process=ProcessConfig(prediction="sample", shift=4.0, sample_steps=30, eta=1.0),
        optim=OptimConfig(name="muon", lr=2e-3, warmup_steps=50, schedule="cosine"),
        ema=EmaConfig(decay=0.99),
        batch_size=12,
        steps=1000,
        evaluate_every=1000,
        checkpoint_every=1000,
        sample_clips=4,
    )


def tiny_interpolator() -> TrainConfig:
    """Interpolator for tiny: 5 key frames to 9 and 17."""
    return TrainConfig(
        clips=ClipConfig(frames=3, stride=2, size=32),
        network=models.tiny(),
        process=ColdConfig(),
        optim=OptimConfig(name="muon", lr=2e-3, warmup_steps=30, schedule="cosine"),
        ema=EmaConfig(decay=0.99),
        batch_size=16,
        steps=400,
        evaluate_every=400,
        checkpoint_every=400,
        sample_clips=4,
    )


def base_64() -> TrainConfig:
    """Base for one GPU: 16 key frames of 64 x 64."""
    return TrainConfig(
        clips=ClipConfig(frames=16, stride=4, size=64),
        network=models.vdm(64),
        process=ProcessConfig(),
        optim=OptimConfig(lr=2e-4, warmup_steps=500, schedule="cosine"),
        ema=EmaConfig(decay=0.9995),
        batch_size=16,
        steps=60_000,
        precision="bfloat16",
        evaluate_every=1000,
        checkpoint_every=2500,
        log_every=10,
    )


def base_128() -> TrainConfig:
    """Base for one large GPU: 16 key frames of 128 x 128."""
    return TrainConfig(
        clips=ClipConfig(frames=16, stride=4, size=128),
        network=dataclasses.replace(models.vdm(128), gradient_checkpointing=True),
        # more pixels carry the same picture at more noise: log SNR lower by 2 ln 2
        process=ProcessConfig(shift=2.0),
        optim=OptimConfig(lr=1e-4, warmup_steps=1000, schedule="cosine"),
        ema=EmaConfig(decay=0.9998),
        batch_size=8,
        accumulate=2,
        steps=150_000,
        precision="bfloat16",
        evaluate_every=1000,
        checkpoint_every=2500,
        log_every=10,
    )


def interpolator_64() -> TrainConfig:
    """Interpolator for base_64: the frame between two, at 64 x 64."""
    return TrainConfig(
        clips=ClipConfig(frames=3, stride=2, size=64),
        network=models.vdm(64),
        process=ColdConfig(),
        optim=OptimConfig(lr=2e-4, warmup_steps=500, schedule="cosine"),
        ema=EmaConfig(decay=0.9995),
        batch_size=32,
        steps=40_000,
        precision="bfloat16",
        evaluate_every=1000,
        checkpoint_every=2500,
        log_every=10,
    )


def vdm() -> TrainConfig:
    """As lucidrains/video-diffusion-pytorch trains: 10 frames of 64 x 64, noise, cosine, L1."""
    return TrainConfig(
        clips=ClipConfig(frames=10, size=64),
        network=models.vdm(64),
        process=ProcessConfig(prediction="epsilon", loss="l1", stratified=False),
        optim=OptimConfig(lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0, max_grad_norm=None),
        batch_size=32,
        accumulate=2,
        steps=100_000,
        precision="float16",
        checkpoint_every=1000,
    )


def two_stage_base() -> TrainConfig:
    """Base of the first two-stage GIF generator: 5 frames of 64 x 64, 158 M parameters."""
    return TrainConfig(
        clips=ClipConfig(frames=5, stride=6, size=64, fit="pad"),
        network=models.two_stage("base"),
        # it counts its noise levels 0 to 1000
        process=ProcessConfig(
            num_timesteps=1001, beta_schedule="two_stage", prediction="epsilon", clip="none"
        ),
        optim=_two_stage_optim(),
        batch_size=8,
        steps=100_000,
        precision="float16",
        checkpoint_every=1000,
    )


def two_stage_interpolator() -> TrainConfig:
    """Interpolator of the same: the frame between two three frames apart, 127 M parameters."""
    return TrainConfig(
        clips=ClipConfig(frames=3, stride=3, size=64, fit="pad"),
        network=models.two_stage("interpolator"),
        process=ColdConfig(loss_frames="all"),
        optim=_two_stage_optim(),
        batch_size=8,
        steps=100_000,
        precision="float16",
        checkpoint_every=1000,
    )


def _two_stage_optim() -> OptimConfig:
    return OptimConfig(
        lr=2e-5, betas=(0.5, 0.999), weight_decay=0.0, schedule="step", step_every=100_000
    )


_PRESETS: dict[str, Callable[[], TrainConfig]] = {
    preset.__name__: preset
    for preset in (
        tiny,
        tiny_interpolator,
        base_64,
        interpolator_64,
        base_128,
        vdm,
        two_stage_base,
        two_stage_interpolator,
    )
}


def names() -> list[str]:
    """Return the names of the presets."""
    return list(_PRESETS)


def get(name: str) -> TrainConfig:
    """Return the preset of this name; ValueError lists the names there are."""
    return _preset(name)()


def summary(name: str) -> str:
    """Return what the preset of this name is, in a line."""
    return str(_preset(name).__doc__).splitlines()[0]


def _preset(name: str) -> Callable[[], TrainConfig]:
    check_kind(str, name=name)
    if name not in _PRESETS:
        raise ValueError(f"no preset {name}{nearest(name, names())}")
    return _PRESETS[name]
