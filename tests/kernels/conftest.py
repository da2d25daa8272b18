"""What kernel tests share: an interpreter that knows bfloat16, memory that is NaN until written."""

from collections.abc import Iterator

import bf16
import numpy as np
import patching
import pytest
import torch

from fastvd.kernels import dispatch, launch

if launch.interpreted:
    bf16.install()
    launch.interprets_bfloat16 = True
    patching.install()


@pytest.fixture(autouse=True)
def nan_memory() -> Iterator[None]:
    """``torch.empty`` gives NaN: a kernel that leaves some of it unwritten shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def silent_infinity() -> Iterator[None]:
    """``exp`` of large numbers is infinite without a warning, as on a GPU."""
    with np.errstate(over="ignore"):
        yield


class AllWarned(set[str]):
    """Has every message: a GPU's user is warned once, whichever test comes first."""

    def __contains__(self, message: object) -> bool:
        return True


@pytest.fixture(autouse=True)
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run here, whatever the other tests do."""
    monkeypatch.setattr(dispatch, "_open_blocks", 0)
    monkeypatch.setattr(dispatch, "_warned", AllWarned())


@pytest.fixture(autouse=True)
def exact_convolutions() -> Iterator[None]:
    """A GPU's convolutions take float32 as it is, which torch by itself has rounded to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(autouse=True)
def device() -> Iterator[str]:
    """Where kernels run and tensors are made: on the GPU, or for the interpreter."""
    if launch.interpreted:
        yield "cpu"
        return
    torch.set_default_device("cuda")
    yield "cuda"
    torch.set_default_device(None)


@pytest.fixture(params=["fp32", "fp16", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Every dtype that kernels take."""
    names = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return names[request.param]


@pytest.fixture
def tensor_cores() -> Iterator[None]:
    """Kernels take float32 where its products may run on tensor cores; the interpreter is exact."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before
