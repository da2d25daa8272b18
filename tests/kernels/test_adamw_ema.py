"""AdamW and the running average of the weights, in one kernel."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from fastvd import kernels
from fastvd.kernels import adamw_ema, launch
from fastvd.kernels.adamw_ema import reference

SHAPES = [(9000,), (3,), (0,), (16, 8, 3, 3), (1,), (), (8192,), (5, 7)]
RATES = [(1e-2 / (i + 1), 0.1 * (i % 2)) for i in range(len(SHAPES))]
BETAS = (0.9, 0.99)


class Weights(NamedTuple):
    """Parameters, state and averages; convolutions lie in memory channels last."""

    params: list[Tensor]
    state: kernels.AdamState
    averages: list[Tensor]

    def tensors(self) -> list[Tensor]:
        return [*self.params, *(t for kind in self.state for t in kind), *self.averages]


def weights(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32) -> Weights:
    """Random weights that have had no step; the same each time, whatever the dtype."""
    torch.manual_seed(0)
    params = [channels_last(torch.randn(shape)).to(dtype) for shape in shapes]
    zeros = ([torch.zeros_like(p) for p in params] for _ in "mv")
    steps = [torch.zeros((), dtype=dtype) for _ in params]
    return Weights(params, kernels.AdamState(*zeros, steps), [p.clone() for p in params])


def channels_last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t


def gradients(step: int, shapes: list[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    generator = torch.Generator(torch.get_default_device()).manual_seed(step)
    return [channels_last(torch.randn(shape, generator=generator)) for shape in shapes]


def run(w: Weights, grads: list[list[Tensor]], **options: Any) -> Weights:
    """Make a step with each of ``grads``."""
    optimizer = kernels.AdamWEma(w.params, w.state, w.averages, betas=BETAS)
    for some in grads:
        optimizer.update([g.clone() for g in some], **{"rates": RATES, "decay": 0.9} | options)
    return w


def apart(got: Weights, exact: Weights) -> list[float]:
    """The largest difference, by kind of tensor."""
    kinds = zip(
        (got.params, *got.state, got.averages),
        (exact.params, *exact.state, exact.averages),
        strict=True,
    )
    return [
        max(float((a - b).abs().max()) for a, b in zip(*pair, strict=True) if b.numel())
        for pair in kinds
    ]


def assert_near(got: Weights, plain: Weights, exact: Weights) -> None:
    """``got`` errs at most twice as much as ``plain``."""
    for error, allowed in zip(apart(got, exact), apart(plain, exact), strict=True):
        assert error <= 2 * allowed + 1e-8


def test_against_the_formula(dtype):
    grads = [[g.to(dtype) for g in gradients(step)] for step in range(3)]
    scale = torch.tensor([0.3])  # a number in any shape
    got, plain = weights(SHAPES), weights(SHAPES)
    run(got, grads, scale=scale)
    with kernels.eager():
        run(plain, [[g.float() for g in some] for some in grads], scale=scale)
    exact = weights(SHAPES, torch.float64)
    for some in grads:
        options = {"rates": RATES, "betas": BETAS, "decay": 0.9, "scale": scale.item()}
        reference(exact.params, [g.double() for g in some], *exact[1:], **options)
    assert not torch.equal(exact.averages[0], exact.params[0])
    assert_near(got, plain, exact)


def test_fifty_steps_of_torch_and_an_average_with_warm_up():
    shapes = [(5, 3), (7,)]
    got, wanted = weights(shapes), weights(shapes)
    groups = [
        {"params": [p], "lr": lr, "weight_decay": weight_decay}
        for p, (lr, weight_decay) in zip(wanted.params, RATES[:2], strict=True)
    ]
    torch_adamw = torch.optim.AdamW(groups, betas=BETAS, foreach=False, fused=False)
    optimizer = kernels.AdamWEma(got.params, got.state, got.averages, betas=BETAS)
    for step in range(50):
        decay = min(0.95, (1 + step) / (10 + step))
        grads = gradients(step, shapes)
        optimizer.update(grads, rates=RATES[:2], decay=decay)
        for p, g in zip(wanted.params, grads, strict=True):
            p.grad = g
        torch_adamw.step()
        torch._foreach_lerp_(wanted.averages, wanted.params, 1 - decay)
    for a, b in zip((*got.params, *got.averages), (*wanted.params, *wanted.averages), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=2e-6, atol=2e-6)
    assert [int(t) for t in got.state.steps] == [50, 50]


def test_two_runs_are_bit_equal():
    grads = [gradients(0), gradients(1)]
    a, b = run(weights(SHAPES), grads), run(weights(SHAPES), grads)
    assert all(map(torch.equal, a.tensors(), b.tensors()))


def test_many_parts_and_tensors(monkeypatch):
    grads = [gradients(0)]
    wanted = run(weights(SHAPES), grads)
    for name, value in {"BLOCK": 256, "CHUNK": 512, "LOOKED_AT": 4}.items():
        monkeypatch.setattr(adamw_ema, name, value)
    got = run(weights(SHAPES), grads)
    assert all(map(torch.equal, got.tensors(), wanted.tensors()))


def test_tensors_that_start_anywhere():
    def shifted(t: Tensor) -> Tensor:
        return torch.cat([torch.zeros(1), t.flatten()])[1:]

    w, grad = weights([(1500,)]), gradients(0, [(1500,)])[0]
    moved = Weights([shifted(w.params[0])], w.state, [shifted(w.averages[0])])
    moved = moved._replace(state=weights([(1500,)]).state)
    got, wanted = (run(x, [[g]], rates=RATES[1:2]) for x, g in ((moved, shifted(grad)), (w, grad)))
    assert got.params[0].data_ptr() % 16
    assert all(map(torch.equal, got.tensors(), wanted.tensors()))


def test_without_an_average_weights_move_alike():
    wanted, got = run(weights(SHAPES), [gradients(0)]), weights(SHAPES)
    run(got._replace(averages=[]), [gradients(0)])
    assert all(map(torch.equal, got.params, wanted.params))
    assert all(map(torch.equal, got.averages, weights(SHAPES).averages))


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_averages_at_the_ends_of_decay(decay):
    w = run(weights(SHAPES), [gradients(0)], decay=decay)
    wanted = weights(SHAPES).averages if decay else w.params
    assert all(map(torch.equal, w.averages, wanted))


@pytest.mark.parametrize("path", ["fused", "eager"])
@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_not_finite_changes_nothing(monkeypatch, path, scale):
    if path == "eager":
        monkeypatch.setattr("fastvd.kernels.dispatch._open_blocks", 1)
    w = run(weights(SHAPES), [gradients(0)], scale=torch.tensor(scale))
    assert all(map(torch.equal, w.tensors(), weights(SHAPES).tensors()))


def test_a_gradient_that_is_not_finite_spreads_no_further():
    grads = gradients(0)
    grads[0][4] = float("nan")
    w = run(weights(SHAPES), [grads])
    assert w.params[0].isnan().nonzero().tolist() == [[4]]
    assert not any(p.isnan().any() for p in w.params[1:])


def test_autograd_sees_that_weights_have_changed():
    p = torch.randn(3, requires_grad=True)
    state = kernels.AdamState([torch.zeros(3)], [torch.zeros(3)], [torch.zeros(())])
    loss = p.square().sum()
    kernels.AdamWEma([p], state, betas=BETAS).update([torch.ones(3)], rates=[(0.1, 0.0)])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:AdamWEma runs as plain PyTorch")
def test_what_the_kernel_does_not_take_goes_to_torch():
    def across(t: Tensor) -> Tensor:
        return t.t().contiguous().t()

    grad = gradients(0, [(6, 4)])[0]
    wanted = run(weights([(6, 4)]), [[grad]], rates=RATES[1:2])
    double, moved = weights([(6, 4)], torch.float64), weights([(6, 4)])
    moved.state.exp_avgs[:] = map(across, moved.state.exp_avgs)
    others = [
        run(weights([(6, 4)]), [[across(grad)]], rates=RATES[1:2]),
        run(double, [[grad.double()]], rates=RATES[1:2]),
        run(moved, [[grad]], rates=RATES[1:2]),
    ]
    for other in others:
        for a, b in zip(wanted.tensors(), other.tensors(), strict=True):
            torch.testing.assert_close(a.double(), b.double(), rtol=1e-5, atol=1e-6)


def test_nothing_to_update():
    run(weights([]), [[]], rates=[])


def test_the_kernel_runs_here(monkeypatch):
    launched = []
    monkeypatch.setattr(adamw_ema, "launch", lambda *args, **_: launched.append(args[1]))
    run(weights(SHAPES), [gradients(0)])
    assert launched == [sum(launch.ceil_div(t.numel(), adamw_ema.CHUNK) for t in gradients(0))]
