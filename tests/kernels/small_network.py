"""The smallest network with norms and both attentions, and what it gives."""

from collections.abc import Callable

from torch import Tensor, nn

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
    """One whose every output depends on every weight."""
    net = VideoUNet(CONFIG)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return net


def results(
    net: VideoUNet, x: Tensor, t: Tensor, *, call: Callable[..., Tensor] | None = None
) -> list[Tensor]:
    """The prediction of ``net``, called by ``call`` if given, and every gradient of a loss."""
    net.zero_grad()
    y = net(x, t) if call is None else call(x, t)
    (y.to(x.dtype) - 1).square().mean().backward()
    return [y.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]
