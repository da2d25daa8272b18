"""The command line: parses, calls the library, prints.

A command imports what it needs when it runs: torch takes seconds, and --help and probe none of it.
"""

import argparse
import difflib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from fastvd.cli import bench, media, prepare, probe, runs
from fastvd.cli.failure import fail
from fastvd.cli.limits import hold_limits, take_limits
from fastvd.errors import FastvdError

EPILOG = """fastvd COMMAND --help tells more; the README has an example of each. Any command takes
--limits.NAME VALUE, such as --limits.max_side 16384: fastvd.Limits tells the names."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 not good, 2 bad input, 130 Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = _parser()
    try:
        words, given = take_limits(_underscored(sys.argv[1:] if argv is None else argv))
        args, extra = parser.parse_known_args(words)
        if extra and args.command != "train":
            args.parser.error(f"unknown arguments: {' '.join(extra)}{_meant(extra, args.parser)}")
        hold_limits(given)
        status = int(args.run(args, extra) if args.command == "train" else args.run(args))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # who reads us (head) has seen enough; the interpreter's last flush must not fail too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (FastvdError, OSError, ValueError) as error:
        return fail(error)
    except KeyboardInterrupt:
        print("fastvd: stopped", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        wrong, _, choices = message.partition("invalid choice: ")[2].partition(" (choose from ")
        near = difflib.get_close_matches(wrong.strip("'"), re.findall(r"[\w-]+", choices), n=1)
        meant = f", did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: {message}{meant} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        # takes as long as all else of --help
        from importlib.metadata import version

        print(f"fastvd {version('fastvd')}")
        parser.exit()


def _underscored(words: Sequence[str]) -> list[str]:
    """Take ``--run-dir`` for ``--run_dir``; what follows a ``--`` alone is left as it is."""
    end = words.index("--") if "--" in words else len(words)
    parts = (word.partition("=") for word in words[:end])
    spelt = [
        "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else word
        for word, (name, equals, value) in zip(words, parts, strict=False)
    ]
    return [*spelt, *words[end:]]


def _meant(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Name the options that misspelt ones may have been meant for."""
    options = re.findall(r"(?<![\w-])--\w+", parser.format_help())
    near = (difflib.get_close_matches(word.partition("=")[0], options, n=1) for word in words)
    meant = " ".join(dict.fromkeys(option for found in near for option in found))
    return f", did you mean {meant}?" if meant else ""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastvd", description="Train and sample video diffusion models.")
    parser.epilog = EPILOG
    parser.add_argument("--version", nargs=0, action=_Version, help="print it and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, epilog=run.__doc__)
        sub.set_defaults(run=run, parser=sub)
        return sub

    runs.add_commands(command)
    media.add_commands(command)
    probe.add_commands(command)
    prepare.add_commands(command)
    bench.add_commands(command)
    return parser
