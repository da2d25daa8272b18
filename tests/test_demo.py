from pathlib import Path

import pytest

from fastvd import demo


@pytest.mark.timeout(120)
def test_a_stage_that_fails_ends_the_training_and_is_told(tmp_path: Path, capfd) -> None:
    assert demo.train_stages(tmp_path / "none", tmp_path / "runs") == 2
    assert "none: No such file or directory" in capfd.readouterr().err
