import gc

import numpy as np
import pytest

from fastvd import native
from fastvd.data.batch import Buffers, fill, fill_twin, stored_shape

KINDS = ["uint8", "float32", "float16", "bfloat16"]
STORED = {"uint8": np.uint8, "float32": np.float32}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 5, 16])
def test_rust_and_twin_agree(kind, channels, side):
    if not native.available:
        pytest.skip("no Rust core")
    rng = np.random.default_rng(side)
    shapes = [(n, side, side, channels) for n in (4, 7, 4)]
    videos = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    numbers = np.array([[3, 0], [6, 6], [1, 2]])
    shape = stored_shape((3, 2, side, side, channels), kind)
    ours, twin = (np.zeros(shape, STORED.get(kind, np.uint16)) for _ in range(2))
    fill(videos, numbers, ours, kind, threads=2)
    fill_twin(videos, numbers, twin, kind)
    assert np.array_equal(ours, twin)
    assert ours.any()


def test_wrong_frames_are_refused():
    if not native.available:
        pytest.skip("no Rust core")
    video, out = np.zeros((4, 2, 2, 3), np.uint8), np.zeros((1, 1, 2, 2, 3), np.uint8)
    for number in (-1, 4):
        with pytest.raises(ValueError, match="a video of 4 frames"):
            fill([video], np.array([[number]]), out, "uint8")
    with pytest.raises(ValueError, match="do not fill"):
        fill([video], np.array([[0, 1]]), out, "uint8")
    with pytest.raises(ValueError, match="differ"):
        fill([video, video[:, :1].copy()], np.array([[0], [0]]), out, "uint8")


def test_memory_is_used_again_only_when_nothing_refers_to_it():
    buffers = Buffers((2, 3, 4, 4, 3), "float32", keep=2)
    first = buffers.take()
    place = first.ctypes.data
    view = first[1:].reshape(-1)[2:]
    del first
    gc.collect()
    other = buffers.take()
    assert other.ctypes.data != place
    view[:] = 7
    del view
    gc.collect()
    again = buffers.take()
    assert again.ctypes.data == place
    assert again.shape == (2, 3, 3, 4, 4)
