"""Convolutional blocks on frames [B, T, H, W, C], channels last."""

from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fastvd import kernels
from fastvd.models.attention import Context, attention_output
from fastvd.models.config import NormKind, Order

Film = tuple[Tensor, Tensor]


class BlockStyle(NamedTuple):
    """What all convolution blocks of a network share; VideoUNetConfig explains the fields."""

    order: Order
    norm: NormKind
    groups: int
    film: Literal["between", "both"]


class FrameConv(nn.Conv2d):
    """A 2-D convolution of every frame, 'same' padding unless given: spatial only."""

    def __init__(self, cin: int, cout: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__(cin, cout, kernel, stride=stride, padding=(kernel - 1) // 2)
        self.bias: nn.Parameter

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] to [B, T, H', W', O]"""
        return kernels.conv_frames(
            x, self.weight, self.bias, stride=self.stride[0], padding=int(self.padding[0])
        )


class NormAct(nn.Module):
    """Norm, FiLM where given, SiLU."""

    def __init__(self, channels: int, kind: NormKind, *, groups: int, film: bool = False) -> None:
        super().__init__()
        self.kind, self.groups = kind, groups
        # under FiLM a group norm has no gain of its own: adaptive group norm
        bare = kind == "group" and film
        self.weight = None if bare else nn.Parameter(torch.ones(channels))
        self.bias = None if bare or kind == "rms" else nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, film: Film | None) -> Tensor:
        """x: [B, T, H, W, C]; film: (scale, shift), each [B, C]"""
        if self.kind == "group" or self.weight is None:
            affine = None if self.weight is None else (self.weight, self.bias)
            return kernels.group_norm_act(x, affine, film, groups=self.groups)
        if self.bias is None:
            return kernels.rms_norm_act(x, self.weight, film)
        return kernels.layer_norm_act(x, (self.weight, self.bias), film)


class ConvBlock(nn.Module):
    """Convolution, norm with optional FiLM, and SiLU, in the order that the config names."""

    def __init__(self, cin: int, cout: int, style: BlockStyle, *, emb_dim: int | None) -> None:
        super().__init__()
        self.order = style.order
        self.conv = FrameConv(cin, cout, 3)
        channels = cin if style.order == "norm-act-conv" else cout
        self.norm = NormAct(channels, style.norm, groups=style.groups, film=emb_dim is not None)
        self.film = nn.Linear(emb_dim, 2 * channels) if emb_dim else None

    def forward(self, x: Tensor, emb: Tensor, residual: Tensor | None = None) -> Tensor:
        """[B, T, H, W, C] to [B, T, H, W, O]; emb: [B, E], activated; residual: added last."""
        film = self.film_of(emb)
        if self.order == "norm-act-conv":
            y: Tensor = self.conv(self.norm(x, film))
            return y if residual is None else y + residual
        conv, norm, is_act_first = self.conv, self.norm, self.order == "conv-act-norm"
        return kernels.conv_norm_act(
            x,
            conv.weight,
            conv.bias,
            norm=norm.kind,
            norm_weight=norm.weight,
            norm_bias=norm.bias,
            groups=norm.groups,
            film=film,
            residual=residual,
            act=not is_act_first,
            pre_act=is_act_first,
        )

    def film_of(self, emb: Tensor) -> Film | None:
        """Scale and shift of the norm from emb: [B, E], activated."""
        if self.film is None:
            return None
        scale, shift = self.film(emb).chunk(2, dim=1)
        return scale, shift

    def paired(self, emb: Tensor) -> kernels.Conv | None:
        """What ``conv_pair`` takes, if it takes a block of this order and norm."""
        if self.order != "conv-norm-act" or self.norm.kind != "rms" or self.norm.weight is None:
            return None
        return kernels.Conv(self.conv.weight, self.conv.bias, self.norm.weight, self.film_of(emb))


class ResidualBlock(nn.Module):
    """Two convolution blocks beside a shortcut."""

    def __init__(self, cin: int, cout: int, style: BlockStyle, *, emb_dim: int | None) -> None:
        super().__init__()
        norm_first = style.order == "norm-act-conv"
        both = style.film == "both"
        # "between" is the norm that stands between the two convolutions
        first, second = both or not norm_first, both or norm_first
        self.block1 = ConvBlock(cin, cout, style, emb_dim=emb_dim if first else None)
        self.block2 = ConvBlock(cout, cout, style, emb_dim=emb_dim if second else None)
        self.shortcut = nn.Linear(cin, cout) if cin != cout else nn.Identity()
        if norm_first:
            nn.init.zeros_(self.block2.conv.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """[B, T, H, W, C] to [B, T, H, W, O]; emb: [B, E], activated."""
        first, second = self.block1.paired(emb), self.block2.paired(emb)
        if first and second:
            if isinstance(self.shortcut, nn.Linear):
                shortcut = (self.shortcut.weight, self.shortcut.bias)
                return kernels.conv_pair(x, first, second, shortcut=shortcut)
            return kernels.conv_pair(x, first, second, residual=x)
        y = self.block1(x, emb)
        return cast(Tensor, self.block2(y, emb, self.shortcut(x)))


class TemporalConv(nn.Module):
    """A residual mix of each frame with the ones before and after it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.join = nn.Linear(3 * channels, channels)
        self.out = attention_output(channels, channels, bias=True)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x: [B, T, H, W, C], also returned; beyond the ends, frames are zero."""
        y = kernels.layer_norm_act(x, (self.norm.weight, self.norm.bias), act=False)
        side = y
        if context.focus_present is not None:
            side = y * ~rearrange(context.focus_present, "b -> b 1 1 1 1")
        padded = F.pad(side, (0, 0, 0, 0, 0, 0, 1, 1))
        joined = torch.cat((padded[:, :-2], y, padded[:, 2:]), dim=-1)
        return cast(Tensor, x + self.out(F.silu(self.join(joined))))


class Upsample(nn.Module):
    """Twice the height and width: a transposed convolution, or nearest and a convolution."""

    def __init__(self, cin: int, cout: int, *, transposed: bool) -> None:
        super().__init__()
        self.conv: nn.Module
        if transposed:
            self.conv = nn.ConvTranspose2d(cin, cout, 4, stride=2, padding=1)
        else:
            self.conv = nn.Sequential(
                nn.Upsample(scale_factor=2), nn.Conv2d(cin, cout, 3, padding=1)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] to [B, T, 2 H, 2 W, O]"""
        y = self.conv(rearrange(x, "b t h w c -> (b t) c h w"))
        return cast(Tensor, rearrange(y, "(b t) c h w -> b t h w c", b=x.shape[0]))
