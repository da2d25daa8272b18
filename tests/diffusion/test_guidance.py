import pytest
import torch

from fastvd.diffusion.guidance import bound, dynamic_threshold, guided

X = torch.zeros(1, 1, 1, 1, 2)
T = torch.zeros(1)


def network(x, t, cond=None):
    del t
    value = 1.0 if cond is None else float(cond.sum())
    return torch.full_like(x, value)


def test_guidance_leads_from_null_to_cond():
    cond = torch.tensor([[3.0]])
    assert guided(network, X, T, cond=cond, scale=2.5).tolist() == [[[[[6.0, 6.0]]]]]
    assert guided(network, X, T, cond=cond, scale=0.0).tolist() == [[[[[1.0, 1.0]]]]]


def test_null_cond_is_what_the_null_pass_gets():
    cond, null = torch.tensor([[3.0]]), torch.tensor([[2.0]])
    assert guided(network, X, T, cond=cond, null_cond=null, scale=3.0)[0, 0, 0, 0, 0] == 5


def test_scale_one_calls_the_network_once():
    conds = []

    def counting(x, t, cond=None):
        conds.append(cond)
        return network(x, t, cond=cond)

    cond = torch.tensor([[3.0]])
    assert guided(counting, X, T, cond=cond, scale=1.0)[0, 0, 0, 0, 0] == 3
    assert conds == [cond]


def test_guidance_without_cond_is_refused():
    with pytest.raises(ValueError, match=r"guidance 2\.0 needs a cond"):
        guided(network, X, T, scale=2.0)


def test_dynamic_threshold_scales_by_each_samples_own_quantile():
    x0 = torch.tensor([[0.5, -1.0, 2.0, -4.0, 8.0], [0.1, -0.2, 0.3, -0.4, 0.5]])
    x0 = x0.reshape(2, 1, 1, 1, 5)
    # 0.8 of five values: the fourth by size, 4; the second sample stays, since s is at least 1
    expected = torch.tensor([[0.125, -0.25, 0.5, -1.0, 1.0], [0.1, -0.2, 0.3, -0.4, 0.5]])
    torch.testing.assert_close(dynamic_threshold(x0, quantile=0.8).reshape(2, 5), expected)


def test_bound_clips_as_it_is_told():
    x0 = torch.tensor([-3.0, 0.5]).reshape(1, 1, 1, 1, 2)
    assert bound(x0, "static", quantile=1.0).flatten().tolist() == [-1.0, 0.5]
    assert bound(x0, "none", quantile=1.0).flatten().tolist() == [-3.0, 0.5]
    dynamic = bound(x0, "dynamic", quantile=1.0).flatten()
    torch.testing.assert_close(dynamic, torch.tensor([-1.0, 0.5 / 3]))
