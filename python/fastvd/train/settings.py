"""TrainConfig: everything that defines a run."""

from dataclasses import dataclass, field
from typing import Literal

from fastvd.config import check_fields, documented
from fastvd.data import ClipConfig
from fastvd.diffusion import ColdConfig, ProcessConfig
from fastvd.models import VideoUNetConfig
from fastvd.models.device import Precision
from fastvd.train.ema import EmaConfig
from fastvd.train.optim import OptimConfig

# what may change from one fit() of a run to the next: it decides when to stop and what to keep,
# or how the same numbers are computed; more steps stretch a cosine schedule from there on
FREE_KEYS = frozenset(
    {
        "steps",
        "evaluate_every",
        "checkpoint_every",
        "keep_last",
        "log_every",
        "sample_clips",
        "network.gradient_checkpointing",
        "compile",
    }
)


@documented
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A training run of one stage."""

    clips: ClipConfig
    """What a clip is: frames, stride, size."""

    network: VideoUNetConfig
    """The network."""

    process: ProcessConfig | ColdConfig
    """How clips are degraded and what is learned from it."""

    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser and learning rate."""

    ema: EmaConfig = field(default_factory=EmaConfig)
    """Running average of the weights, from which clips are drawn."""

    batch_size: int = 8
    """Clips that pass through the network at once."""

    accumulate: int = 1
    """Batches whose gradients make one step."""

    steps: int = 10_000
    """Steps of the whole run."""

    precision: Precision = "float32"
    """Of the network's arithmetic; the weights stay float32. Below it autocast is used."""

    compile: bool = False
    """Pass the network through torch.compile; on a CPU it does not pay."""

    on_error: Literal["error", "replace"] = "error"
    """A file that can't be used stops the run, or is left out with a warning; a clip of it is
    replaced by another."""

    seed: int = 0
    """Of the weights, of the order of the clips and of the noise."""

    evaluate_every: int = 500
    """Steps from one held-out loss to the next; every checkpoint has one, too."""

    held_out_clips: int = 16
    """Clips of the held-out loss, from each tenth file; none of these files is trained on. With
    fewer than ten files, fixed clips of the training files. 0: no held-out loss."""

    checkpoint_every: int = 500
    """Steps from one checkpoint to the next; the last step has one, too."""

    keep_last: int = 3
    """Newest checkpoints that are kept, two at least, beside that of the best held-out loss."""

    sample_clips: int = 16
    """Clips in the grid that is drawn at step 0 and at every checkpoint; 0: none is drawn."""

    log_every: int = 1
    """Steps from one line of log.jsonl to the next."""

    def __post_init__(self) -> None:
        check_fields(self)
        lowest = {"held_out_clips": 0, "sample_clips": 0}
        counts = ("batch_size", "accumulate", "steps", "evaluate_every", "checkpoint_every")
        for name in (*counts, "keep_last", "log_every", *lowest):
            if getattr(self, name) < lowest.get(name, 1):
                value = getattr(self, name)
                raise ValueError(f"{name} must be {lowest.get(name, 1)} or more, got {value}")
        self._check_shapes()
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in 0..2**63-1, got {self.seed}")

    def _check_shapes(self) -> None:
        """Clips must fit the network, and an interpolator's are a frame between two others."""
        divisor, channels = self.network.divisor(), self.network.in_channels
        if self.clips.size % divisor:
            size = self.clips.size
            raise ValueError(f"clips.size must be a multiple of {divisor} here, got {size}")
        if self.clips.channels != channels:
            raise ValueError(
                f"network.in_channels is {channels}, clips have {self.clips.channels} channels"
            )
        most = self.network.max_frames()
        if most is not None and self.clips.frames > most:
            raise ValueError(f"clips.frames must be {most} or fewer here, got {self.clips.frames}")
        is_interpolator = self.process.kind == "cold" and self.process.degradation == "interpolate"
        if is_interpolator and self.clips.frames != 3:
            raise ValueError(f"an interpolator's clips.frames must be 3, got {self.clips.frames}")
