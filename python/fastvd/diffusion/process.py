"""Gaussian diffusion: how clips are noised, what is learned from it, and the loss."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fastvd.arguments import check_kind, check_whole
from fastvd.config import check_fields, documented
from fastvd.diffusion.guidance import Clip
from fastvd.diffusion.objective import (
    Loss,
    Network,
    Prediction,
    check_clip,
    check_noise,
    loss_per_sample,
    min_snr_weight,
    predict,
    target,
)
from fastvd.diffusion.sampling import Progress, draw_noise, sample
from fastvd.diffusion.schedule import (
    NETWORK_TIMES,
    BetaSchedule,
    Lookup,
    check_timesteps,
    draw_timesteps,
    signal_levels,
)
from fastvd.diffusion.stepper import Generators, Option, scheduler_class


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessConfig:
    """Gaussian noise: its levels, the network's task, and how clips are drawn by default."""

    kind: Literal["gaussian"] = "gaussian"
    """Clips are degraded by Gaussian noise."""
    num_timesteps: int = 1000
    """Number of noise levels; timesteps are 0 to this less one."""
    beta_schedule: BetaSchedule = "cosine"
    """linear: beta 1e-4..0.02; two_stage: beta 5e-3..9e-3; cosine."""
    shift: float = 1.0
    """Divides alpha/sigma at every level; above 1 is noisier, for larger or simpler clips."""
    prediction: Prediction = "v_prediction"
    """What the network answers: the noise, the clean clip (sample) or v."""
    loss: Loss = "l2"
    """Mean of squares, of absolute values, or Huber's mixture of both."""
    min_snr_gamma: float | None = None
    """Weighs the loss by min(SNR, this), as it reads for the prediction; 5 is usual."""
    t_min: int = 0
    """Lowest timestep that is trained."""
    t_max: int | None = None
    """Highest timestep that is trained, itself included; null: the last one."""
    stratified: bool = True
    """Spread the timesteps of a batch evenly over their range."""
    scheduler: str = "DDIM"
    """The diffusers scheduler that draws clips, by class name or short name (dpm++2m, unipc)."""
    scheduler_options: dict[str, Option] = field(default_factory=dict)
    """Options of that scheduler's class, by diffusers' names."""
    sample_steps: int = 50
    """Steps of that scheduler; no more than there are timesteps."""
    eta: float = 0.0
    """Noise that DDIM adds: 0 none, 1 as much as DDPM. Other schedulers pass over it."""
    guidance: float = 1.0
    """Weight of the cond; 1 is no guidance."""
    clip: Clip = "static"
    """Keep the predicted clip in -1..1: static cuts it, dynamic scales it down, none does not."""
    dynamic_quantile: float = 0.9
    """Share of the values that dynamic clipping keeps whole."""
    x0_gain: float = 1.0
    """Factor on the predicted clip at every step; 1.1 to 1.2 mends dim samples of small nets."""

    def __post_init__(self) -> None:
        check_fields(self)
        signal_levels(self.beta_schedule, self.num_timesteps, shift=self.shift)
        scheduler_class(self.scheduler)
        last = self.num_timesteps - 1
        t_max = last if self.t_max is None else self.t_max
        if not 0 <= self.t_min <= t_max <= last:
            raise ValueError(f"t_min..t_max must lie in 0..{last}, got {self.t_min}..{self.t_max}")
        if self.min_snr_gamma is not None and not self.min_snr_gamma > 0:
            raise ValueError(f"min_snr_gamma must be above 0 or null, got {self.min_snr_gamma}")
        if self.sample_steps < 1:
            raise ValueError(f"sample_steps must be at least 1, got {self.sample_steps}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be 0..1, got {self.eta}")
        if not 0 < self.dynamic_quantile <= 1:
            raise ValueError(
                f"dynamic_quantile must be above 0, at most 1, got {self.dynamic_quantile}"
            )
        if not self.x0_gain > 0:
            raise ValueError(f"x0_gain must be above 0, got {self.x0_gain}")


class Process:
    """Gaussian diffusion of clips [B, C, T, H, W] in -1..1.

    ``alpha_bar``: signal at every timestep, float64 [num_timesteps]; ``t_min`` and ``t_max``: the
    first and last timestep trained.
    """

    def __init__(self, config: ProcessConfig) -> None:
        check_kind(ProcessConfig, config=config)
        self.config = config
        self.alpha_bar = signal_levels(
            config.beta_schedule, config.num_timesteps, shift=config.shift
        )
        self._levels = Lookup(self.alpha_bar)
        self.t_min = config.t_min
        self.t_max = config.num_timesteps - 1 if config.t_max is None else config.t_max

    def loss(
        self,
        network: Network,
        clip: Tensor,
        *,
        generator: torch.Generator,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Return the training loss, a scalar, at timesteps and noise from the generator.

        2006.11239, eq. 14, weighted by ``min_snr_gamma`` if there is one.
        """
        check_clip(clip)
        check_kind(torch.Generator, generator=generator)
        config = self.config
        t = draw_timesteps(
            len(clip),
            self.t_min,
            self.t_max,
            is_stratified=config.stratified,
            generator=generator,
        )
        noise = draw_noise(clip.shape, generator, device=clip.device)
        losses = self.loss_at(network, clip, t, noise=noise, cond=cond)
        if config.min_snr_gamma is None:
            return losses.mean()
        levels = self._levels[t]
        weight = min_snr_weight(config.prediction, levels, gamma=config.min_snr_gamma)
        return (losses * weight.to(losses)).mean()

    def loss_at(
        self,
        network: Network,
        clip: Tensor,
        t: Tensor,
        *,
        noise: Tensor,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each sample, float32 [B], unweighted, at timesteps t [B], int."""
        x = self.noised(clip, t, noise=noise)
        alpha, sigma = self._level(t, clip)
        wanted = target(self.config.prediction, clip, noise, alpha=alpha, sigma=sigma)
        output = predict(network, x, self._time(t, clip), cond=cond)
        return loss_per_sample(self.config.loss, output, wanted)

    def preview(
        self,
        network: Network,
        clip: Tensor,
        *,
        generator: Generators,
        cond: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Draw clips of the shape of ``clip``, as the config says."""
        check_clip(clip)
        return sample(
            network,
            self,
            clip.shape,
            generator=generator,
            cond=cond,
            device=clip.device,
            progress=progress,
        )

    def noised(self, clip: Tensor, t: Tensor, *, noise: Tensor) -> Tensor:
        """Return ``alpha clip + sigma noise`` at timesteps t [B], int."""
        check_clip(clip)
        check_noise(noise, clip)
        check_timesteps(t, len(clip), last=self.config.num_timesteps - 1)
        alpha, sigma = self._level(t, clip)
        return alpha * clip + sigma * noise

    def checked_time(self, t: int) -> int:
        """Return t, or raise ValueError if this process has no such timestep."""
        check_whole(t=t)
        if not 0 <= t < self.config.num_timesteps:
            raise ValueError(f"t must be 0..{self.config.num_timesteps - 1}, got {t}")
        return t

    def _level(self, t: Tensor, clip: Tensor) -> tuple[Tensor, Tensor]:
        level = self._levels[t].reshape(-1, *[1] * (clip.ndim - 1))
        return level.sqrt().to(clip), (1 - level).sqrt().to(clip)

    def _time(self, t: Tensor, clip: Tensor) -> Tensor:
        return t.to(clip.device).float() * (NETWORK_TIMES / self.config.num_timesteps)
