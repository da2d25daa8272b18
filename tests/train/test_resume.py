"""A run goes on only as itself, and starts from another only on request."""

import pytest
import torch

from fastvd import checkpoint, config
from fastvd.errors import CheckpointError
from fastvd.train import OptimConfig, TrainConfig, Trainer


def test_run_of_another_config_is_refused_with_the_keys(tmp_path, videos, tiny_config):
    Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit()
    other = tiny_config(batch_size=1, optim=OptimConfig(lr=1.0), keep_last=9)
    with pytest.raises(ValueError, match="is a run of another config") as caught:
        Trainer(other, videos=videos, run_dir=tmp_path).fit()
    assert "batch_size: 2, now 1" in str(caught.value)
    assert "optim.lr: 0.01, now 1.0" in str(caught.value)
    assert "keep_last" not in str(caught.value)
    assert config.load_config(tmp_path / "config.yaml", TrainConfig) == tiny_config()


def test_config_of_a_newer_version_asks_for_an_update(tmp_path, videos, tiny_config):
    Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit()
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("format: 1", "format: 99"))
    with pytest.raises(ValueError, match="format 99 is newer than"):
        Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit()


def test_init_from_takes_what_fits_and_lists_the_rest(tmp_path, videos, tiny_config):
    small = Trainer(tiny_config(), videos=videos, run_dir=tmp_path / "small")
    small.fit()
    network = config.from_dict(
        type(tiny_config().network), config.to_dict(tiny_config().network) | {"dim": 12}
    )
    grown = Trainer(
        tiny_config(network=network),
        videos=videos,
        run_dir=tmp_path / "grown",
        init_from=tmp_path / "small",
    )
    report = grown.init_report
    weights, averages = grown.network.state_dict(), small.ema.network.state_dict()
    assert "head.conv.bias" in report.loaded
    assert all(torch.equal(weights[name], averages[name]) for name in report.loaded)
    conv = "middle.block1.block1.conv.weight (8, 8, 3, 3) for (12, 12, 3, 3)"
    assert conv in report.mismatched
    assert len(report.loaded) + len(report.mismatched) + len(report.missing) == len(weights)
    assert grown.fit().steps == 4


def test_init_from_without_a_checkpoint_is_file_not_found(tmp_path, videos, tiny_config):
    with pytest.raises(FileNotFoundError, match="no run with a checkpoint"):
        Trainer(tiny_config(), videos=videos, run_dir=tmp_path, init_from=tmp_path / "none")


def test_weights_alone_cannot_be_gone_on_with(tmp_path, videos, tiny_config):
    state = Trainer(tiny_config(), videos=videos, run_dir=tmp_path).network.state_dict()
    checkpoint.save(tmp_path, 0, tensors={"model": state, "ema": state}, state={})
    with pytest.raises(CheckpointError, match="give it as init_from to a new run"):
        Trainer(tiny_config(), videos=videos, run_dir=tmp_path).fit()
