"""The smallest network with norms and both attentions, and what it gives."""

from collections.abc import Callable

from torch import Tensor, nn

from fastvd.kernels import launch
from fastvd.models import VideoUNet, VideoUNetConfig

CONFIG = VideoUNetConfig(
    layout="plain",
    dim=16,
    mults=(1,),
    blocks_down=1,
    blocks_up=1,
    stem_kernel=3,
    attention=("linear",),
    mid_attention="linear",
    heads=1,
    head_dim=16,
    temporal_head_dim=16,
)


def network() -> VideoUNet:
    return awake(VideoUNet(CONFIG))


def awake(net: VideoUNet) -> VideoUNet:
    """Fill what starts at zero: every output depends on every weight."""
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return net


def ops(*names: str) -> set[str]:
    """Names of ops and of their backward; a GPU has no room for temporal blocks in float32."""
    if not launch.interpreted:
        names = tuple(name.replace("temporal_block", "temporal_core") for name in names)
    return {f"fastvd::{name}{end}" for name in names for end in ("", "_backward")}


def results(
    net: VideoUNet, x: Tensor, t: Tensor, *, call: Callable[..., Tensor] | None = None
) -> list[Tensor]:
    """The prediction of ``net``, called by ``call`` if given, and every gradient of a loss."""
    net.zero_grad()
    y = net(x, t) if call is None else call(x, t)
    (y.to(x.dtype) - 1).square().mean().backward()
    return [y.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]
