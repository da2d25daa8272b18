"""Commands that train and sample: train, generate, init, config, import-checkpoint, demo."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fastvd import config

if TYPE_CHECKING:
    import torch

    from fastvd.train import TrainConfig

Command = Callable[..., argparse.ArgumentParser]


def add_commands(command: Command) -> None:
    """Add this file's commands to the parser."""
    _add_train(command("train", _train, "Train one stage, or go on with a run."))
    _add_generate(command("generate", _generate, "Draw clips with one or two trained stages."))
    sub = command("init", _init, "Ask a few questions, write a commented config.")
    sub.add_argument("path", help="YAML file to write")
    sub = command("config", _config, "Print a preset as commented YAML, or list the presets.")
    sub.add_argument("preset", nargs="?")
    _add_import(command("import-checkpoint", _import, "Make a run of a lucidrains checkpoint."))
    sub = command("demo", _demo, "Train both stages on small videos, write out/demo.gif.")
    sub.add_argument("videos", nargs="?", help="a video or a folder (default: moving shapes)")
    sub.add_argument("--out", default="out", metavar="FOLDER")


def _add_train(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--config", metavar="YAML", help="a config file, or the name of a preset")
    sub.add_argument("--videos", required=True, help="a video, or a folder of them")
    sub.add_argument("--run_dir", required=True, help="new, or a run to go on with")
    sub.add_argument("--device", type=_device, help="cpu, cuda, cuda:1 (default: cuda, if any)")
    sub.add_argument("--init_from", metavar="RUN", help="start from what fits of another run")


def _train(args: argparse.Namespace, extra: list[str]) -> int:
    """Any key that fastvd config NAME prints can be set: --optim.lr 1e-4 --clips.stride 2"""
    saved = Path(args.run_dir) / "config.yaml"
    source = args.config or (saved if saved.exists() else None)
    if source is None:
        raise ValueError(f"{args.run_dir} is a new run: it needs --config, see fastvd config")
    from fastvd.train import Trainer

    run_config = _read_config(source, _overrides(extra))
    trainer = Trainer(
        run_config,
        videos=args.videos,
        run_dir=args.run_dir,
        device=args.device,
        init_from=args.init_from,
    )
    result = trainer.fit()
    if result.is_interrupted:
        print(f"stopped at step {result.steps} and saved; the same command goes on from there")
        return 130
    print(
        f"{args.run_dir}: {result.steps} steps are done, "
        f"mean loss of the first and the last tenth: "
        f"{result.first_loss:.4g}, {result.last_loss:.4g}"
    )
    return 0


def _device(text: str) -> "torch.device":
    """Turn a device's name into one that is there."""
    import torch

    try:
        device = torch.device(text)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{text} is no device: cpu, cuda, cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise argparse.ArgumentTypeError(f"{text}: torch finds {count} GPUs on this machine")
    return device


def _overrides(extra: list[str]) -> list[tuple[str, Any]]:
    """Turn ``--a.b 1 --c=x`` into keys and values, values as YAML reads them."""
    pairs = []
    words = iter(extra)
    for word in words:
        if not word.startswith("--"):
            raise ValueError(f"unknown argument: {word}")
        key, has_value, value = word[2:].partition("=")
        text = value if has_value else next(words, None)
        if text is None:
            raise ValueError(f"--{key} needs a value")
        pairs.append((key, yaml.safe_load(text)))
    return pairs


def _read_config(source: Path | str, overrides: list[tuple[str, Any]]) -> "TrainConfig":
    from fastvd import presets
    from fastvd.train import TrainConfig

    is_preset = str(source) in presets.names()
    if not is_preset and not Path(source).exists():
        near = config.nearest(str(source), presets.names())
        raise ValueError(f"{source}: neither a file nor a preset{near}")
    data = config.to_dict(presets.get(str(source))) if is_preset else config.read_yaml(source)
    for key, value in overrides:
        data = config.override(data, key, value)
    try:
        return config.from_dict(TrainConfig, data)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _add_generate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("base", help="run directory of the base model")
    sub.add_argument("--interpolator", metavar="RUN", help="run directory of the interpolator")
    sub.add_argument("--out", default="sample.gif", help="default: sample.gif; or .mp4, .webp")
    sub.add_argument("--num_clips", type=int, default=1, help="more than one: a grid of clips")
    sub.add_argument("--steps", type=int, help="of sampling the key frames (default: the run's)")
    sub.add_argument("--scheduler", help="ddim, ddpm, unipc, euler, ... (default: the run's)")
    sub.add_argument("--doublings", type=int, help="default: while the stride is even")
    sub.add_argument("--seed", type=int, default=0, help="(default: 0)")
    sub.add_argument("--fps", type=float, default=8.0, help="of what is written (default: 8)")
    sub.add_argument("--device", type=_device, help="cpu, cuda, cuda:1 (default: cuda, if any)")


def _generate(args: argparse.Namespace) -> int:
    """With --interpolator, the frames between the key frames are filled in."""
    from fastvd.generate import TwoStage, seeded
    from fastvd.media.grid import tile
    from fastvd.media.write import write_clip

    stages = {"interpolator": args.interpolator, "device": args.device}
    pipeline = TwoStage.from_pretrained(args.base, **stages)
    clip = pipeline(
        num_clips=args.num_clips,
        steps=args.steps,
        scheduler=args.scheduler,
        doublings=args.doublings,
        generator=seeded(args.seed),
    )
    if args.num_clips > 1:
        clip = tile(clip, columns=round(args.num_clips**0.5))
    write_clip(args.out, clip, fps=args.fps)
    print(args.out)
    return 0


def _init(args: argparse.Namespace) -> int:
    """fastvd init base.yaml"""
    if Path(args.path).exists():
        raise ValueError(f"{args.path} is there already")
    from fastvd import wizard

    config.save_config(args.path, wizard.ask(input))
    print(f"{args.path}: train with fastvd train --config {args.path} --videos V --run_dir R")
    return 0


def _config(args: argparse.Namespace) -> int:
    """fastvd config tiny > run.yaml"""
    from fastvd import presets

    if args.preset is None:
        print("\n".join(f"{name:26} {presets.summary(name)}" for name in presets.names()))
    else:
        print(config.to_yaml(presets.get(args.preset)), end="")
    return 0


def _add_import(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("source", help="a .pt of video-diffusion-pytorch: a Trainer's or a network's")
    sub.add_argument("run_dir", help="new run directory, for generate and train --init_from")
    sub.add_argument("--size", type=int, required=True, help="side of the clips it was trained on")
    sub.add_argument("--frames", type=int, required=True, help="frames of these clips")


def _import(args: argparse.Namespace) -> int:
    """fastvd import-checkpoint model-10.pt runs/old --size 64 --frames 10"""
    from fastvd.train.lucidrains import import_checkpoint

    import_checkpoint(args.source, args.run_dir, size=args.size, frames=args.frames)
    print(args.run_dir)
    return 0


def _demo(args: argparse.Namespace) -> int:
    """Prints the paths of what it wrote; exit status 1 if a loss did not fall."""
    from fastvd import demo

    return demo.run(args.videos, Path(args.out))
