"""The parts that a U-Net is laid out from: stem, stages of blocks, middle, output."""

from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional as F

from fastvd.models.attention import Context, FullAttention, LinearAttention, TemporalAttention
from fastvd.models.blocks import (
    BlockStyle,
    ConvBlock,
    FrameConv,
    NormAct,
    ResidualBlock,
    TemporalConv,
    Upsample,
)
from fastvd.models.config import SpatialKind, StagePlan, VideoUNetConfig


class MixerStyle(NamedTuple):
    """What all attentions of a network share; VideoUNetConfig explains the fields."""

    heads: int | None
    head_dim: int | None
    temporal_conv: bool
    temporal_attention: bool
    temporal_head_dim: int | None
    rotary: bool
    frame_embedding: int
    groups: int | None
    """Groups of the norm before full attention; None: a layer norm."""

    def shape(self, channels: int, head_dim: int | None) -> tuple[int, int]:
        """Heads and head width at ``channels``: what the config leaves open fills the width."""
        heads = self.heads or max(channels // (head_dim or channels), 1)
        return heads, head_dim or channels // heads


class Mixer(nn.ModuleList):
    """What follows a residual block: temporal convolution, spatial and temporal attention."""

    def __init__(self, channels: int, style: MixerStyle, *, spatial: SpatialKind) -> None:
        super().__init__()
        heads, head_dim = style.shape(channels, style.head_dim)
        if style.temporal_conv:
            self.append(TemporalConv(channels))
        if spatial == "linear":
            self.append(LinearAttention(channels, heads, head_dim))
        elif spatial != "none":
            across = spatial == "space_time"
            self.append(
                FullAttention(channels, heads, head_dim, groups=style.groups, across_frames=across)
            )
        if style.temporal_attention:
            self.append(temporal_attention(channels, style))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, H, W, C], also returned."""
        for part in self:
            x = part(x, context)
        return x


class Stage(nn.Module):
    """Residual blocks at one size, each or only the last with a mixer behind it."""

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        num_blocks: int,
        emb_dim: int,
        block: BlockStyle,
        mixer: MixerStyle,
        spatial: SpatialKind,
        mix_every_block: bool,
    ) -> None:
        super().__init__()
        self.blocks, self.mixers = nn.ModuleList(), nn.ModuleList()
        for i in range(num_blocks):
            self.blocks.append(ResidualBlock(cout if i else cin, cout, block, emb_dim=emb_dim))
            mixed = mix_every_block or i == num_blocks - 1
            self.mixers.append(Mixer(cout, mixer, spatial=spatial) if mixed else nn.Identity())

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[B, T, H, W, C] to [B, T, H, W, O]"""
        for block, mixer in zip(self.blocks, self.mixers, strict=True):
            x = block(x, context.emb)
            if isinstance(mixer, Mixer):
                x = mixer(x, context)
        return x


class Middle(nn.Module):
    """Block, mixer, block at the coarsest size."""

    def __init__(
        self,
        channels: int,
        *,
        emb_dim: int,
        block: BlockStyle,
        mixer: MixerStyle,
        spatial: SpatialKind,
    ) -> None:
        super().__init__()
        self.block1 = ResidualBlock(channels, channels, block, emb_dim=emb_dim)
        self.mixer = Mixer(channels, mixer, spatial=spatial)
        self.block2 = ResidualBlock(channels, channels, block, emb_dim=emb_dim)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, H, W, C], also returned."""
        x = self.mixer(self.block1(x, context.emb), context)
        return cast(Tensor, self.block2(x, context.emb))


class ConvPair(nn.Module):
    """Two convolution blocks that know neither shortcut nor time."""

    def __init__(self, cin: int, cout: int, block: BlockStyle) -> None:
        super().__init__()
        self.block1 = ConvBlock(cin, cout, block, emb_dim=None)
        self.block2 = ConvBlock(cout, cout, block, emb_dim=None)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[B, T, H, W, C] to [B, T, H, W, O]"""
        return cast(Tensor, self.block2(self.block1(x, context.emb), context.emb))


class Stem(nn.Module):
    """A convolution, then temporal attention if the style has it."""

    def __init__(self, cin: int, cout: int, kernel: int, *, mixer: MixerStyle | None) -> None:
        super().__init__()
        self.conv = FrameConv(cin, cout, kernel)
        has_attention = mixer is not None and mixer.temporal_attention
        self.attention = temporal_attention(cout, mixer) if mixer and has_attention else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[B, T, H, W, C] to [B, T, H, W, O]"""
        x = self.conv(x)
        return x if self.attention is None else cast(Tensor, self.attention(x, context))


class NormHead(nn.Module):
    """Norm, SiLU and a convolution that starts at zero."""

    def __init__(self, cin: int, cout: int, block: BlockStyle) -> None:
        super().__init__()
        self.norm = NormAct(cin, block.norm, groups=block.groups)
        self.conv = FrameConv(cin, cout, 3)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # noqa: ARG002
        """[B, T, H, W, C] to [B, T, H, W, O]"""
        return cast(Tensor, self.conv(self.norm(x, None)))


class BlockHead(nn.Module):
    """A residual block without time, and a linear map of each pixel."""

    def __init__(self, cin: int, channels: int, cout: int, block: BlockStyle) -> None:
        super().__init__()
        self.block = ResidualBlock(cin, channels, block, emb_dim=None)
        self.out = nn.Linear(channels, cout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[B, T, H, W, C] to [B, T, H, W, O]"""
        return cast(Tensor, self.out(self.block(x, context.emb)))


class ConvHead(nn.Module):
    """Convolution, SiLU, convolution."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv1 = FrameConv(cin, cin, 3)
        self.conv2 = FrameConv(cin, cout, 3)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # noqa: ARG002
        """[B, T, H, W, C] to [B, T, H, W, O]"""
        return cast(Tensor, self.conv2(F.silu(self.conv1(x))))


class Resample(nn.Module):
    """Half or twice the height and width, with an optional SiLU behind it."""

    def __init__(self, conv: nn.Module, *, act: bool) -> None:
        super().__init__()
        self.conv, self.act = conv, act

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] to [B, T, H', W', O]"""
        y: Tensor = self.conv(x)
        return F.silu(y) if self.act else y


def temporal_attention(channels: int, style: MixerStyle) -> TemporalAttention:
    """The temporal attention of ``style`` at a width of ``channels``."""
    heads, head_dim = style.shape(channels, style.temporal_head_dim)
    return TemporalAttention(
        channels, heads, head_dim, rotary=style.rotary, frame_embedding=style.frame_embedding
    )


def make_stem(config: VideoUNetConfig) -> nn.Module:
    """What takes the clip to the width of the finest level."""
    cin, cout = config.in_channels * config.patch_size**2, config.dim
    if config.layout == "wide":
        return ConvPair(cin, config.widths()[0], block_style(config))
    if config.layout == "vdm":
        return Stem(cin, cout, config.stem_kernel, mixer=mixer_style(config))
    return Stem(cin, config.widths()[0], config.stem_kernel, mixer=None)


def make_stage(
    config: VideoUNetConfig, level: int, plan: StagePlan, *, num_blocks: int, emb_dim: int
) -> Stage:
    """The blocks of one level, on one way."""
    return Stage(
        plan[0],
        plan[1],
        num_blocks=num_blocks,
        emb_dim=emb_dim,
        block=block_style(config),
        mixer=mixer_style(config),
        spatial=config.attention[level],
        mix_every_block=config.attend_every_block,
    )


def make_middle(config: VideoUNetConfig, *, emb_dim: int) -> nn.Module:
    """What stands between the ways down and up."""
    channels, block = config.widths()[-1], block_style(config)
    if config.layout == "wide":
        return ConvPair(channels, channels, block)
    spatial, mixer = config.mid_attention, mixer_style(config)
    return Middle(channels, emb_dim=emb_dim, block=block, mixer=mixer, spatial=spatial)


def make_shrink(config: VideoUNetConfig, plan: StagePlan) -> nn.Module:
    """What halves height and width behind a stage, if anything."""
    if plan[2] is None:
        return nn.Identity()
    kernel = 4 if config.layout == "vdm" else 3
    conv = FrameConv(plan[1], plan[2], kernel, stride=2)
    return Resample(conv, act=config.layout == "wide")


def make_grow(config: VideoUNetConfig, plan: StagePlan) -> nn.Module:
    """What doubles height and width behind a stage, if anything."""
    if plan[2] is None:
        return nn.Identity()
    conv = Upsample(plan[1], plan[2], transposed=config.layout != "plain")
    return Resample(conv, act=config.layout == "wide")


def make_head(config: VideoUNetConfig) -> nn.Module:
    """What takes the finest level to the prediction."""
    width = config.widths()[0]
    cout = (config.out_channels or config.in_channels) * config.patch_size**2
    if config.layout == "wide":
        return ConvHead(width, cout)
    if config.layout == "plain":
        return NormHead(width, cout, block_style(config))
    return BlockHead(2 * config.dim, config.dim, cout, block_style(config))


def block_style(config: VideoUNetConfig) -> BlockStyle:
    """The part of ``config`` that convolution blocks read."""
    return BlockStyle(config.block, config.norm, config.groups, config.film)


def mixer_style(config: VideoUNetConfig) -> MixerStyle:
    """The part of ``config`` that attentions read."""
    return MixerStyle(
        heads=config.heads,
        head_dim=config.head_dim,
        temporal_conv=config.temporal_conv,
        temporal_attention=config.temporal_attention,
        temporal_head_dim=config.temporal_head_dim,
        rotary=config.rotary,
        frame_embedding=config.frame_embedding,
        groups=config.groups if config.norm == "group" else None,
    )
