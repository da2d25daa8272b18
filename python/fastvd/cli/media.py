"""Commands that move frames: gif, extract."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fastvd.cli.progress import progress_line

Command = Callable[..., argparse.ArgumentParser]


def add_commands(command: Command) -> None:
    """Add this file's commands to the parser."""
    _add_gif(command("gif", _gif, "Turn a video, GIF or folder of frames into a GIF."))
    _add_extract(command("extract", _extract, "Write a video's frames as numbered pictures."))


def add_stream(sub: argparse.ArgumentParser) -> None:
    """Let a command be told which of a file's videos it reads."""
    sub.add_argument("--stream", type=int, metavar="N", help="video N of the file, from 0")


def _add_gif(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("source", help="video, GIF, WebP or folder of pictures")
    sub.add_argument("out", help=".gif, .mp4 or .webp")
    sub.add_argument("--width", type=int, help="height follows (default: as it is)")
    sub.add_argument("--start", type=int, default=0, help="first frame")
    sub.add_argument("--frames", type=int, help="how many (default: to the end)")
    add_stream(sub)
    sub.add_argument("--stride", type=int, default=1, help="take every STRIDE-th frame")
    sub.add_argument(
        "--fps", type=float, help="the frames shown at so many times a second (default: all)"
    )
    gif = sub.add_argument_group("of a .gif")
    gif.add_argument("--quality", choices=["fast", "good", "best"], default="good")
    gif.add_argument(
        "--palette",
        choices=["global", "scene", "local"],
        default="global",
        help="colours for the clip, from cut to cut, or for each frame",
    )
    gif.add_argument(
        "--dither",
        choices=["diffusion", "ordered", "blue_noise", "none"],
        help="how missing colours are mixed (default: diffusion, none with --quality fast)",
    )
    gif.add_argument("--lossy", type=int, default=0, help="0 exact (default) to 200 small")
    gif.add_argument("--colors", type=int, default=256, help="2 to 256 (default)")


def _gif(args: argparse.Namespace) -> int:
    """fastvd gif in.mp4 out.gif --width 320 --fps 15"""
    from fastvd.media.gif_convert import convert_to_gif

    if not args.out.lower().endswith(".gif"):
        shape = _convert(args)
    else:
        with progress_line() as progress:
            shape = convert_to_gif(
                args.source,
                args.out,
                start=args.start,
                frames=args.frames,
                stride=args.stride,
                width=args.width,
                fps=args.fps,
                quality=args.quality,
                palette=args.palette,
                dither=args.dither or True,
                lossy=args.lossy,
                colors=args.colors,
                stream=args.stream,
                progress=progress,
            )
    size = Path(args.out).stat().st_size / 1024
    print(f"{args.out}: {shape[0]} frames, {shape[2]}x{shape[1]}, {size:.0f} KiB")
    return 0


def _convert(args: argparse.Namespace) -> tuple[int, int, int]:
    from fastvd.media import probe, read_frames
    from fastvd.media.gif_convert import scaled_size, shown_frames
    from fastvd.media.write import write_clip

    info = probe(args.source, stream=args.stream)
    chosen = {"start": args.start, "frames": args.frames, "stride": args.stride}
    indices, delays = shown_frames(info, **chosen, fps=args.fps, stream=args.stream)
    size = scaled_size(info, args.width)
    clip = read_frames(args.source, indices, size=size, fit="stretch", stream=args.stream)
    write_clip(args.out, clip, fps=args.fps or 100 * len(delays) / sum(delays))
    return len(clip), clip.shape[1], clip.shape[2]


def _add_extract(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("video", help="video, GIF or WebP")
    sub.add_argument("folder", help="frames go to FOLDER/0, FOLDER/1, ...; it must hold none yet")
    sub.add_argument("--size", type=int, metavar="PIXELS", help="square side (default: as it is)")
    sub.add_argument(
        "--fit",
        choices=["pad", "crop", "stretch"],
        default="pad",
        help="what makes it square: black bars (default), the centre alone, another aspect",
    )
    sub.add_argument("--stride", type=int, default=1, help="keep every STRIDE-th frame")
    sub.add_argument(
        "--frames_per_folder", type=int, default=1000, metavar="N", help="(default: 1000)"
    )
    add_stream(sub)
    sub.add_argument("--format", choices=["jpg", "jpeg", "png"], default="jpg", help="default: jpg")


def _extract(args: argparse.Namespace) -> int:
    """fastvd extract film.mp4 frames/ --size 64"""
    from fastvd.media.extract import extract_frames

    total = extract_frames(
        args.video,
        args.folder,
        size=args.size,
        fit=args.fit,
        stride=args.stride,
        frames_per_folder=args.frames_per_folder,
        suffix=args.format,
        stream=args.stream,
    )
    print(f"{total} frames in {args.folder}")
    return 0
