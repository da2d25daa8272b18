"""Muon moves matrices as torch's does, convolutions as matrices, and only those."""

import pytest
import torch
from torch import nn

from fastvd.train.muon import Muon, orthogonalize

# torch iterates in bfloat16, whose rounding passes through five iterations
BFLOAT16_ERROR = 0.05


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6)], ids=str)
def test_singular_values_move_towards_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalize(matrices, iterations=10))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_directions_are_kept():
    matrix = torch.diag(torch.tensor([4.0, 2.0, -1.0]))[None]
    signs = orthogonalize(matrix).diagonal(dim1=1, dim2=2).sign()
    assert signs.tolist() == [[1.0, 1.0, -1.0]]


def test_zero_gradient_moves_nothing():
    assert orthogonalize(torch.zeros(1, 3, 4)).abs().max() == 0


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24)], ids=str)
def test_steps_are_those_of_torch_muon(shape):
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.5}
    steppers = Muon([ours], **options), torch.optim.Muon([theirs], **options)
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for stepper in steppers:
            stepper.step()
    moved = (start - theirs).abs().max()
    assert (ours - theirs).abs().max() < BFLOAT16_ERROR * moved


def test_convolution_moves_as_its_matrix():
    weight = torch.randn(6, 4, 1, 3, 3)
    conv, matrix = nn.Parameter(weight.clone()), nn.Parameter(weight.flatten(1).clone())
    conv.grad = torch.randn_like(conv)
    matrix.grad = conv.grad.flatten(1)
    Muon([conv], lr=0.1).step()
    Muon([matrix], lr=0.1).step()
    assert torch.equal(conv.flatten(1), matrix)
    assert not torch.equal(conv, weight)


def test_matrices_of_one_shape_do_not_mix():
    parameters = [nn.Parameter(torch.randn(4, 5)) for _ in range(3)]
    alone = nn.Parameter(parameters[1].detach().clone())
    for parameter in parameters:
        parameter.grad = torch.randn(4, 5)
    alone.grad = parameters[1].grad.clone()
    Muon(parameters, lr=0.1).step()
    Muon([alone], lr=0.1).step()
    torch.testing.assert_close(parameters[1], alone)


def test_parameter_without_gradient_stays():
    still, moving = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moving.grad = torch.eye(2)
    Muon([still, moving], lr=0.1).step()
    assert torch.equal(still, torch.ones(2, 2))
    assert not torch.equal(moving, torch.ones(2, 2))


def test_vector_is_refused():
    with pytest.raises(ValueError, match=r"two or more axes, got \(3,\)"):
        Muon([nn.Parameter(torch.ones(3))], lr=0.1)
