import pytest
import torch

from fastvd.diffusion.objective import from_x0, loss_per_sample, min_snr_weight, target, to_x0

KINDS = ["epsilon", "sample", "v_prediction"]


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_prediction_gives_the_clean_clip_back(kind):
    x0, noise = torch.randn(2, 2, 1, 2, 3, 4, dtype=torch.float64)
    alpha, sigma = 0.6, 0.8
    output = target(kind, x0, noise, alpha=torch.tensor(alpha), sigma=torch.tensor(sigma))
    x = alpha * x0 + sigma * noise
    torch.testing.assert_close(to_x0(kind, output, x, alpha=alpha, sigma=sigma), x0)
    torch.testing.assert_close(from_x0(kind, x0, x, alpha=alpha, sigma=sigma), output)


def test_v_is_alpha_noise_less_sigma_clip():
    x0, noise = torch.tensor([2.0]), torch.tensor([5.0])
    v = target("v_prediction", x0, noise, alpha=torch.tensor(0.6), sigma=torch.tensor(0.8))
    assert float(v) == pytest.approx(0.6 * 5 - 0.8 * 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    # differences 0.05 and 2: Huber's is half the square below 0.1, 0.1 (d - 0.05) above
    [("l2", [0.0025, 4.0]), ("l1", [0.05, 2.0]), ("huber", [0.00125, 0.1 * 1.95])],
)
def test_loss_is_the_mean_of_each_sample(kind, expected):
    wanted = torch.zeros(2, 1, 2, 2, 2)
    output = torch.tensor([0.05, 2.0]).reshape(2, 1, 1, 1, 1).expand_as(wanted)
    torch.testing.assert_close(loss_per_sample(kind, output, wanted), torch.tensor(expected))


def test_loss_of_half_precision_is_float32():
    output = torch.full((1, 1, 1, 1, 1), 300.0, dtype=torch.float16)
    loss = loss_per_sample("l2", output, torch.zeros_like(output))
    # 300 squared overflows float16
    assert loss.dtype == torch.float32
    assert float(loss) == 90_000


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weight_is_the_same_weight_on_x0_for_every_prediction(kind):
    alpha_bar = torch.tensor([0.01, 0.5, 0.8, 0.99], dtype=torch.float64)
    snr = alpha_bar / (1 - alpha_bar)
    weight = min_snr_weight(kind, alpha_bar, gamma=5.0)
    # squared error of x_0 over that of the prediction
    per_error = {"epsilon": 1 / snr, "sample": torch.ones(4), "v_prediction": 1 / (snr + 1)}
    torch.testing.assert_close(weight, snr.clamp(max=5) * per_error[kind].double())
