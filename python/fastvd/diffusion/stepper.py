"""The one place that knows diffusers: its schedulers by name, on our noise levels."""

import contextlib
import importlib
import inspect
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastvd.arguments import check_kind
from fastvd.diffusion.objective import from_x0
from fastvd.diffusion.schedule import trailing_timesteps

Generators = torch.Generator | list[torch.Generator]
Option = bool | int | float | str

# the schedulers that take any noise schedule and any network; the others that diffusers has keep
# their own noise levels (EDM, flow matching), run upwards, or want a distilled network
SCHEDULERS = (
    "DDIM",
    "DDIMParallel",
    "DDPM",
    "DDPMParallel",
    "DEISMultistep",
    "DPMSolverMultistep",
    "DPMSolverSinglestep",
    "EulerAncestralDiscrete",
    "EulerDiscrete",
    "HeunDiscrete",
    "KDPM2AncestralDiscrete",
    "KDPM2Discrete",
    "LMSDiscrete",
    "PNDM",
    "SASolver",
    "UniPCMultistep",
)
SHORT_NAMES = {
    "deis": "DEISMultistep",
    "dpm++": "DPMSolverMultistep",
    "dpm++2m": "DPMSolverMultistep",
    "dpm++2s": "DPMSolverSinglestep",
    "dpm2": "KDPM2Discrete",
    "dpm2a": "KDPM2AncestralDiscrete",
    "euler": "EulerDiscrete",
    "eulera": "EulerAncestralDiscrete",
    "eulerancestral": "EulerAncestralDiscrete",
    "heun": "HeunDiscrete",
    "kdpm2": "KDPM2Discrete",
    "kdpm2ancestral": "KDPM2AncestralDiscrete",
    "lms": "LMSDiscrete",
    "plms": "PNDM",
    "sa": "SASolver",
    "unipc": "UniPCMultistep",
}
# what differs from a class's own defaults, wherever the class has the option
DEFAULTS: dict[str, Option] = {
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "skip_prk_steps": True,
    "lower_order_final": True,
}
# their second-order rules extrapolate from the first step, which leaps over any distance between
# a signal of next to nothing and the next level; above this they begin at noise all the same
LEAPING = (
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "PNDMScheduler",
)
LEAST_SIGNAL = 1e-5
OURS = {"num_train_timesteps", "trained_betas", "beta_start", "beta_end", "beta_schedule"} | {
    "prediction_type",
    "rescale_betas_zero_snr",
}


def scheduler_class(name: str) -> str:
    """Return the diffusers class that ``name`` means; case, spaces, - and _ do not matter.

    Takes class names with or without "Scheduler", and short ones: "dpm++2m", "unipc", "euler a".
    """
    check_kind(str, scheduler=name)
    key = re.sub(r"[\s_-]", "", name).lower().removesuffix("scheduler")
    known = {known.lower(): known for known in SCHEDULERS} | SHORT_NAMES
    if key not in known:
        raise ValueError(f"no scheduler {name!r}; there are {', '.join(sorted(known))}")
    return f"{known[key]}Scheduler"


class Level(NamedTuple):
    """Where a network call stands: its timestep and ``x_t = alpha x_0 + sigma noise``."""

    t: float
    alpha: float
    sigma: float


class Stepper:
    """A diffusers scheduler that takes ``steps`` steps down the noise levels ``alpha_bar`` [N].

    ``len()`` is the number of network calls: Heun, KDPM2 and PNDM make more than one a step.
    Between ``enter`` and the last step a clip is at the scheduler's own scale.
    """

    def __init__(
        self, name: str, alpha_bar: Tensor, *, steps: int, options: Mapping[str, Option]
    ) -> None:
        class_name = scheduler_class(name)
        if class_name in LEAPING:
            alpha_bar = alpha_bar[alpha_bar >= LEAST_SIGNAL]
        chosen = trailing_timesteps(len(alpha_bar), steps)
        # a schedule of just the steps' own levels (2102.09672, section 4): diffusers' spacing by
        # whole numbers would miss the last level, or the first, unless steps divides N
        is_respaced = not any(key.startswith("use_") and options[key] for key in options)
        levels = alpha_bar[chosen[::-1]] if is_respaced else alpha_bar
        self._scheduler, self._prediction = _build(class_name, levels, options)
        with _no_deprecation():
            if is_respaced and "timestep_spacing" not in self._scheduler.config:
                self._scheduler.set_timesteps(timesteps=list(range(steps))[::-1])
            else:
                self._scheduler.set_timesteps(steps)
        self._accepts = inspect.signature(self._scheduler.step).parameters
        self._log_snr = torch.log(alpha_bar / (1 - alpha_bar)).flip(0).numpy()

    def __len__(self) -> int:
        return len(self._scheduler.timesteps)

    @property
    def ends_clean(self) -> bool:
        """Whether the last step removes all noise; DEIS and SA stop at the lowest level."""
        return not hasattr(self._scheduler, "sigmas") or float(self._scheduler.sigmas[-1]) == 0

    def level(self, call: int) -> Level:
        """Return the noise level at network call ``call``; ask before that call's step."""
        alpha_bar = self._alpha_bar(call)
        # between trained timesteps (KDPM2, Karras sigmas) by the logarithm, as diffusers does;
        # rounded, so that a trained one is met exactly
        log_snr = math.log(alpha_bar / (1 - alpha_bar))
        top = len(self._log_snr) - 1
        t = round(top - float(np.interp(log_snr, self._log_snr, np.arange(top + 1))), 3)
        return Level(t, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    def enter(self, x: Tensor) -> Tensor:
        """Take a clip from the process's scale to the scheduler's, before the first step."""
        scale = float(self._scaled(0, torch.ones(1, dtype=torch.float64)))
        return x / scale

    def process_scale(self, call: int, x: Tensor) -> Tensor:
        """Return the clip as the network sees it, ``alpha x_0 + sigma noise``."""
        return self._scaled(call, x)

    def step(
        self, call: int, x: Tensor, *, x0: Tensor, eta: float, generators: Generators
    ) -> Tensor:
        """Step from call ``call`` to the next, given the predicted clean clip."""
        level = self.level(call)
        seen = self.process_scale(call, x)
        output = from_x0(self._prediction, x0, seen, alpha=level.alpha, sigma=level.sigma)
        extra = {"eta": eta, "generator": generators}
        extra = {key: value for key, value in extra.items() if key in self._accepts}
        timestep = self._scheduler.timesteps[call]
        with _no_deprecation():
            stepped = self._scheduler.step(output, timestep, x, return_dict=False, **extra)
        x_next: Tensor = stepped[0]
        return x_next

    def _scaled(self, call: int, x: Tensor) -> Tensor:
        scaled: Tensor = self._scheduler.scale_model_input(x, self._scheduler.timesteps[call])
        return scaled

    def _alpha_bar(self, call: int) -> float:
        scale = float(self._scaled(call, torch.ones(1, dtype=torch.float64)))
        if scale != 1:
            return scale**2
        if hasattr(self._scheduler, "sigmas"):
            return 1 / (1 + float(self._scheduler.sigmas[call]) ** 2)
        return float(self._scheduler.alphas_cumprod[self._scheduler.timesteps[call]])


def _build(name: str, alpha_bar: Tensor, options: Mapping[str, Option]) -> tuple[Any, Any]:
    """Return the scheduler on these levels and the kind of prediction that it is given."""
    # imported here: it takes seconds, and training does without
    cls = getattr(importlib.import_module("diffusers"), name)
    accepts = set(inspect.signature(cls.__init__).parameters) - {"self"}
    allowed = sorted(accepts - OURS)
    for key in options:
        if key not in allowed:
            raise ValueError(f"{name} has no option {key!r}; it has {', '.join(allowed)}")
    # PNDM's multistep rule is for epsilon; v is well behaved at both ends of the schedule
    prediction = "epsilon" if name == "PNDMScheduler" else "v_prediction"
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    with _no_deprecation():
        scheduler = cls(
            **{key: value for key, value in DEFAULTS.items() if key in accepts} | dict(options),
            num_train_timesteps=len(alpha_bar),
            trained_betas=(1 - alpha_bar / before).tolist(),
            prediction_type=prediction,
        )
    # its own product of 1 - beta, in float32, rounds the last levels to zero, the first to one
    scheduler.alphas_cumprod = alpha_bar
    return scheduler, prediction


@contextlib.contextmanager
def _no_deprecation() -> Iterator[None]:
    """Silence NumPy 2's warning about the way diffusers turns tensors to arrays."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array_", DeprecationWarning)
        yield
