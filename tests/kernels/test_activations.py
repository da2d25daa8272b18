"""What a forward pass keeps for the backward pass, against plain PyTorch, at full size: no number
is computed, tensors are torch's fake ones on a GPU that need not be there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fastvd.models import VideoUNet
from fastvd.models.layouts import vdm

TARGET = 0.20
"""Of what plain PyTorch keeps, at most."""
FRAMES, BATCH = 16, 4


@contextmanager
def autocast() -> Iterator[None]:
    """bfloat16 where ``torch.autocast`` on a GPU has it; that itself wants a GPU."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    yield
    torch.set_autocast_enabled("cuda", False)


def kept_bytes(make: Callable[[], nn.Module], size: int) -> int:
    """Bytes that the forward pass of a batch keeps, less the weights."""
    kept: dict[int, Tensor] = {}

    def keep(t: Tensor) -> Tensor:
        # as long as a tensor is kept nothing else has its memory's number
        kept.setdefault(t.untyped_storage()._cdata, t)
        return t

    with FakeTensorMode(), torch.device("cuda"):
        network, clip = make(), torch.randn(BATCH, 3, FRAMES, size, size)
        with autocast(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            network(clip, torch.zeros(BATCH, dtype=torch.long))
    own = {p.untyped_storage()._cdata for p in [*network.parameters(), *network.buffers()]}
    return sum(t.untyped_storage().nbytes() for n, t in kept.items() if n not in own)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("dim", "size"), [(64, 64), (128, 128)])
def test_a_fifth_of_what_lucidrains_keeps(monkeypatch, dim, size):
    lucidrains = pytest.importorskip("video_diffusion_pytorch.video_diffusion_pytorch")
    # the mask of no sample at all, at whose numbers it would look
    monkeypatch.setattr(lucidrains, "prob_mask_like", lambda *_, **__: None)
    mults = (1, 2, 4, 8)
    plain = kept_bytes(lambda: lucidrains.Unet3D(dim=dim, dim_mults=mults), size)
    fused = kept_bytes(lambda: VideoUNet(vdm(dim)), size)
    assert fused <= TARGET * plain
