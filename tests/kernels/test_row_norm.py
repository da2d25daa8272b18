"""RMS and layer norm over channels, fused."""

import pytest
import torch
from oracle import assert_fused, leaf

SHAPES = {
    "even": (2, 4, 4, 4, 64),
    "odd": (3, 5, 3, 1, 96),
    "one row": (1, 1, 1, 1, 320),
    "narrow": (2, 3, 17, 9, 6),
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def shape(request) -> tuple[int, ...]:
    return request.param


def film_of(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Both halves of one projection."""
    return leaf(shape[0], 2 * shape[-1]).chunk(2, dim=1)


@pytest.mark.parametrize("act", [True, False], ids=["act", "no act"])
def test_rms_norm_act(shape, dtype, act):
    assert_fused("rms_norm_act", dtype, leaf(*shape), leaf(shape[-1]), film_of(shape), act=act)


def test_rms_norm_bare(shape, dtype):
    assert_fused("rms_norm_act", dtype, leaf(*shape), leaf(shape[-1]), residual=leaf(*shape))


@pytest.mark.parametrize("act", [True, False], ids=["act", "no act"])
def test_layer_norm_act(shape, dtype, act):
    affine = (leaf(shape[-1]), leaf(shape[-1]))
    assert_fused("layer_norm_act", dtype, leaf(*shape), affine, film_of(shape), act=act)


def test_layer_norm_bare(shape, dtype):
    assert_fused(
        "layer_norm_act", dtype, leaf(*shape), (leaf(shape[-1]), None), residual=leaf(*shape)
    )
