"""Every crate that is built in has a permissive licence: those that deny.toml allows."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def fits(licence: str, allowed: list[str]) -> bool:
    """Whether an SPDX expression can be met by allowed licences alone."""
    words = re.findall(r"[()]|[^\s()]+(?: WITH [^\s()]+)?", licence.replace("/", " OR "))
    python = {"(": "(", ")": ")", "AND": "and", "OR": "or"}
    # each word becomes a bracket, an operator, True or False
    return bool(words and eval(" ".join(python.get(w, str(w in allowed)) for w in words)))


@pytest.mark.parametrize(
    ("licence", "wanted"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-2.0", True),
        ("MIT/Apache-2.0", True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True),
        ("MIT AND LGPL-2.1-or-later", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0 WITH GCC-exception-3.1", False),
    ],
)
def test_licence_expressions_are_understood(licence: str, wanted: bool) -> None:
    allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
    assert fits(licence, allowed) is wanted


@pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo here")
def test_every_crate_has_a_licence_that_is_allowed() -> None:
    allowed = tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"]
    # the lock file's crates lie on disk once the extension is built
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    crates = json.loads(done.stdout)["packages"]
    licences = {crate["name"]: crate["license"] or "" for crate in crates}
    refused = {name: text for name, text in licences.items() if not fits(text, allowed)}
    assert len(crates) > 10
    assert not refused
