"""A checkpoint of lucidrains/video-diffusion-pytorch to a run directory of ours."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from fastvd import checkpoint, config
from fastvd.data import ClipConfig
from fastvd.diffusion import ProcessConfig
from fastvd.errors import CheckpointError
from fastvd.models import from_lucidrains
from fastvd.train.settings import TrainConfig

# where the network's weights may lie in the file: a Trainer's, a GaussianDiffusion's, a Unet3D's
MODEL_PREFIXES = ("model.denoise_fn.", "denoise_fn.", "")
EMA_PREFIX = "ema.denoise_fn."
# a network of other timesteps has learned another meaning of t than ours, 0 to 1000
NUM_TIMESTEPS = 1000


def import_checkpoint(source: Path | str, run_dir: Path | str, *, size: int, frames: int) -> None:
    """Make ``run_dir`` of a pickled ``.pt``, to generate from or to start from.

    The pickle is opened with ``weights_only`` in a process of its own. ``size`` and ``frames`` say
    on what clips it was trained, which the file does not. Raises CheckpointError when the file
    holds no such network, FileExistsError when ``run_dir`` is there.
    """
    tensors = _read_pickle(Path(source))
    prefix = next(p for p in MODEL_PREFIXES if any(name.startswith(p) for name in tensors))
    try:
        network = from_lucidrains(_under(tensors, prefix))
        ema = from_lucidrains(_under(tensors, EMA_PREFIX) or _under(tensors, prefix))
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: no Unet3D of video-diffusion-pytorch: {error}") from error
    betas = tensors.get(prefix.replace("denoise_fn.", "betas"))
    if betas is not None and len(betas) != NUM_TIMESTEPS:
        raise CheckpointError(
            f"{source}: has {len(betas)} timesteps, only models with {NUM_TIMESTEPS} are read"
        )
    run_config = TrainConfig(
        clips=ClipConfig(frames=frames, size=size),
        network=network.config,
        process=ProcessConfig(
            num_timesteps=NUM_TIMESTEPS, beta_schedule="cosine", prediction="epsilon", loss="l1"
        ),
    )
    Path(run_dir).mkdir(parents=True)
    config.save_config(Path(run_dir) / "config.yaml", run_config)
    parts = {"model": network.state_dict(), "ema": ema.state_dict()}
    checkpoint.save(run_dir, 0, tensors=parts, state={"imported_from": Path(source).name})


def _read_pickle(source: Path) -> dict[str, Tensor]:
    source.open("rb").close()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tensors.safetensors"
        command = [sys.executable, "-m", "fastvd.train.unpickle", str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise CheckpointError(f"{source}: {reason[-1]}")
        tensors: dict[str, Tensor] = load_file(target)
        return tensors


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
