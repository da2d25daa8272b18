"""What the update of all weights refuses, in the same words on both paths, and what it takes."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from fastvd import kernels

SHAPES = [(2, 3), (4,)]
RATES = [(1e-2, 0.1), (1e-3, 0.0)]
BETAS = (0.9, 0.99)
Arguments = dict[str, Any]


def made() -> Arguments:
    """Weights that have had no step, by name."""
    torch.manual_seed(0)
    params = [torch.randn(shape) for shape in SHAPES]
    zeros = ([torch.zeros_like(p) for p in params] for _ in "mv")
    state = kernels.AdamState(*zeros, [torch.zeros(()) for _ in params])
    return {"params": params, "state": state, "averages": [p.clone() for p in params]}


def step(given: Arguments) -> list[torch.Tensor]:
    """Weights and averages after a step with gradients of 1."""
    grads = list(map(torch.ones_like, given["params"]))
    kernels.AdamWEma(**given, betas=BETAS).update(grads, rates=RATES)
    return [*given["params"], *given["averages"]]


W = made()
PARAMS, STATE = W["params"], W["state"]
NAN = float("nan")
MADE: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a tensor": (
        {"params": PARAMS[0]},
        TypeError,
        r"sequence .* for params, got a tensor \[2, 3\]",
    ),
    "no tensors": ({"params": [PARAMS[0], None]}, TypeError, r"for params\[1\], got None"),
    "no state": ({"state": {}}, TypeError, "takes an AdamState for state, got dict"),
    "an array": (
        {"averages": [PARAMS[0].cpu().numpy()] * 2},
        TypeError,
        r"averages\[0\], got ndarray",
    ),
    "float16": (
        {"params": [p.half() for p in PARAMS]},
        ValueError,
        "params of .*, got torch.float16 at 0",
    ),
    "whole": ({"params": [p.long() for p in PARAMS]}, ValueError, "got torch.int64 at 0"),
    "complex": ({"averages": [p + 0j for p in PARAMS]}, ValueError, "got torch.complex64 at 0"),
    "short steps": (
        {"state": STATE._replace(steps=[t.bfloat16() for t in STATE.steps])},
        ValueError,
        "steps of torch.float32, torch.float64, got torch.bfloat16 at 0",
    ),
    "many steps": (
        {"state": STATE._replace(steps=PARAMS)},
        ValueError,
        r"steps of one number, got \[2, 3\] at 0",
    ),
    "one step": (
        {"state": STATE._replace(steps=STATE.steps[:1] * 2)},
        ValueError,
        r"got steps\[0\] and steps\[1\] in one",
    ),
    "no copies": (
        {"params": PARAMS, "averages": [p.detach() for p in PARAMS]},
        ValueError,
        r"memory of their own, got params\[0\] and averages\[0\] in one",
    ),
    "betas": ({"betas": (0.9, 1.0)}, ValueError, r"betas in \[0, 1\), got .*\(0.9, 1.0\)"),
    "a beta": ({"betas": 0.9}, TypeError, "a pair of numbers for betas, got 0.9"),
    "NaN": ({"betas": (NAN, 0.9)}, ValueError, r"got .*\(nan, 0.9\)"),
    "no eps": ({"eps": 0.0}, ValueError, "eps above 0, got 0.0"),
    "eps is NaN": ({"eps": NAN}, ValueError, "eps above 0, got nan"),
    "few steps": (
        {"state": STATE._replace(steps=STATE.steps[:1])},
        ValueError,
        "takes 2 steps, got 1",
    ),
    "other sizes": (
        {"averages": PARAMS[:1] * 2},
        ValueError,
        r"takes averages \[4\], got \[2, 3\] at 1",
    ),
}
GIVEN: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no gradient": ({"grads": [PARAMS[0], None]}, TypeError, r"tensor for grads\[1\], got None"),
    "whole": (
        {"grads": [p.long() for p in PARAMS]},
        ValueError,
        "got torch.float32, torch.int64",
    ),
    "meta": ({"grads": [p.to("meta") for p in PARAMS]}, ValueError, r"one device, got \S+, meta"),
    "decay": ({"decay": 1.5}, ValueError, r"decay in \[0, 1\], got 1.5"),
    "decay is NaN": ({"decay": NAN}, ValueError, r"decay in \[0, 1\], got nan"),
    "decay is a tensor": ({"decay": torch.ones(())}, TypeError, "number for decay, got a tensor"),
    "scale": ({"scale": 2.0}, TypeError, "a tensor or None for scale, got 2.0"),
    "a rate": ({"rates": [0.1, 0.1]}, TypeError, r"pair of numbers for rates\[0\], got 0.1"),
    "rates": (
        {"rates": [(0.1, 0.0), (-0.1, 0.0)]},
        ValueError,
        r"least 0, got .*\(-0.1, 0.0\) at 1",
    ),
    "NaN": ({"rates": [(0.1, 0.0), (0.1, NAN)]}, ValueError, r"got .*\(0.1, nan\) at 1"),
    "few gradients": ({"grads": PARAMS[:1]}, ValueError, "takes 2 grads, got 1"),
    "many rates": ({"rates": RATES * 2}, ValueError, "takes 2 rates, got 4"),
    "scales": ({"scale": torch.ones(2)}, ValueError, r"scale of one number, got \[2\]"),
}


@pytest.fixture(params=[nullcontext, kernels.eager], ids=["fused", "eager"])
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both paths."""
    with request.param():
        yield


@pytest.mark.parametrize("bad", MADE)
def test_what_it_is_made_of(bad):
    other, kind, message = MADE[bad]
    with pytest.raises(kind, match=message):
        kernels.AdamWEma(**{**made(), "betas": BETAS} | other)


@pytest.mark.usefixtures("path")
def test_what_a_step_takes():
    given = made()
    optimizer = kernels.AdamWEma(**given, betas=BETAS)
    right = {"grads": [torch.ones_like(p) for p in PARAMS], "rates": RATES}
    for bad, kind, message in GIVEN.values():
        with pytest.raises(kind, match=message):
            optimizer.update(**right | bad)
    same = zip((*given["params"], *given["averages"]), (*PARAMS, *W["averages"]), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


@pytest.mark.usefixtures("path")
def test_iterators_are_taken_once():
    given, wanted = made(), step(made())
    lists = given["params"], given["averages"]
    given = {name: iter(given[name]) for name in ("params", "averages")} | {
        "state": kernels.AdamState(*map(iter, given["state"]))
    }
    grads = (torch.ones_like(p) for p in PARAMS)
    kernels.AdamWEma(**given, betas=BETAS).update(grads, rates=RATES)
    assert all(map(torch.equal, [*lists[0], *lists[1]], wanted))


@pytest.mark.usefixtures("path")
def test_steps_in_float64_are_counted_as_in_float32():
    given, wanted = made(), step(made())
    steps = [t.double() for t in given["state"].steps]
    got = step(given | {"state": given["state"]._replace(steps=steps)})
    assert [float(t) for t in steps] == [1.0, 1.0]
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.usefixtures("path")
def test_weights_that_become_float16_are_refused():
    given = made()
    optimizer, grads = kernels.AdamWEma(**given, betas=BETAS), list(map(torch.ones_like, PARAMS))
    optimizer.update(grads, rates=RATES)
    given["params"][0].data = given["params"][0].half()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"got torch\.float16 at 0"):
            optimizer.update(grads, rates=RATES)
