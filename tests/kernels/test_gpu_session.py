"""The script of a whole GPU session: its smallest form runs, its parts go on where they stopped."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import report
import session
import torch
import warm
from torch import Tensor

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.sh"
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the session itself runs here")


def test_the_script_runs_dry():
    env = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [str(SCRIPT), "--dry"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "temporal_attention" in done.stdout


def test_the_script_names_tests_that_are_there():
    names = re.search(r"for name in ([a-z_ \\\n]*); do", SCRIPT.read_text())[1].replace("\\", "")
    here = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    # compiled for other GPUs, computed by nobody, this
    assert set(names.split()) == here - {"aot", "activations", "gpu_session"}


@pytest.fixture
def gpu(monkeypatch, tmp_path) -> None:
    """Records go to a folder of the test's; a GPU of a name in several words."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(session, "measure", lambda call: session.Figures(float(call()) + 1, 2.0))
    monkeypatch.setenv("COMMIT", "abc")


def taken(*providers: str, failing: str | None = None) -> tuple[list[str], list[str]]:
    """Whose calls were made, and what went wrong."""
    made: list[str] = []

    def make(provider: str) -> session.Call:
        made.append(provider)
        if provider == failing:
            raise torch.cuda.OutOfMemoryError("no room")
        return lambda: torch.zeros(())

    def agree(provider: str, got: Tensor, wanted: Tensor) -> None:
        assert provider != "wrong"

    wrong = session.take("sampling", "dim 64", (1, 2), providers, make=make, agree=agree)
    return made, wrong


def test_a_second_call_takes_what_is_missing(gpu, monkeypatch):
    assert taken("fused", "wrong", "eager", failing="eager") == (
        ["fused", "wrong", "eager"],
        ["sampling, dim 64, wrong: AssertionError: assert 'wrong' != 'wrong'"],
    )
    # the first is what others are held against
    assert taken("fused", "eager", "formulas")[0] == ["fused", "formulas"]
    (record,) = report.read_records(report.file_of("NVIDIA H100 80GB HBM3"))
    figures = {"milliseconds": 1.0, "megabytes": 2.0, "fused_is_faster_by": 1.0}
    assert record["peers"] == {
        "fused": figures,
        "eager": {"out_of_memory": True},
        "formulas": figures,
    }
    assert record["commit"].startswith("abc")
    monkeypatch.setenv("COMMIT", "def")
    assert taken("fused", "eager")[0] == ["fused", "eager"]


def test_records_of_a_gpu_have_a_name_that_comes_back():
    assert report.file_of("NVIDIA H100 80GB HBM3").name == "nvidia-h100-80gb-hbm3.json"


def test_what_matters_most_comes_first():
    providers = ("formulas", "eager, compiled", "fused", "fused, graph")
    assert session.in_order(providers, compiled=False) == ["fused", "fused, graph", "formulas"]
    assert session.in_order(providers, compiled=True)[-1] == "eager, compiled"


def test_each_kernel_is_compiled_by_one_process():
    calls = [(torch.zeros(4), n, 0.5) for n in (1, 16, 17, 1 << 40)]
    shares = {warm.share_of("kernel", call, {"C": 64}, 1000) for call in calls}
    assert len(shares) == len(calls)
    again = warm.share_of("kernel", (torch.ones(8), 33, 1.5), {"C": 64}, 1000)
    assert again == warm.share_of("kernel", calls[2], {"C": 64}, 1000)
