"""Held-out loss at fixed noise, and the grid of clips that shows how far a run is."""

from pathlib import Path

import torch
from torch import Tensor, nn

from fastvd.data import to_frames, to_network
from fastvd.diffusion import ColdProcess, Process
from fastvd.media.gif import write_gif
from fastvd.media.grid import strip, tile
from fastvd.media.write import write_png
from fastvd.models.denoiser import Denoiser
from fastvd.models.device import Precision, autocast
from fastvd.train.step import seed_of

NUM_LEVELS = 4
"""Noise levels of the held-out loss, evenly spread over those that are trained."""

# clips of the picture strip, real and drawn each
_STRIP_CLIPS = 4
# frames a second of the GIF where the clips have no rate of their own
_GIF_FPS = 8.0
# no viewer shows more
_MAX_GIF_FPS = 50.0


class Evaluation:
    """Judges a network on fixed ``clips``, uint8 [N, T, H, W, C], the same way each time."""

    def __init__(
        self,
        process: Process | ColdProcess,
        clips: Tensor,
        *,
        batch_size: int,
        precision: Precision,
        device: torch.device,
        seed: int,
    ) -> None:
        self._process = process
        self._clips = clips
        self._batch_size = batch_size
        self._precision = precision
        self._device = device
        self._seed = seed

    @torch.inference_mode()
    def loss(self, network: nn.Module) -> dict[str, float]:
        """Return ``held_out_loss``, the mean, and that of each level t as ``held_out_loss_t``."""
        losses = {}
        for t in self._levels():
            generator = torch.Generator().manual_seed(seed_of(self._seed, t, "held-out noise"))
            each = [self._loss_at(network, clip, t, generator) for clip in self._batches()]
            losses[f"held_out_loss_{t}"] = float(torch.cat(each).mean())
        return {"held_out_loss": sum(losses.values()) / len(losses), **losses}

    @torch.inference_mode()
    def draw(self, network: nn.Module, count: int) -> Tensor:
        """Return what this stage draws for the first ``count`` clips, uint8 [N, T, H, W, C]."""
        generator = torch.Generator().manual_seed(seed_of(self._seed, 0, "samples"))
        denoiser = Denoiser(network, precision=self._precision, device=self._device)
        drawn = []
        for clip in self._batches(count):
            sample = self._process.preview(denoiser, clip, generator=generator)
            drawn.append(to_frames(sample.float()).cpu())
        return torch.cat(drawn)

    def write_samples(
        self, network: nn.Module, count: int, path: Path, *, fps: float | None
    ) -> None:
        """Write ``path``.gif, a grid of drawn clips, and .png, real clips above drawn ones."""
        drawn = self.draw(network, count).numpy()
        real = self._clips[: min(count, _STRIP_CLIPS)].numpy()
        path.parent.mkdir(parents=True, exist_ok=True)
        grid = tile(drawn, columns=round(count**0.5))
        write_gif(path.with_suffix(".gif"), grid, fps=min(fps or _GIF_FPS, _MAX_GIF_FPS))
        write_png(path.with_suffix(".png"), strip([*real, *drawn[: len(real)]]))

    def _loss_at(
        self, network: nn.Module, clip: Tensor, t: int, generator: torch.Generator
    ) -> Tensor:
        noise = torch.randn(clip.shape, generator=generator).to(clip)
        times = torch.full((len(clip),), t, device=clip.device)
        with autocast(self._device, self._precision):
            return self._process.loss_at(network, clip, times, noise=noise).float()

    def _levels(self) -> list[int]:
        low, high = self._process.t_min, self._process.t_max
        parts = [(i + 0.5) / NUM_LEVELS for i in range(NUM_LEVELS)]
        return sorted({round(low + part * (high - low)) for part in parts})

    def _batches(self, count: int | None = None) -> list[Tensor]:
        clips = self._clips[:count].to(self._device)
        return [
            to_network(clips[i : i + self._batch_size])
            for i in range(0, len(clips), self._batch_size)
        ]
