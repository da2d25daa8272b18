"""Keeps one record a case in ``results/<device>.json`` and renders the README's tables from them.

``python benchmarks/report.py`` renders; ``--check`` only says whether the README is up to date.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
Record = dict[str, Any]


def write_records(
    records: Iterable[Record], *, packages: Iterable[str], name: str | None = None
) -> Path:
    """Put records into a file, each in place of an older one of its suite and case.

    ``packages``: distributions whose versions the figures depend on. ``name`` of the file is this
    machine's where none is given.
    """
    host = machine(packages)
    path = file_of(name or host["device"])
    merged = {(record["suite"], record["case"]): record for record in read_records(path)}
    for record in records:
        merged[record["suite"], record["case"]] = {**record, **host}
    path.write_text(json.dumps(list(merged.values()), indent=1) + "\n")
    return path


def file_of(device: str) -> Path:
    """Where the records of a device lie."""
    return RESULTS / f"{'-'.join(device.lower().split())}.json"


def read_records(path: Path) -> list[Record]:
    """The records of a file, none where there is no file."""
    records: list[Record] = json.loads(path.read_text()) if path.exists() else []
    return records


def peers_of(suite: str, case: str, *, packages: Iterable[str], name: str) -> Record:
    """What a record of this commit and these versions has of its peers; nothing if there is none.

    So a session that was cut off goes on where it stopped.
    """
    host = machine(packages)
    for record in read_records(file_of(name)):
        is_same = (record["suite"], record["case"]) == (suite, case)
        if is_same and host.items() <= record.items():
            peers: Record = record["peers"]
            return peers
    return {}


def machine(packages: Iterable[str]) -> dict[str, str]:
    """Return what figures depend on: device, commit, versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    # a session's first record changes results/ before its second is taken
    edits = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    # a copy of the tree on another machine has no history: who sends it there says what it is
    commit = os.environ.get("COMMIT") or _git("describe", "--always")
    commit += "-dirty" if edits else ""
    versions = {name: version(name) for name in packages} | {"python": platform.python_version()}
    return {"device": cpu, "commit": commit, **versions}


def _git(*command: str) -> str:
    git = ["git", "-C", str(README.parent), *command]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def train_step_row(record: Record) -> list[str]:
    """One line of the table of step times."""
    peers = record["peers"]
    same, installed = peers["lucidrains"], peers["lucidrains as installed"]
    return [
        record["case"],
        "x".join(str(n) for n in record["shape"]),
        f"{peers['fastvd']['median_ms']:.0f} ms",
        f"{same['fastvd_is_faster_by']:.1f}x",
        f"{installed['fastvd_is_faster_by']:.1f}x",
    ]


def recipe_row(record: Record) -> list[str]:
    """One line of the table of what the demo's recipe reaches."""
    return [
        record["case"],
        f"{record['coherent']} of {record['clips']}",
        f"{record['minutes']:.1f} min",
    ]


def media_row(record: Record) -> list[str]:
    """One line of the table of video reading."""
    peers, best = record["peers"], record["best_peer"]
    # where no peer gives the right frames there is nothing to be faster than
    theirs = [f"{best} {peers[best]['ms']:g} ms", f"{record['ratio']:.2f}x"] if best else ["", ""]
    return [
        record["job"],
        record["file"],
        "one" if record["threads"] == 1 else "all",
        f"{peers[record['ours']]['ms']:g} ms",
        *theirs,
        f"{record['must']:g}x",
    ]


def gif_encode_row(record: Record) -> list[str]:
    """One line of the table of GIF encoders: FFmpeg's quicker way, Pillow's quickest."""
    peers = record["peers"]
    own, fast, octree = peers["fastvd"], peers["fastvd fast"], peers["Pillow FASTOCTREE"]
    theirs = min((p for n, p in peers.items() if "palettegen" in n), key=lambda p: p["median_ms"])
    return [
        record["case"],
        f"{own['median_ms']:.1f} ms",
        f"{theirs['fastvd_is_faster_by']:.1f}x",
        f"{own['psnr_db'] - theirs['psnr_db']:+.1f} dB, {own['ssim'] - theirs['ssim']:+.4f}",
        f"{own['kib'] / theirs['kib']:.2f}x",
        f"{fast['median_ms'] / octree['median_ms']:.2f}x",
        f"{fast['psnr_db'] - octree['psnr_db']:+.1f} dB",
    ]


def gif_decode_row(record: Record) -> list[str]:
    """One line of the table of GIF decoders."""
    own, pillow = record["peers"]["fastvd"], record["peers"]["Pillow"]
    return [
        record["case"],
        "x".join(str(n) for n in record["shape"][:3]),
        f"{own['median_ms']:.1f} ms",
        f"{pillow['fastvd_is_faster_by']:.1f}x",
    ]


def loader_row(record: Record) -> list[str]:
    """One line of the table of clips a second."""
    peers, best = record["peers"], record["best_peer"]
    return [
        record["case"],
        f"{peers['fastvd']['clips_per_s']}",
        f"{best}: {peers[best]['clips_per_s']}",
        f"{record['fastvd_is_faster_by']:.1f}x",
    ]


# how the records of a suite look in the README: column titles, then a row a record
TABLES: dict[str, tuple[list[str], Callable[[Record], list[str]]]] = {
    "train_step": (
        ["network, pass", "clips", "fastvd", "faster, same allocator", "faster, as installed"],
        train_step_row,
    ),
    "media": (
        ["job", "file", "cores", "fastvd", "best peer", "faster", "target"],
        media_row,
    ),
    "gif_encode": (
        [
            "clip",
            "fastvd",
            "faster than FFmpeg palettegen",
            "PSNR, SSIM",
            "size",
            "fast: time of Pillow FASTOCTREE",
            "PSNR",
        ],
        gif_encode_row,
    ),
    "gif_decode": (["GIF", "frames", "fastvd", "faster than Pillow"], gif_decode_row),
    "loader": (
        ["16x64x64 clips a second", "fastvd", "best peer", "faster"],
        loader_row,
    ),
    "recipe": (["demo", "coherent clips", "training and drawing"], recipe_row),
}


def render(text: str, records: list[Record]) -> str:
    """Return the README with each ``<!-- table: suite -->`` block made anew."""
    for suite, (titles, row) in TABLES.items():
        begin, end = f"<!-- table: {suite} -->\n", "<!-- end -->"
        if begin not in text:
            continue
        before, rest = text.split(begin, 1)
        _, after = rest.split(end, 1)
        rows = [titles, ["---"] * len(titles)]
        rows += [row(record) for record in records if record["suite"] == suite]
        lines = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
        text = f"{before}{begin}{lines}{end}{after}"
    return text


def main() -> int:
    """Render the README, or check that it is what would be rendered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    records = [r for path in sorted(RESULTS.glob("*.json")) for r in json.loads(path.read_text())]
    old = README.read_text()
    new = render(old, records)
    if arguments.check:
        return int(new != old)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
