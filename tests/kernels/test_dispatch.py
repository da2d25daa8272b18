"""Which path is taken, and what both refuse."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from oracle import FusedOps

from fastvd import kernels
from fastvd.kernels import dispatch, launch


def called(**options) -> bool:
    """Whether a norm of ones runs its kernel."""
    with FusedOps() as ops:
        kernels.rms_norm_act(torch.ones(1, 2, 8, **options), torch.ones(8))
    return bool(ops.called)


def test_eager_blocks_nest():
    assert called()
    with kernels.eager():
        with kernels.eager():
            assert not called()
        assert not called()
    assert called()


def test_an_error_closes_an_eager_block():
    with pytest.raises(KeyError), kernels.eager():
        raise KeyError
    assert called()


def test_float64_is_eager():
    assert not called(dtype=torch.float64)


@pytest.mark.skipif(not launch.interpreted, reason="a GPU knows bfloat16")
def test_an_interpreter_that_was_not_taught_gets_no_bfloat16(monkeypatch):
    monkeypatch.setattr(launch, "interprets_bfloat16", False)
    monkeypatch.setattr(dispatch, "_warned", set())
    with pytest.warns(UserWarning, match="does not know bfloat16"):
        assert not called(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert not called()
    assert called()


def test_too_many_channels_are_eager():
    x = torch.ones(1, 1, 8193)
    with FusedOps() as ops:
        kernels.rms_norm_act(x, torch.ones(8193))
    assert not ops.called


@pytest.mark.parametrize("is_eager", [False, True])
def test_wrong_tensors_are_refused(is_eager):
    x, weight = torch.ones(1, 2, 8), torch.ones(8)
    if is_eager:
        with kernels.eager():
            assert_refused(x, weight)
    else:
        assert_refused(x, weight)


def assert_refused(x: torch.Tensor, weight: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"takes weight \[8\], got \[4\]"):
        kernels.rms_norm_act(x, weight[:4])
    with pytest.raises(ValueError, match=r"takes scale \[1, 8\], got \[2, 8\]"):
        kernels.rms_norm_act(x, weight, (torch.ones(2, 8), torch.ones(2, 8)))
    with pytest.raises(ValueError, match=r"got torch\.int64, torch\.float32"):
        kernels.rms_norm_act(x.long(), weight)
    with pytest.raises(ValueError, match=r"one device, got \S+, meta"):
        kernels.rms_norm_act(x, weight.to("meta"))
    with pytest.raises(ValueError, match=r"x \[B, ..., C\], got \[8\]"):
        kernels.rms_norm_act(weight, weight)


class FakeGpuTensor:
    """Says that it lies on a GPU."""

    is_cuda = True
    dtype = torch.float32
    layout = torch.strided
    device = torch.device("cuda", 0)

    def is_floating_point(self) -> bool:
        return True


def test_a_user_of_a_gpu_is_warned_once(monkeypatch):
    monkeypatch.setattr(dispatch, "_warned", set())
    with pytest.warns(UserWarning, match="some_op runs as plain PyTorch: f is 80"):
        assert not dispatch.fused("some_op", FakeGpuTensor(), limit="f is 80")
    monkeypatch.setattr(launch, "available", False)
    with pytest.warns(UserWarning, match="Triton is not installed"):
        assert not dispatch.fused("some_op", FakeGpuTensor())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not dispatch.fused("some_op", FakeGpuTensor())


class OpaqueDriver:
    """A driver that torch.compile can't look into, as Triton's own."""

    @property
    def active(self) -> "OpaqueDriver":
        return self

    def get_current_target(self) -> SimpleNamespace:
        torch._dynamo.graph_break()
        return SimpleNamespace(backend="cuda", arch=100)


def test_torch_compile_takes_what_the_gpu_is_for_a_constant(monkeypatch):
    monkeypatch.setattr(
        launch.triton, "knobs", SimpleNamespace(runtime=SimpleNamespace(interpret=0))
    )
    monkeypatch.setattr(launch.triton.runtime, "driver", OpaqueDriver())
    monkeypatch.setattr(dispatch, "_warned", set())

    def scaled(x: torch.Tensor) -> torch.Tensor:
        dispatch.fused("some_op", FakeGpuTensor(), limit="f is 80")
        return x * launch.arch()

    with pytest.warns(UserWarning, match="some_op runs as plain PyTorch"):
        y = torch.compile(scaled, fullgraph=True, backend="eager")(torch.ones(1))
    assert y.item() == 100


@pytest.mark.parametrize("setting", ["allow_tf32", "fp32_precision"])
def test_products_are_taken_as_torchs_whoever_said_so(setting):
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        setattr(matmul, setting, True if setting == "allow_tf32" else "tf32")
        assert launch.precision() == "tf32"
    finally:
        matmul.fp32_precision = before
        torch.backends.cuda.matmul.allow_tf32 = False
    assert launch.precision() == "ieee"
