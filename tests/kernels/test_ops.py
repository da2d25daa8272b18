"""An op is torch's where torch looks at it, and otherwise none of torch's business."""

import pytest
import torch
from oracle import FusedOps
from torch import Tensor

from fastvd.kernels.ops import op

calls: list[str] = []


@op("times")
def times(x: Tensor, k: float) -> Tensor:
    """K times x."""
    calls.append("times")
    return x * k


@times.register_fake
def _(x, k):
    calls.append("fake")
    return torch.empty_like(x)


def _save(ctx, inputs, output):
    ctx.k = inputs[1]


times.register_autograd(lambda ctx, dy: (dy * ctx.k, None), setup_context=_save)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def test_both_ways_give_the_same():
    x = torch.ones(3, requires_grad=True)
    for call in (times, times.custom):
        y = call(x, 2.0)
        (dx,) = torch.autograd.grad(y, x, torch.ones(3))
        assert y.tolist() == [2.0] * 3
        assert dx.tolist() == [2.0] * 3
    with torch.no_grad():
        assert not times(x, 2.0).requires_grad
    assert set(calls) == {"times"}


def test_a_second_derivative_is_refused():
    x = torch.ones(3, requires_grad=True)
    y = times(x, 2.0) ** 2
    with pytest.raises(RuntimeError, match=r"times has no second derivative: kernels.eager\(\)"):
        torch.autograd.grad(y, x, torch.ones(3), create_graph=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_those_who_watch_see_the_op():
    with FusedOps() as ops:
        times(torch.ones(3), 2.0)
    assert ops.called == {"fastvd::times"}
    traced = torch.jit.trace(lambda x: times(x, 2.0), torch.ones(3))
    assert "fastvd::times" in str(traced.graph)


def test_tensors_without_numbers_run_nothing():
    assert times(torch.ones(3, device="meta"), 2.0).is_meta
    with torch._subclasses.fake_tensor.FakeTensorMode():
        fake = torch.ones(3)
    assert times(fake, 2.0).shape == (3,)
    assert set(calls) == {"fake"}


def test_the_compiler_sees_the_op():
    compiled = torch.compile(lambda x: times(x, 2.0) + 1, fullgraph=True, backend="aot_eager")
    assert compiled(torch.ones(3)).tolist() == [3.0] * 3
    assert "fake" in calls
