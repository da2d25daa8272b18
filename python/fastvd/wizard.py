"""``fastvd init``: a few questions, and a config from the nearest preset."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from fastvd import presets
from fastvd.train import TrainConfig

Answer = TypeVar("Answer", str, int, float)


def ask(read_line: Callable[[str], str]) -> TrainConfig:
    """Ask for the stage, the clips and the length of the run; Enter takes what is in brackets.

    Raises ValueError when the answers end early or do not make a config.
    """
    stage = _ask(read_line, "stage, base or interpolator", "base", str)
    if stage not in ("base", "interpolator"):
        raise ValueError(f"stage must be base or interpolator, got {stage!r}")
    size = _ask(read_line, "side of the frames in pixels", 64, int)
    preset = presets.get(_preset_name(stage, size))
    clips = dataclasses.replace(
        preset.clips,
        size=size,
        frames=_ask(read_line, "frames a clip", preset.clips.frames, int),
        stride=_ask(read_line, "source frames from one to the next", preset.clips.stride, int),
    )
    return dataclasses.replace(
        preset,
        clips=clips,
        batch_size=_ask(read_line, "clips a batch", preset.batch_size, int),
        steps=_ask(read_line, "training steps", preset.steps, int),
        optim=dataclasses.replace(
            preset.optim, lr=_ask(read_line, "learning rate", preset.optim.lr, float)
        ),
    )


def _preset_name(stage: str, size: int) -> str:
    if size <= 32:
        return "tiny" if stage == "base" else "tiny_interpolator"
    if stage == "interpolator":
        return "interpolator_64"
    return "base_64" if size <= 64 else "base_128"


def _ask(
    read_line: Callable[[str], str], question: str, default: Answer, kind: type[Answer]
) -> Answer:
    try:
        answer = read_line(f"{question} [{default}]: ").strip()
    except EOFError:
        raise ValueError(f"no answer to: {question}") from None
    try:
        return kind(answer) if answer else default
    except ValueError:
        raise ValueError(f"{question}: {answer!r} is no {kind.__name__}") from None
