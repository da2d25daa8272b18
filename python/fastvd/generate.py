"""Two-stage generation: the base draws key frames, the interpolator the frames between them."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from fastvd import checkpoint, config
from fastvd.arguments import check_callable, check_kind, check_whole, device_of, local_path
from fastvd.data import ClipConfig, to_frames
from fastvd.diffusion import (
    ColdConfig,
    ColdProcess,
    Process,
    ProcessConfig,
    generators,
    make_process,
    sample,
)
from fastvd.diffusion.objective import Network
from fastvd.diffusion.sampling import Progress
from fastvd.errors import CheckpointError
from fastvd.models import VideoUNet, VideoUNetConfig
from fastvd.models.denoiser import Denoiser
from fastvd.models.device import Precision, check_precision, move, pick_device

StageProgress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)`` after each network call, stage by stage."""

_log = logging.getLogger(__name__)


def seeded(seed: int) -> torch.Generator:
    """Return a CPU generator with this seed; raises ValueError unless it is 0..2**63 - 1."""
    return generators([seed])[0]


class TwoStage:
    """Draws clips of ``clips.frames`` key frames and doubles their frames any number of times.

    Networks are called as ``network(x, t, cond=...)``, run at ``precision`` and lie on ``device``.
    On a GPU the passes of a VideoUNet replay as CUDA graphs: hooks see the first of a shape alone.
    """

    def __init__(
        self,
        base_network: Network,
        base_process: Process | ColdProcess,
        *,
        clips: ClipConfig,
        interpolator_network: Network | None = None,
        interpolator_process: Process | ColdProcess | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        check_callable(base_network=base_network)
        check_kind(ClipConfig, clips=clips)
        if isinstance(base_process, ColdProcess):
            raise ValueError(f"the base must be of kind gaussian, got {base_process.config.kind}")
        check_kind(Process, base_process=base_process)
        check_precision(precision)
        if (interpolator_network is None) != (interpolator_process is None):
            raise ValueError("an interpolator needs both a network and a process")
        self.base_network, self.base_process = base_network, base_process
        self.interpolator_network = interpolator_network
        self.interpolator_process = _checked_interpolator(interpolator_process)
        self.clips = clips
        self.device = device_of(device)
        self.precision: Precision = precision

    @classmethod
    def from_pretrained(
        cls,
        base: Path | str,
        *,
        interpolator: Path | str | None = None,
        device: torch.device | str | None = None,
        precision: Precision | None = None,
        ema: bool = True,
    ) -> "TwoStage":
        """Load the newest sound checkpoints of two run directories; averaged weights if ``ema``.

        device: a GPU if there is one; precision: on a GPU the base run's, else float32.

        Raises FileNotFoundError without a ``config.yaml``, CheckpointError without a sound
        checkpoint that fits it, ValueError where the runs are not a base and its interpolator.
        """
        device = pick_device(device)
        first = _load(local_path(base, name="base"), ema=ema, device=device)
        if precision is None:
            precision = first.precision if device.type == "cuda" else "float32"
        on: dict[str, Any] = {"device": device, "precision": precision}
        if interpolator is None:
            return cls(first.network, first.process, clips=first.clips, **on)
        second = _load(local_path(interpolator, name="interpolator"), ema=ema, device=device)
        for name in ("size", "channels"):
            ours, theirs = getattr(first.clips, name), getattr(second.clips, name)
            if ours != theirs:
                raise ValueError(f"base and interpolator differ in {name}: {ours}, {theirs}")
        return cls(
            first.network,
            first.process,
            clips=first.clips,
            interpolator_network=second.network,
            interpolator_process=second.process,
            **on,
        )

    def __call__(
        self,
        *,
        num_clips: int = 1,
        doublings: int | None = None,
        steps: int | None = None,
        scheduler: str | None = None,
        guidance: float | None = None,
        cond: Tensor | None = None,
        interpolator_steps: int | None = None,
        generator: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        batch_size: int = 8,
        progress: StageProgress | None = None,
    ) -> NDArray[np.uint8]:
        """Draw one clip, uint8 [T, H, W, C], or ``num_clips`` of them, [N, T, H, W, C].

        X key frames become 2X - 1, 4X - 3, ... by ``doublings`` (None: while their stride is even,
        one at least, 0 without an interpolator) and stay what they are to the bit. ``seeds``, one a
        clip, make each clip a function of its own seed; else these are drawn from ``generator``.
        ``cond`` has a row a clip. None is as the stages' configs say. ``batch_size``: key-frame
        clips at once.
        """
        check_whole(num_clips=num_clips, batch_size=batch_size)
        check_kind(torch.Generator, or_none=True, generator=generator)
        check_kind(Tensor, or_none=True, cond=cond)
        own = _own_generators(num_clips, generator, seeds)
        doublings = self._checked_doublings(doublings)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if cond is not None and len(cond) != num_clips:
            raise ValueError(f"cond must have a row for each of {num_clips} clips, got {len(cond)}")
        with torch.inference_mode(), _evaluating(self.base_network, self.interpolator_network):
            draw = functools.partial(
                sample,
                self._denoiser(self.base_network),
                self.base_process,
                steps=steps,
                scheduler=scheduler,
                guidance=guidance,
                device=self.device,
            )
            clip = self._key_frames(draw, own, cond, batch_size, progress)
            if doublings:
                assert self.interpolator_network is not None
                between = self._denoiser(self.interpolator_network)
            for i in range(doublings):
                stage = functools.partial(_counted, progress, f"doubling {i + 1}")
                clip = self._doubled(between, clip, own, interpolator_steps, batch_size, stage)
        frames: NDArray[np.uint8] = to_frames(clip).cpu().numpy()
        return frames[0] if num_clips == 1 else frames

    def _denoiser(self, network: Network) -> Denoiser:
        return Denoiser(network, precision=self.precision, device=self.device)

    def _checked_doublings(self, doublings: int | None) -> int:
        check_whole(doublings=doublings, or_none=True)
        if doublings is None:
            # each doubling halves the key frames' stride: 4 to 2 to 1, 6 to 3
            stride = self.clips.stride
            halvings = (stride & -stride).bit_length() - 1
            return 0 if self.interpolator_network is None else max(1, halvings)
        if doublings < 0:
            raise ValueError(f"doublings must be at least 0, got {doublings}")
        if doublings and self.interpolator_network is None:
            raise ValueError(f"{doublings} doublings need an interpolator, there is none")
        return doublings

    def _key_frames(
        self,
        draw: Callable[..., Tensor],
        own: list[torch.Generator],
        cond: Tensor | None,
        batch_size: int,
        progress: StageProgress | None,
    ) -> Tensor:
        frame = (self.clips.channels, self.clips.frames, self.clips.size, self.clips.size)
        parts = _parts(len(own), batch_size)
        drawn = [
            draw(
                (len(own[part]), *frame),
                generator=own[part],
                cond=None if cond is None else cond[part].to(self.device),
                progress=_counted(progress, "base", i, len(parts)),
            )
            for i, part in enumerate(parts)
        ]
        return torch.cat(drawn)

    def _doubled(
        self,
        network: Network,
        clip: Tensor,
        own: list[torch.Generator],
        steps: int | None,
        batch_size: int,
        counted: Callable[[int, int], Progress | None],
    ) -> Tensor:
        """Return [N, C, 2T - 1, H, W]: a frame drawn between each two of [N, C, T, H, W]."""
        assert self.interpolator_process is not None
        gaps = clip.shape[2] - 1
        if gaps == 0:
            return clip
        first = rearrange(clip[:, :, :-1], "n c t h w -> (n t) c 1 h w")
        last = rearrange(clip[:, :, 1:], "n c t h w -> (n t) c 1 h w")
        # a clip's gaps take their noise from its generator one after the other
        each = [generator for generator in own for _ in range(gaps)]
        # three frames at once for each gap, about as many as the base has
        parts = _parts(len(each), max(1, batch_size * self.clips.frames // 3))
        middle = [
            self.interpolator_process.restore(
                network,
                first[part],
                last[part],
                generator=each[part],
                steps=steps,
                progress=counted(i, len(parts)),
            )
            for i, part in enumerate(parts)
        ]
        doubled = clip.new_empty(*clip.shape[:2], 2 * gaps + 1, *clip.shape[3:])
        doubled[:, :, 0::2] = clip
        doubled[:, :, 1::2] = rearrange(torch.cat(middle), "(n t) c 1 h w -> n c t h w", t=gaps)
        return doubled


class _Stage(NamedTuple):
    network: VideoUNet
    precision: Precision
    process: Process | ColdProcess
    clips: ClipConfig


def _load(run_dir: Path, *, ema: bool, device: torch.device) -> _Stage:
    path = run_dir / "config.yaml"
    data = config.read_yaml(path)
    network = VideoUNet(_section(data, "network", VideoUNetConfig, path))
    process_data = data.get("process")
    is_cold = isinstance(process_data, Mapping) and process_data.get("kind") == "cold"
    process_config = _section(data, "process", ColdConfig if is_cold else ProcessConfig, path)
    clips = _section(data, "clips", ClipConfig, path)
    directory = checkpoint.newest(run_dir)
    if directory is None:
        raise CheckpointError(f"{run_dir}: has no checkpoint yet")
    part = "ema" if ema else "model"
    found = checkpoint.load(directory, parts=[part])
    # an imported network has step 0 too, but was trained elsewhere
    if checkpoint.step_of(directory) == 0 and "imported_from" not in found.state:
        _log.warning("%s: this network is untrained (step 0), it will draw noise", directory)
    try:
        network.load_state_dict(found.tensors[part])
    except RuntimeError as error:
        raise CheckpointError(f"{directory}: {part} does not fit {path}: {error}") from error
    move(network, device)
    precision = data.get("precision", "float32")
    return _Stage(network.eval(), precision, make_process(process_config), clips)


def _section(data: Mapping[str, Any], name: str, cls: type[Any], path: Path) -> Any:
    if name not in data:
        raise ValueError(f"{path}: has no section {name}")
    try:
        return config.from_dict(cls, data[name], where=name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _own_generators(
    num_clips: int, generator: torch.Generator | None, seeds: Sequence[int] | None
) -> list[torch.Generator]:
    """Return a generator for each clip, so that batches do not change what is drawn."""
    if num_clips < 1:
        raise ValueError(f"num_clips must be at least 1, got {num_clips}")
    if seeds is not None and generator is not None:
        raise ValueError("give a generator or seeds, not both")
    if seeds is None:
        if generator is None:
            generator = torch.Generator()
            _log.info("drawing with seed %d", generator.seed())
        device = generator.device
        drawn = torch.randint(2**63 - 1, (num_clips,), generator=generator, device=device)
        seeds = drawn.tolist()
    own = generators(seeds)
    if len(own) != num_clips:
        raise ValueError(f"seeds must be {num_clips}, one a clip, got {len(own)}")
    return own


def _checked_interpolator(process: Process | ColdProcess | None) -> ColdProcess | None:
    if process is None:
        return None
    if not isinstance(process, Process):
        check_kind(ColdProcess, interpolator_process=process)
    if isinstance(process, ColdProcess) and process.config.degradation == "interpolate":
        return process
    kind = getattr(process.config, "degradation", process.config.kind)
    raise ValueError(f"the interpolator must be of kind cold, interpolate; got {kind}")


@contextlib.contextmanager
def _evaluating(*networks: Network | None) -> Iterator[None]:
    """Put the networks into evaluation mode, and every part back into its own mode after."""
    modules = [m for net in networks if isinstance(net, nn.Module) for m in net.modules()]
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _counted(progress: StageProgress | None, stage: str, part: int, parts: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(stage, part * total + done, parts * total)
