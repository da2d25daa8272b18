"""A data set with a known answer: independent normal values, of one mean and spread a frame."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from fastvd.diffusion import Process


def frame_values(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1, 1, 1)


@dataclass
class Gaussian:
    """Clips [B, 1, 2, 1, W] whose values are N(mean, spread^2), frame by frame."""

    mean: Tensor = field(default_factory=lambda: frame_values([0.3, -0.5]))
    spread: Tensor = field(default_factory=lambda: frame_values([0.4, 0.25]))

    def network(
        self, process: Process, calls: list[tuple[Tensor, Tensor]] | None = None
    ) -> Callable[..., Tensor]:
        """Return the exact network: E[x_0 | x_t], told as the process's prediction.

        Each call's x and t are put into ``calls``.
        """
        alpha_bar = process.alpha_bar
        log_snr = torch.log(alpha_bar / (1 - alpha_bar)).numpy()

        def answer(x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            del cond
            if calls is not None:
                calls.append((x.double(), t))
            index = t.double().numpy() * len(log_snr) / 1000
            level = torch.from_numpy(np.interp(index, np.arange(len(log_snr)), log_snr))
            level = level.reshape(-1, 1, 1, 1, 1)
            alpha, sigma = level.sigmoid().sqrt(), (-level).sigmoid().sqrt()
            x = x.double()
            variance = alpha**2 * self.spread**2 + sigma**2
            x0 = self.mean + alpha * self.spread**2 / variance * (x - alpha * self.mean)
            kinds = {
                "sample": x0,
                "epsilon": (x - alpha * x0) / sigma,
                "v_prediction": (alpha * x - x0) / sigma,
            }
            return kinds[process.config.prediction].float()

        return answer

    def start(self, process: Process, count: int) -> Tensor:
        """``count`` values a frame that lie exactly as x_T does, float32 [1, 1, 2, 1, count]."""
        places = norm.ppf((np.arange(count) + 0.5) / count)
        places = torch.from_numpy(places / places.std())
        alpha_bar = process.alpha_bar[-1]
        spread = (alpha_bar * self.spread**2 + 1 - alpha_bar).sqrt()
        return (alpha_bar.sqrt() * self.mean + spread * places).float()

    def errors(self, clip: Tensor) -> tuple[float, float]:
        """Return the largest error of mean and of standard deviation, in spreads."""
        dims = (0, 1, 3, 4)
        clip = clip.double()
        mean = (clip.mean(dims, keepdim=True) - self.mean) / self.spread
        deviation = clip.std(dims, keepdim=True, correction=0) / self.spread - 1
        return float(mean.abs().max()), float(deviation.abs().max())


@pytest.fixture
def gaussian() -> Gaussian:
    return Gaussian()
