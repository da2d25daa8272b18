#!/usr/bin/env python3
"""Sets up fastvd from a clone, then runs it: ``x.py setup``, ``demo``, ``test`` and ``wheel``.

Standard library only. Everything lands in ``.venv`` beside this file; nothing else is touched.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
# torch with its CUDA libraries, unpacked, beside uv's own copy
NEEDED_BYTES = 12 * 10**9
# what a failed command says, and what that means to a user
CAUSES = {
    r"No space left on device|os error 28": "the disk is full",
    r"[Dd]ns error|resolve host|Network is unreachable|[Cc]onnection (refused|error)|Connect"
    r"Error|client error \(Connect\)|NewConnectionError|timed out|spurious network|Failed to fetch"
    r"|error sending request": "the package index can't be reached: check the network, run again",
    r"linker `\S+` not found|failed to find tool": "there is no C linker: install gcc or clang",
    r"requires rustc|is not supported by the following": "Rust is too old: run `rustup update`",
}

# the lines of cargo that tell how far it is: a build takes minutes on a slow machine
CARGO_PROGRESS = r" *(Downloading|Downloaded|Compiling|Finished) "


def main() -> int:
    """Parse the command line and run one command."""
    if sys.version_info < (3, 11):  # noqa: UP036  the script may be started by any python3
        fail(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="set up .venv: Python packages and the Rust build")
    demo = commands.add_parser("demo", help="set up, train both stages, write out/demo.gif")
    demo.add_argument("videos", nargs="?", help="a video or a folder (default: moving shapes)")
    test = commands.add_parser("test", help="set up, then cargo test and pytest")
    test.add_argument("pytest_args", nargs="*", help="passed on to pytest, after --")
    commands.add_parser("wheel", help="set up, then build the wheel for any Linux into dist/")
    args = parser.parse_args()

    has_rust = setup()
    if args.command == "test":
        return run_tests(has_rust, args.pytest_args)
    if args.command == "wheel":
        build_wheel(has_rust)
    if args.command == "demo":
        videos = [str(Path(args.videos).absolute())] if args.videos else []
        command = [str(PYTHON), "-m", "fastvd", "demo", *videos, "--out", str(ROOT / "out")]
        return subprocess.run(command, check=False).returncode
    return 0


def setup() -> bool:
    """Bring ``.venv`` up to date, doing only what has changed; say whether Rust was built."""
    cargo = shutil.which("cargo")
    manifests = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    rust = [ROOT / "Cargo.toml", ROOT / "Cargo.lock", *sorted((ROOT / "rust").rglob("*.rs"))]
    rust += sorted((ROOT / "rust").rglob("Cargo.toml"))
    once("packages", digest(manifests, [sys.version]), install_packages)
    if cargo is None:
        once("no-rust", digest(manifests, ["python only"]), install_without_rust)
    else:
        once("rust", digest([*manifests, *rust], [cargo, sys.version]), build_rust)
    if not has_extension():
        why = "no Rust compiler (cargo) here" if cargo is None else "the Rust build has no linker"
        say(f"{why}: videos and GIFs go through PyAV and Pillow, slower; all else is the same")
    return has_extension()


def once(name: str, wanted: str, work: Callable[[], None]) -> None:
    """Do ``work`` unless its stamp says that it was done for the same inputs."""
    stamp = VENV / f"x-{name}.stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    work()
    # a stamp of the other kind of install no longer holds
    for other in {"rust", "no-rust"} - {name} if name != "packages" else ():
        (VENV / f"x-{other}.stamp").unlink(missing_ok=True)
    stamp.write_text(wanted)


def install_packages() -> None:
    """Make the environment and fill it with the locked packages."""
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES and not (VENV / "x-packages.stamp").exists():
        fail(f"{NEEDED_BYTES / 1e9:.0f} GB of disk are needed, {free / 1e9:.1f} GB are free")
    say("installing the Python packages into .venv (6 GB, some minutes on a slow line)")
    if not works(PYTHON):
        try:
            venv.create(VENV, with_pip=True, clear=VENV.exists())
        except (OSError, subprocess.CalledProcessError) as error:
            fail(f"python -m venv failed, on Debian install python3-venv: {error}")
    run([PYTHON, "-m", "pip", "install", "--quiet", "uv"], "installing uv")
    uv: list[str] = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON)]
    files: list[str] = ["-r", "pyproject.toml", "--group", "dev", "-c", "constraints.txt"]
    # where Python may write no bytecode later, each import of torch would compile all of it
    run([*uv, *files, "--compile-bytecode"], "installing the Python packages")


def build_rust() -> None:
    """Build the extension and install fastvd in place; without a linker, leave Rust out."""
    say("building the Rust extension")
    command: list[str | Path] = [BIN / "maturin", "develop", "--release", "--uv"]
    doing, progress = "building the Rust extension", CARGO_PROGRESS
    done = run(command, doing, may_fail="there is no C linker", shown=progress)
    if not done:
        install_without_rust()


def install_without_rust() -> None:
    """Install fastvd in place without the extension: a path file and the command."""
    packages = next(iter(VENV.glob("lib/python*/site-packages")), VENV / "Lib" / "site-packages")
    (packages / "fastvd.pth").write_text(f"{ROOT / 'python'}\n")
    script = BIN / "fastvd"
    script.write_text(f"#!{PYTHON}\nfrom fastvd.cli import main\n\nraise SystemExit(main())\n")
    script.chmod(0o755)


def build_wheel(has_rust: bool) -> None:
    """Build the wheel against an old glibc, as old as PyTorch's and PyAV's, whatever is here."""
    if not has_rust:
        fail("a wheel takes a Rust compiler and a C linker")
    uv: list[str | Path] = [BIN / "uv", "pip", "install", "--quiet", "--python", PYTHON]
    group = ["--group", "release", "-c", "constraints.txt"]
    run([*uv, *group], "installing the linker (zig)")
    say("building the wheel into dist/")
    options = ["--zig", "--compatibility", "manylinux_2_28", "--out", "dist"]
    command: list[str | Path] = [BIN / "maturin", "build", "--release", *options]
    run(command, "building the wheel", shown=CARGO_PROGRESS)


def run_tests(has_rust: bool, pytest_args: list[str]) -> int:
    """Run cargo test and pytest; the last line counts both."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    codes = []
    if has_rust:
        codes.append(counted(["cargo", "test", "--workspace", "--quiet"], counts))
    # one thread a process: the processes already take the cores
    threads = {"OMP_NUM_THREADS": "1"}
    workers = ["-n", str(min(os.cpu_count() or 1, 8)), "--dist", "worksteal"]
    workers = [] if pytest_args else workers
    command = [str(PYTHON), "-m", "pytest", "-q", *workers, *pytest_args]
    codes.append(counted(command, counts, threads))
    failed = counts["failed"] or int(any(codes))
    print(f"{counts['passed']} passed, {failed} failed, {counts['skipped']} skipped", flush=True)
    return 1 if failed else 0


def counted(command: list[str], counts: dict[str, int], env: dict[str, str] | None = None) -> int:
    """Run a test command, show what it prints, add the numbers of its closing lines."""
    words = {"ignored": "skipped", "error": "failed", "errors": "failed"}
    closing = re.compile(r"^test result: |^=* ?\d+ (passed|failed|skipped|error)")
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if closing.match(line):
                found = re.findall(r"(\d+) (passed|failed|skipped|ignored|errors?)\b", line)
                for number, word in found:
                    counts[words.get(word, word)] += int(number)
    return process.returncode


def run(command: Sequence[str | Path], doing: str, *, may_fail: str = "", shown: str = "") -> bool:
    """Run a command; when it fails, end with one line that names the cause.

    Of what it prints, lines that match ``shown`` are passed on. Returns False, with the output left
    out, where the cause begins with ``may_fail``.
    """
    env = {**os.environ, "VIRTUAL_ENV": str(VENV), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    words, output = [str(part) for part in command], ""
    with subprocess.Popen(
        words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            output += line
            if shown and re.match(shown, line):
                print(line, end="", flush=True)
    if process.returncode == 0:
        return True
    cause = next((text for pattern, text in CAUSES.items() if re.search(pattern, output)), "")
    if not (may_fail and cause.startswith(may_fail)):
        sys.stderr.write("" if cause else output)
        fail(f"{doing} failed: {cause or 'see above'}")
    return False


def digest(files: Iterable[Path], facts: Iterable[str]) -> str:
    """Hash files and facts, to tell whether a step must be done again."""
    sha = hashlib.sha256("\0".join(facts).encode())
    for file in files:
        sha.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return sha.hexdigest()


def works(python: Path) -> bool:
    """Say whether the environment's Python starts and is this Python's version."""
    if not python.exists():
        return False
    code = "import sys, pip; print(*sys.version_info[:2])"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.split() == [str(n) for n in sys.version_info[:2]]


def has_extension() -> bool:
    """Say whether the built extension lies in the package."""
    return any((ROOT / "python" / "fastvd").glob("_core*.so")) or any(
        (ROOT / "python" / "fastvd").glob("_core*.pyd")
    )


def say(text: str) -> None:
    print(f"x.py: {text}", flush=True)


def fail(text: str) -> NoReturn:
    raise SystemExit(f"x.py: {text}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
