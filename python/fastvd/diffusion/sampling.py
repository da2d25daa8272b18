"""From noise to a clip: one loop for every scheduler."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fastvd.arguments import check_kind, check_numbers, device_of, shown, whole_numbers
from fastvd.diffusion.guidance import bound, guided
from fastvd.diffusion.objective import Network, check_clip, to_x0
from fastvd.diffusion.schedule import NETWORK_TIMES
from fastvd.diffusion.stepper import Generators, Level, Option, Stepper

if TYPE_CHECKING:
    from fastvd.diffusion.process import Process, ProcessConfig

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` after each network call."""

SEEDS = 2**63


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return a CPU generator for each seed, so that a clip depends on its own seed alone."""
    seeds = whole_numbers("seeds", seeds, wanted="whole numbers")
    for seed in seeds:
        if not 0 <= seed < SEEDS:
            raise ValueError(f"a seed must be 0..{SEEDS - 1}, got {seed}")
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def draw_noise(
    shape: Sequence[int], generator: Generators, *, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw normal noise, float32, on the generator's device and move it to ``device``.

    With a list, sample k comes from generator k alone, whatever stands beside it.
    """
    generator = checked_generators(generator, shape[0])
    if isinstance(generator, torch.Generator):
        noise = torch.randn(tuple(shape), generator=generator, device=generator.device)
        return noise.to(device)
    rows = [torch.randn(tuple(shape[1:]), generator=g, device=g.device) for g in generator]
    return torch.stack(rows).to(device)


def checked_generators(generator: Generators, batch: int) -> Generators:
    """Return the generator, or one for each of ``batch`` clips; raises for anything else."""
    if isinstance(generator, torch.Generator):
        return generator
    is_many = isinstance(generator, list | tuple)
    if not is_many or not all(isinstance(each, torch.Generator) for each in generator):
        wanted = "a torch.Generator, or a list of one a clip"
        raise TypeError(f"generator must be {wanted}, got {shown(generator)}")
    if len(generator) != batch:
        raise ValueError(f"{len(generator)} generators for a batch of {batch}")
    return list(generator)


@torch.no_grad()
def sample(
    network: Network,
    process: "Process",
    shape: Sequence[int],
    *,
    generator: Generators,
    steps: int | None = None,
    scheduler: str | None = None,
    scheduler_options: Mapping[str, Option] | None = None,
    eta: float | None = None,
    guidance: float | None = None,
    cond: Tensor | None = None,
    null_cond: Tensor | None = None,
    device: torch.device | str = "cpu",
    start: Tensor | None = None,
    t_start: int | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Draw clips [B, C, T, H, W], float32 about -1..1, of the given shape.

    What is None is as the process's config says; the noise levels are always the process's. With
    ``t_start`` the loop begins there instead of at the last timestep trained, with ``start`` from
    that clip, noised to ``t_start``, instead of from noise. The network's mode is left alone.
    """
    _check_process(process)
    shape = _checked_shape(shape)
    generator = checked_generators(generator, shape[0])
    device = device_of(device)
    config = _overridden(process.config, scheduler, scheduler_options, eta, guidance)
    if config.guidance != 1 and cond is None:
        raise ValueError(f"guidance {config.guidance} needs a cond; without one it must be 1")
    t_start = process.checked_time(process.t_max if t_start is None else t_start)
    if start is not None:
        check_clip(start, name="start")
        if start.shape != shape:
            raise ValueError(f"start is {tuple(start.shape)}, the shape asked for {shape}")
    stepper = Stepper(
        config.scheduler,
        process.alpha_bar[: t_start + 1],
        steps=min(config.sample_steps, t_start + 1) if steps is None else steps,
        options=config.scheduler_options,
    )
    predict = partial(guided, network, cond=cond, null_cond=null_cond, scale=config.guidance)
    if start is None:
        start = draw_noise(shape, generator, device=device)
    return _descend(stepper, predict, config, start.to(device), generator, progress)


@torch.no_grad()
def mix(
    network: Network,
    process: "Process",
    first: Tensor,
    second: Tensor,
    *,
    weight: float,
    t: int,
    generator: Generators,
    steps: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Draw clips between two: noise both to timestep ``t``, mix, denoise. Clips [B, C, T, H, W].

    ``weight`` 0 is the first, 1 the second (2006.11239, section 4.3). Both get the same noise, so
    that the mixture is as noisy as the network expects at ``t``.
    """
    _check_process(process)
    check_clip(first, name="first")
    check_clip(second, name="second")
    check_numbers(weight=weight)
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be 0..1, got {weight}")
    if first.shape != second.shape:
        raise ValueError(f"clips differ in shape: {tuple(first.shape)}, {tuple(second.shape)}")
    if first.dtype != second.dtype:
        raise ValueError(f"clips differ in dtype: {first.dtype}, {second.dtype}")
    noise = draw_noise(first.shape, generator, device=first.device)
    times = torch.full((len(first),), process.checked_time(t))
    mixed = torch.lerp(first, second, weight)
    return sample(
        network,
        process,
        first.shape,
        generator=generator,
        steps=steps,
        scheduler=scheduler,
        device=first.device,
        start=process.noised(mixed, times, noise=noise),
        t_start=t,
        progress=progress,
    )


def _check_process(process: "Process") -> None:
    # imported here: a process draws clips by this module
    from fastvd.diffusion.process import Process

    check_kind(Process, process=process)


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    wanted = "five whole numbers, [B, C, T, H, W]"
    sizes = whole_numbers("shape", shape, wanted=wanted)
    if len(sizes) != 5 or min(sizes) < 1:
        raise ValueError(f"shape must be {wanted}, 1 or more each, got {sizes}")
    return sizes


def _descend(
    stepper: Stepper,
    predict: Callable[[Tensor, Tensor], Tensor],
    config: "ProcessConfig",
    start: Tensor,
    generator: Generators,
    progress: Progress | None,
) -> Tensor:
    """Take every step of the scheduler, from ``start`` to a clean clip."""
    x = stepper.enter(start)
    x0 = x
    for call in range(len(stepper)):
        level = stepper.level(call)
        seen = stepper.process_scale(call, x)
        time = level.t * NETWORK_TIMES / config.num_timesteps
        output = predict(seen, torch.full((len(x),), time, device=x.device)).float()
        x0 = _clean(config, output, seen, level)
        x = stepper.step(call, x, x0=x0, eta=config.eta, generators=generator)
        if progress is not None:
            progress(call + 1, len(stepper))
    return x if stepper.ends_clean else x0


def _clean(config: "ProcessConfig", output: Tensor, x: Tensor, level: Level) -> Tensor:
    x0 = to_x0(config.prediction, output, x, alpha=level.alpha, sigma=level.sigma)
    return bound(config.x0_gain * x0, config.clip, quantile=config.dynamic_quantile)


def _overridden(
    config: "ProcessConfig",
    scheduler: str | None,
    scheduler_options: Mapping[str, Option] | None,
    eta: float | None,
    guidance: float | None,
) -> "ProcessConfig":
    """Return the config with what was given in its place, checked like any config."""
    check_kind(Mapping, or_none=True, scheduler_options=scheduler_options)
    if scheduler is not None and scheduler_options is None:
        # the config's options are for the config's scheduler
        scheduler_options = {}
    given = {
        "scheduler": scheduler,
        "scheduler_options": None if scheduler_options is None else dict(scheduler_options),
        "eta": eta,
        "guidance": guidance,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    return replace(config, **changes)  # type: ignore[arg-type]
