"""Training: the loop, its optimiser, its checkpoints."""

from fastvd.train.ema import EmaConfig
from fastvd.train.optim import OptimConfig
from fastvd.train.result import TrainResult
from fastvd.train.resume import PartialLoad
from fastvd.train.settings import TrainConfig
from fastvd.train.trainer import Trainer

__all__ = ["EmaConfig", "OptimConfig", "PartialLoad", "TrainConfig", "TrainResult", "Trainer"]
