"""Cold diffusion (Bansal et al., 2208.09392): clips between two known ends, and plain restoring.

The interpolator noises the middle frame of three with one fixed noise, and learns to answer the
clean frames; its restoring is deterministic, given that noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from fastvd.arguments import check_kind
from fastvd.config import check_fields, documented
from fastvd.diffusion.degrade import degrade
from fastvd.diffusion.objective import (
    Loss,
    Network,
    check_clip,
    check_noise,
    loss_per_sample,
    predict,
)
from fastvd.diffusion.sampling import Progress, draw_noise
from fastvd.diffusion.schedule import (
    NETWORK_TIMES,
    BetaSchedule,
    Lookup,
    check_timesteps,
    draw_timesteps,
    signal_levels,
    trailing_timesteps,
)
from fastvd.diffusion.stepper import Generators

CLEAN = -1
"""The timestep below the lowest: nothing is degraded."""


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class ColdConfig:
    """A degradation, how it grows, and how it is undone; the network answers the clean clip."""

    kind: Literal["cold"] = "cold"
    """Clips are degraded by a fixed rule and restored."""
    degradation: Literal["interpolate", "blur", "downsample", "mask"] = "interpolate"
    """interpolate: noise on the middle frame of three; the others act on every frame."""
    num_timesteps: int = 1000
    """Number of severities; timesteps are 0 to this less one."""
    beta_schedule: BetaSchedule = "cosine"
    """How the noise of interpolate grows: linear, two_stage or cosine."""
    shift: float = 1.0
    """Divides alpha/sigma of that noise at every level; above 1 is noisier."""
    loss: Loss = "l2"
    """Mean of squares, of absolute values (the paper's), or Huber's mixture of both."""
    loss_frames: Literal["middle", "all"] = "middle"
    """Frames of interpolate that the loss is over; the ends are known, so middle is enough."""
    stratified: bool = True
    """Spread the timesteps of a batch evenly over their range."""
    sample_steps: int = 10
    """Steps of restoring; no more than there are timesteps."""
    clip_sample: bool = True
    """Cut the predicted clip to -1..1 at every step of restoring."""

    def __post_init__(self) -> None:
        check_fields(self)
        signal_levels(self.beta_schedule, self.num_timesteps, shift=self.shift)
        if self.sample_steps < 1:
            raise ValueError(f"sample_steps must be at least 1, got {self.sample_steps}")


class ColdProcess:
    """Cold diffusion of clips [B, C, T, H, W] in -1..1; three frames each for interpolate.

    ``t_min`` and ``t_max`` are the first and last timestep trained.
    """

    def __init__(self, config: ColdConfig) -> None:
        check_kind(ColdConfig, config=config)
        self.config = config
        self.t_min, self.t_max = 0, config.num_timesteps - 1
        alpha_bar = signal_levels(config.beta_schedule, config.num_timesteps, shift=config.shift)
        # one level more, in front, for CLEAN
        self._levels = Lookup(torch.cat([alpha_bar.new_ones(1), alpha_bar]))

    def loss(
        self,
        network: Network,
        clip: Tensor,
        *,
        generator: torch.Generator,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Return the training loss, a scalar, at timesteps and noise from the generator."""
        self._check_clip(clip)
        check_kind(torch.Generator, generator=generator)
        t = draw_timesteps(
            len(clip),
            self.t_min,
            self.t_max,
            is_stratified=self.config.stratified,
            generator=generator,
        )
        noise = draw_noise(clip.shape, generator, device=clip.device)
        return self.loss_at(network, clip, t, noise=noise, cond=cond).mean()

    def loss_at(
        self,
        network: Network,
        clip: Tensor,
        t: Tensor,
        *,
        noise: Tensor,
        cond: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each sample, float32 [B], at timesteps t [B], int.

        ``noise`` is like the clip; interpolate takes its middle frame, the others none of it.
        """
        self._check_clip(clip)
        check_timesteps(t, len(clip), last=self.t_max)
        if not self._is_interpolator:
            output = self._restored(network, self._degraded(clip, t), t, cond=cond)
            return loss_per_sample(self.config.loss, output, clip)
        check_noise(noise, clip)
        middle = clip[:, :, 1:2]
        noised = self._noised(middle, t, noise=noise[:, :, 1:2])
        x = torch.cat([clip[:, :, :1], noised, clip[:, :, 2:]], dim=2)
        output = self._restored(network, x, t, cond=cond)
        if self.config.loss_frames == "middle":
            return loss_per_sample(self.config.loss, output[:, :, 1:2], middle)
        return loss_per_sample(self.config.loss, output, clip)

    @torch.no_grad()
    def restore(
        self,
        network: Network,
        first: Tensor,
        last: Tensor,
        *,
        generator: Generators,
        steps: int | None = None,
        cond: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Draw the frame between each two: [B, C, 1, H, W] from first and last of that shape.

        Algorithm 2 with D = noising by one fixed noise, from pure noise; steps as the config says
        if None.
        """
        if not self._is_interpolator:
            raise ValueError(f"restore is for interpolate, not {self.config.degradation}")
        check_clip(first, name="first")
        check_clip(last, name="last")
        if first.shape[2] != 1 or first.shape != last.shape:
            raise ValueError(
                "first and last must be [B, C, 1, H, W], "
                f"got {tuple(first.shape)} and {tuple(last.shape)}"
            )
        noise = draw_noise(first.shape, generator, device=first.device)

        def middle(x: Tensor, t: int) -> Tensor:
            clip = torch.cat([first, x, last], dim=2)
            return self._answer(network, clip, t, cond=cond)[:, :, 1:2]

        def noised(x0: Tensor, t: int) -> Tensor:
            times = torch.full((len(x0),), t, device=x0.device)
            return self._noised(x0, times, noise=noise)

        return algorithm_2(
            noise, self._timesteps(steps), restore=middle, degrade=noised, progress=progress
        )

    @torch.no_grad()
    def restore_clip(
        self,
        network: Network,
        degraded: Tensor,
        *,
        steps: int | None = None,
        cond: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Restore clips that were blurred, downsampled or masked as far as the last timestep."""
        if self._is_interpolator:
            raise ValueError("restore_clip is for blur, downsample and mask, not interpolate")
        check_clip(degraded, name="degraded")
        return algorithm_2(
            degraded,
            self._timesteps(steps),
            restore=lambda x, t: self._answer(network, x, t, cond=cond),
            degrade=lambda x0, t: self._degraded(x0, torch.full((len(x0),), t)),
            progress=progress,
        )

    def preview(
        self,
        network: Network,
        clip: Tensor,
        *,
        generator: Generators,
        cond: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Draw the middle frames between the ends of ``clip``, or degrade it and restore it."""
        self._check_clip(clip)
        if not self._is_interpolator:
            worst = torch.full((len(clip),), self.t_max)
            degraded = self._degraded(clip, worst)
            return self.restore_clip(network, degraded, cond=cond, progress=progress)
        first, last = clip[:, :, :1], clip[:, :, 2:]
        middle = self.restore(
            network, first, last, generator=generator, cond=cond, progress=progress
        )
        return torch.cat([first, middle, last], dim=2)

    @property
    def _is_interpolator(self) -> bool:
        return self.config.degradation == "interpolate"

    def _check_clip(self, clip: Tensor) -> None:
        check_clip(clip)
        if self._is_interpolator and clip.shape[2] != 3:
            raise ValueError(f"clip must be [B, C, 3, H, W], got {tuple(clip.shape)}")

    def _timesteps(self, steps: int | None) -> list[int]:
        if steps is None:
            steps = min(self.config.sample_steps, self.config.num_timesteps)
        return trailing_timesteps(self.config.num_timesteps, steps)

    def _noised(self, frame: Tensor, t: Tensor, *, noise: Tensor) -> Tensor:
        level = rearrange(self._levels[t + 1], "b -> b 1 1 1 1")
        return level.sqrt().to(frame) * frame + (1 - level).sqrt().to(frame) * noise

    def _degraded(self, clip: Tensor, t: Tensor) -> Tensor:
        kind = self.config.degradation
        assert kind != "interpolate"
        return degrade(kind, clip, (t + 1) / self.config.num_timesteps)

    def _restored(self, network: Network, x: Tensor, t: Tensor, *, cond: Tensor | None) -> Tensor:
        scale = NETWORK_TIMES / self.config.num_timesteps
        return predict(network, x, t.to(x.device).float() * scale, cond=cond)

    def _answer(self, network: Network, x: Tensor, t: int, *, cond: Tensor | None) -> Tensor:
        times = torch.full((len(x),), t, device=x.device)
        x0 = self._restored(network, x, times, cond=cond).float()
        return x0.clamp(-1, 1) if self.config.clip_sample else x0


def algorithm_2(
    x: Tensor,
    timesteps: Sequence[int],
    *,
    restore: Callable[[Tensor, int], Tensor],
    degrade: Callable[[Tensor, int], Tensor],
    progress: Progress | None = None,
) -> Tensor:
    """Undo a degradation: ``x_s = x_t - D(x_0', t) + D(x_0', s)``, x_0' = ``restore(x_t, t)``.

    2208.09392, algorithm 2, down ``timesteps`` and then to CLEAN, where ``degrade`` must change
    nothing. For D(x, t) = x + t e the result is exact, whatever ``restore`` answers.
    """
    for done, (t, t_next) in enumerate(pairwise([*timesteps, CLEAN]), start=1):
        x0 = restore(x, t)
        x = x - degrade(x0, t) + degrade(x0, t_next)
        if progress is not None:
            progress(done, len(timesteps))
    return x
