"""A bug in Rust is an exception, not a dead process."""

import numpy as np
import pytest

from fastvd import native
from fastvd.media.resize import make_view, resize


@pytest.mark.skipif(not native.available, reason="no Rust build here")
def test_panic_is_a_runtime_error_and_the_core_goes_on() -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError, match="a bug in fastvd: a panic was asked for"):
            native.core.force_panic()
    frames = np.full((1, 4, 4, 3), 7, np.uint8)
    assert resize(frames, make_view(2)).tolist() == [[[[7] * 3] * 2] * 2]
