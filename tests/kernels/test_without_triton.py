"""Kernels where Triton is not installed: every op runs as plain PyTorch."""

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["triton"] = None  # to import it raises ImportError
import torch
from fastvd.bench.cases import assert_agreement, level_cases
from fastvd.kernels import launch
assert not launch.available
assert not launch.interpreted
for case in level_cases((1, 2, 4, 4, 16), torch.float32, torch.device("cpu")):
    assert_agreement(case)
    print(case.op)
"""


def test_every_op_equals_its_formula():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"group_norm_act", "linear_attention", "temporal_attention"} <= set(done.stdout.split())
