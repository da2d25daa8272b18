"""What ops refuse, in the same words on both paths, and what they take: nothing, mixed dtypes."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from oracle import is_float
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from fastvd import kernels

PATHS = ("fused", "eager")
Arguments = dict[str, Any]


def arguments(op: str, *clip: int) -> Arguments:
    """All that an op takes of a clip, by name."""
    b, t, h, w, c = clip or (2, 3, 4, 4, 8)
    ones, film = torch.ones(c), (torch.ones(b, c), torch.ones(b, c))
    x, weight = torch.ones(b, t, h, w, c), torch.ones(c, c, 3, 3)
    qkv, out = torch.ones(3 * 32, c), torch.ones(c, 32)
    convs = (kernels.Conv(weight, ones, ones, film) for _ in range(2))
    given: dict[str, Arguments] = {
        "rms_norm_act": {"weight": ones, "film": film, "residual": x},
        "layer_norm_act": {"affine": (ones, ones), "film": film, "residual": x},
        "group_norm_act": {"affine": (ones, ones), "film": film, "residual": x, "groups": 2}
        | {"conv_bias": ones},
        "conv_frames": {"weight": weight, "bias": ones},
        "conv_norm_act": {"weight": weight, "bias": ones, "norm": "layer", "film": film}
        | {"norm_weight": ones, "norm_bias": ones, "residual": x},
        "conv_pair": dict(zip(("first", "second"), convs, strict=True)) | {"residual": x},
        "linear_attention": {"norm_weight": ones, "qkv_weight": qkv, "out": (out, ones)}
        | {"heads": 2},
        "temporal_attention": {"norm_weight": ones, "qkv_weight": qkv, "out_weight": out}
        | {"heads": 2, "angles": torch.ones(t, 4), "bias": torch.ones(2, t, t)}
        | {"frames": torch.ones(t, c), "focus_present": torch.zeros(b, dtype=torch.bool)},
    }
    return {"x": x} | given[op]


OPS = [
    *("rms_norm_act", "layer_norm_act", "group_norm_act", "conv_frames", "conv_norm_act"),
    *("conv_pair", "linear_attention", "temporal_attention"),
]


def tensors(op: str) -> list[tuple[str, ...]]:
    """Where an op's tensors are: a name, or that of a tuple and of a place in it."""
    found: list[tuple[str, ...]] = []
    for name, given in arguments(op).items():
        if isinstance(given, Tensor):
            found.append((name,))
        elif isinstance(given, kernels.Conv):
            found += [(name, part) for part in given._fields if part != "film"]
        elif isinstance(given, tuple):
            found += [(name, str(i)) for i in range(len(given))]
    return found


def changed(op: str, place: tuple[str, ...], change: Callable[[Any], Any]) -> Arguments:
    """What an op takes, one tensor changed."""
    given = arguments(op)
    name, *part = place
    whole = given[name]
    if not part:
        given[name] = change(whole)
    elif isinstance(whole, kernels.Conv):
        given[name] = whole._replace(**{part[0]: change(getattr(whole, part[0]))})
    else:
        i = int(part[0])
        given[name] = (*whole[:i], change(whole[i]), *whole[i + 1 :])
    return given


def refused(op: str, given: Arguments) -> Exception:
    """What both paths raise alike."""
    errors = []
    for path in PATHS:
        with (
            kernels.eager() if path == "eager" else nullcontext(),
            pytest.raises((TypeError, ValueError)) as e,
        ):
            getattr(kernels, op)(**given)
        errors.append(e.value)
    assert [type(errors[0]), str(errors[0])] == [type(errors[1]), str(errors[1])]
    assert str(errors[0]).startswith(op)
    return errors[0]


BAD: dict[str, tuple[type[Exception], Callable[[Any], Any]]] = {
    "an array": (TypeError, lambda t: np.ones(tuple(t.shape))),
    "a list": (TypeError, lambda t: t.tolist()),
    "a number": (TypeError, lambda _: 1.0),
    "whole numbers": (ValueError, lambda t: t.long()),
    "complex": (ValueError, lambda t: t.to(torch.complex64)),
    "8 bits": (ValueError, lambda t: t.to(torch.float8_e4m3fn)),
    "another device": (ValueError, lambda t: t.to("meta")),
    "sparse": (ValueError, lambda t: t.to_sparse()),
    "an axis more": (ValueError, lambda t: t[None]),
    "an axis less": (ValueError, lambda t: t.sum(dim=0)),
    "a scalar": (ValueError, lambda t: t.sum()),
    "another size": (ValueError, lambda t: t[:-1] if t.ndim == 2 else t[..., :-1]),
}


@pytest.mark.parametrize(("op", "place"), [(op, p) for op in OPS for p in tensors(op)], ids=str)
def test_tensors_of_another_kind(op, place):
    for name, (kind, change) in BAD.items():
        assert type(refused(op, changed(op, place, change))) is kind, name


X, ONES, WEIGHT = torch.ones(2, 3, 4, 4, 8), torch.ones(8), torch.ones(8, 8, 3, 3)
QKV, OUT = torch.ones(96, 8), torch.ones(8, 32)
FILM, CONV = (torch.ones(2, 8), torch.ones(2, 8)), kernels.Conv(WEIGHT, ONES, ONES)
NORMS = ("rms_norm_act", "layer_norm_act", "group_norm_act", "conv_norm_act")
ATTENTIONS = ("linear_attention", "temporal_attention")
CASES: list[tuple[str | tuple[str, ...], str, object, type[Exception], str]] = [
    (
        NORMS,
        "film",
        FILM[0],
        TypeError,
        r"a pair of tensors or None for film, got a tensor \[2, 8\]",
    ),
    (NORMS, "film", FILM[:1], TypeError, r"for film, got tuple of 1: \(a tensor \[2, 8\]\)"),
    (NORMS, "film", (FILM[0], None), TypeError, r"got tuple of 2: \(a tensor \[2, 8\], None\)"),
    (NORMS, "film", (), TypeError, r"got tuple of 0: \(\)"),
    (NORMS, "act", "no", TypeError, "takes True or False for act, got 'no'"),
    (NORMS, "act", None, TypeError, "takes True or False for act, got None"),
    ("rms_norm_act", "weight", None, TypeError, "takes a tensor for weight, got None"),
    (NORMS[1:3], "affine", ONES, TypeError, r"for affine, got a tensor \[8\]"),
    (NORMS[1:3], "affine", (None, ONES), TypeError, "for affine, got tuple of 2: .None, a"),
    ("layer_norm_act", "affine", None, TypeError, "for affine, got None"),
    (NORMS[:3], "x", torch.ones(2, 4, 0), ValueError, r"one channel or more, got \[2, 4, 0\]"),
    (NORMS[2:], "groups", 2.0, TypeError, "an int for groups, got 2.0"),
    (NORMS[2:], "groups", True, TypeError, "for groups, got True"),
    ("group_norm_act", "groups", 3, ValueError, "groups that divide the 8 channels, got 3"),
    ("group_norm_act", "groups", 0, ValueError, "groups that divide the 8 channels, got 0"),
    ("group_norm_act", "groups", -2, ValueError, "groups that divide the 8 channels, got -2"),
    ("conv_norm_act", "norm", "batch", ValueError, "a norm of rms, layer, group, got 'batch'"),
    ("conv_norm_act", "norm", "rms", ValueError, r"no norm_bias with rms norm, got \[8\]"),
    ("conv_norm_act", "norm_weight", None, ValueError, r"norm_weight \[8\] with layer norm, got N"),
    ("conv_norm_act", "weight", torch.ones(8, 8, 2, 2), ValueError, r"odd, got \[8, 8, 1, 2, 2\]"),
    ("conv_norm_act", "weight", torch.ones(0, 8, 3, 3), ValueError, r"bias \[0\], got \[8\]"),
    ("conv_norm_act", "bias", None, TypeError, "takes a tensor for bias, got None"),
    (
        "conv_norm_act",
        "implementation",
        "fft",
        ValueError,
        "as fft: there are conv2d, conv3d, gemm",
    ),
    (("conv_norm_act", "conv_frames"), "stride", 0, ValueError, "stride of at least 1, got 0"),
    (
        ("conv_norm_act", "conv_frames"),
        "stride",
        (1, 1),
        TypeError,
        r"stride, got tuple of 2: \(1, 1",
    ),
    ("conv_frames", "padding", 1.5, TypeError, "an int or None for padding, got 1.5"),
    ("conv_frames", "padding", -1, ValueError, "padding of at least 0, got -1"),
    ("conv_frames", "weight", torch.ones(8, 8, 3, 1), ValueError, r"k, k\], got \[8, 8, 3, 1\]"),
    ("conv_pair", "first", CONV[:2], TypeError, "takes a Conv for first, got tuple of 2"),
    ("conv_pair", "second", WEIGHT, TypeError, r"a Conv for second, got a tensor \[8, 8, 3, 3\]"),
    (
        "conv_pair",
        "first",
        CONV._replace(bias=None),
        TypeError,
        "first takes a tensor for bias, got",
    ),
    ("conv_pair", "first", CONV._replace(weight=torch.ones(8, 8, 1, 3)), ValueError, "odd, got"),
    ("conv_pair", "shortcut", ONES, TypeError, r"None for shortcut, got a tensor \[8\]"),
    ("conv_pair", "shortcut", (OUT, ONES), ValueError, "a residual or a shortcut, got both"),
    (ATTENTIONS, "heads", 0, ValueError, "one head or more, got 0"),
    (ATTENTIONS, "heads", 3, ValueError, r"qkv_weight \[3 \* 3 heads \* D, C\], got \[96, 8\]"),
    (ATTENTIONS, "heads", 2.0, TypeError, "an int for heads, got 2.0"),
    (ATTENTIONS, "heads", True, TypeError, "an int for heads, got True"),
    (ATTENTIONS, "qkv_weight", torch.ones(0, 8), ValueError, r"heads \* D, C\], got \[0, 8\]"),
    (ATTENTIONS, "x", X[..., :0], ValueError, r"one channel or more, got \[2, 3, 4, 4, 0\]"),
    (
        "linear_attention",
        "out",
        OUT,
        TypeError,
        r"a pair of tensors for out, got a tensor \[8, 32\]",
    ),
    ("temporal_attention", "x", X[:, :0], ValueError, "takes 1 to 64 frames, got 0"),
    ("temporal_attention", "x", X.repeat(1, 22, 1, 1, 1), ValueError, "1 to 64 frames, got 66"),
    (
        "temporal_attention",
        "angles",
        torch.ones(3, 9),
        ValueError,
        r"\[3, 8 or less\].* got \[3, 9\]",
    ),
    ("temporal_attention", "focus_present", True, TypeError, "None for focus_present, got True"),
]


@pytest.mark.parametrize(("ops", "name", "bad", "kind", "message"), CASES)
def test_arguments_are_named_with_their_numbers(ops, name, bad, kind, message):
    for op in (ops,) if isinstance(ops, str) else ops:
        error = refused(op, arguments(op) | {name: bad})
        assert type(error) is kind
        assert re.search(message, str(error)), error


EMPTY = {"batch": (0, 3, 4, 4, 8), "frames": (2, 0, 4, 4, 8), "height": (2, 3, 0, 4, 8)}
EMPTY |= {"width": (2, 3, 4, 0, 8)}


# temporal attention takes one frame or more
TAKEN = [
    (op, side) for op in OPS for side in EMPTY if (op, side) != ("temporal_attention", "frames")
]


@pytest.mark.parametrize(("op", "side"), TAKEN)
@pytest.mark.parametrize("path", PATHS)
def test_clips_without_elements(op, path, side):
    shape = EMPTY[side]
    given = arguments(op, *shape)
    leaves = [t.requires_grad_() for t in tree_leaves({**given, "angles": None}) if is_float(t)]
    with kernels.eager() if path == "eager" else nullcontext():
        y = getattr(kernels, op)(**given)
        assert y.shape == shape
        y.sum().backward()
    for t in leaves:
        assert t.grad is not None
        assert not t.grad.any()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stride", [1, 2])
def test_empty_frames_stay_empty_where_the_stride_is_two(path, stride):
    given = arguments("conv_norm_act", 2, 3, 0, 5, 8) | {"stride": stride, "residual": None}
    with kernels.eager() if path == "eager" else nullcontext():
        y = kernels.conv_norm_act(**given)
        assert y.shape == (2, 3, 0, -(-5 // stride), 8)
        frames = arguments("conv_frames", 2, 3, 0, 5, 8) | {"stride": stride}
        assert kernels.conv_frames(**frames).shape == y.shape


MIXED = [
    *((torch.bfloat16, torch.float32), (torch.float16, torch.float32)),
    *((torch.float32, torch.bfloat16), (torch.float32, torch.float64)),
    *((torch.float64, torch.float32), (torch.float16, torch.bfloat16)),
]
"""Dtypes of a clip and of weights."""


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("op", OPS)
def test_the_clip_keeps_its_dtype_whatever_that_of_weights(op, path):
    def to(dtype: torch.dtype, given: Arguments) -> Arguments:
        return tree_map_only(Tensor, lambda t: t.to(dtype) if is_float(t) else t, given)

    given = tree_map_only(
        Tensor,
        lambda t: 0.1 * torch.randn_like(t) if is_float(t) else t,
        arguments(op, 1, 2, 2, 2, 8),
    )
    with kernels.eager() if path == "eager" else nullcontext():
        wanted = getattr(kernels, op)(**given)
        for clip, weights in MIXED:
            x = given["x"].detach().to(clip).requires_grad_()
            got = getattr(kernels, op)(**to(weights, given) | {"x": x})
            got.sum().backward()
            assert got.dtype == x.grad.dtype == clip
            torch.testing.assert_close(got.float(), wanted, rtol=0.05, atol=0.05)
