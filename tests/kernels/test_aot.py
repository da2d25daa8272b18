"""Every kernel compiles for GPUs that are not here, with the resources of the committed table."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/aot.py"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("arch", ["80", "90", "100"])
def test_kernels_compile_as_the_table_says(arch):
    command = [sys.executable, str(SCRIPT), "--check", "--archs", arch]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
