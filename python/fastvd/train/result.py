"""What fit() returns."""

import math
from pathlib import Path
from typing import NamedTuple

from fastvd.train.log import read_log

# share of the logged losses that make the first and the last mean
_MEAN_SHARE = 0.1


class TrainResult(NamedTuple):
    """How far a run is: ``steps`` done since it began, ``skipped`` of them without effect.

    ``first_loss``, ``last_loss``: mean of the first and the last tenth of the logged losses.
    ``stopped_by``: SIGINT, SIGTERM or time; None when all steps are done.
    """

    steps: int
    skipped: int
    first_loss: float
    last_loss: float
    held_out_loss: float | None
    stopped_by: str | None

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal or the time limit ended the run."""
        return self.stopped_by is not None


def mean_losses(run_dir: Path) -> tuple[float, float]:
    """Return the mean of the first and of the last tenth of the logged losses, NaN for none."""
    losses = [record["loss"] for record in read_log(run_dir) if "loss" in record]
    if not losses:
        return math.nan, math.nan
    part = max(1, round(len(losses) * _MEAN_SHARE))
    return sum(losses[:part]) / part, sum(losses[-part:]) / part
