"""Frame i is frame i: random reads of odd videos against a full decode."""

from pathlib import Path

import numpy as np
import pytest
from robust.exact import check_file
from robust.oddities import ENCODED, SPECIAL, make_oddities

NAMES = [*ENCODED, *(make.__name__ for make in SPECIAL)]


@pytest.fixture(scope="session")
def oddities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Videos of every kind, by name."""
    made = make_oddities(tmp_path_factory.mktemp("oddities"))
    return dict(zip(NAMES, made, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_random_reads_equal_a_full_decode(rust: None, oddities: dict[str, Path], name: str) -> None:
    found = check_file(oddities[name], reads=35, rng=np.random.default_rng(0))
    assert found.frames >= 50
    assert (found.wrong, found.unlike_pyav) == (0, 0)
