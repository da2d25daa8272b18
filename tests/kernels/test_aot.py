"""Every kernel compiles for GPUs that are not here, with the resources of the committed table."""

import subprocess
import sys
from pathlib import Path

import pytest
from aot_cases import BARE, CASES, NETWORKS

SCRIPT = Path(__file__).parents[2] / "benchmarks/aot.py"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("arch", ["80", "90", "100"])
def test_kernels_compile_as_the_table_says(arch):
    command = [sys.executable, str(SCRIPT), "--check", "--archs", arch]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_not_given_compiles_too():
    command = [sys.executable, str(SCRIPT), "--archs", "90", "--cases", *BARE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split(",")[0] for line in done.stdout.splitlines()} == set(BARE)


def test_every_table_has_every_case():
    """Those that launch a kernel which no case before them did, of all Tritons alike."""
    tables = sorted((SCRIPT.parent / "results").glob("aot_triton_*.csv"))
    assert [table.stem for table in tables] == ["aot_triton_3.6.0", "aot_triton_3.8.0"]
    rows = [
        {tuple(line.split(",")[:3]) for line in table.read_text().splitlines()[1:]}
        for table in tables
    ]
    assert rows[0] == rows[1]
    assert {case for case, *_ in rows[0]} <= {*CASES, *NETWORKS}
