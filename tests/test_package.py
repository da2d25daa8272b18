import subprocess
import sys
from pathlib import Path

import pytest

import fastvd
from fastvd import native

ROOT = Path(__file__).resolve().parents[1]

needs_rust = pytest.mark.skipif(not native.available, reason="no Rust build here")


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_rust
def test_stub_matches_the_binary():
    run(sys.executable, "-m", "mypy.stubtest", "fastvd._core")


def test_import_keeps_torch_as_it_was():
    code = (
        "import torch; before = (torch.get_num_threads(), torch.initial_seed(),"
        " torch.is_grad_enabled(), torch.get_default_dtype());"
        "import fastvd; after = (torch.get_num_threads(), torch.initial_seed(),"
        " torch.is_grad_enabled(), torch.get_default_dtype()); assert before == after"
    )
    run(sys.executable, "-c", code)


@pytest.mark.parametrize(
    "code",
    [
        "import fastvd; assert fastvd.probe.__module__ == 'fastvd.media.video'",
        "import fastvd; assert fastvd.native.available in (True, False)",
        "from fastvd import cli\ntry: cli.main(['train', '--help'])\nexcept SystemExit: pass",
    ],
    ids=["probe", "native", "help"],
)
def test_what_needs_no_network_does_not_wait_for_torch(code):
    run(sys.executable, "-c", f"{code}\nimport sys; assert 'torch' not in sys.modules")


def test_kernels_and_networks_do_not_wait_for_the_compiler():
    code = (
        "from fastvd import kernels, models; import sys; assert 'torch._dynamo' not in sys.modules"
    )
    run(sys.executable, "-c", code)


def test_every_public_name_is_there():
    assert set(fastvd.__all__) <= set(dir(fastvd))
    for name in fastvd.__all__:
        assert getattr(fastvd, name).__name__.rpartition(".")[2] == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fastvd.nothing  # noqa: B018
