"""The video U-Net: a noisy clip and a timestep in, a prediction out."""

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from fastvd.arguments import check_kind
from fastvd.kernels.dispatch import FUSED_DTYPES
from fastvd.models.attention import Context
from fastvd.models.config import VideoUNetConfig
from fastvd.models.embed import RelativeBias, TimeEmbedding
from fastvd.models.stages import (
    make_grow,
    make_head,
    make_middle,
    make_shrink,
    make_stage,
    make_stem,
)


class VideoUNet(nn.Module):
    """A U-Net over clips; its config names the parts and how they are joined.

    In the layout ``plain`` the last convolution starts at zero: a fresh network answers zeros.
    """

    def __init__(self, config: VideoUNetConfig) -> None:
        super().__init__()
        check_kind(VideoUNetConfig, config=config)
        self.config = config
        self.gradient_checkpointing = config.gradient_checkpointing
        time_dim = config.time_dim or 4 * config.dim
        emb_dim = time_dim + (config.cond_dim or 0)
        self.time = TimeEmbedding(
            config.time_features or config.dim,
            time_dim,
            layers=config.time_layers,
            cond_dim=config.cond_dim,
        )
        has_bias = config.temporal_attention and config.relative_bias
        self.bias = RelativeBias(config.heads) if has_bias and config.heads else None
        downs, ups = config.stages()
        down, up = config.blocks_down, config.blocks_up
        self.stem = make_stem(config)
        self.downs = nn.ModuleList(
            make_stage(config, i, plan, num_blocks=down, emb_dim=emb_dim)
            for i, plan in enumerate(downs)
        )
        self.shrinks = nn.ModuleList(make_shrink(config, plan) for plan in downs)
        self.middle = make_middle(config, emb_dim=emb_dim)
        self.ups = nn.ModuleList(
            make_stage(config, i, plan, num_blocks=up, emb_dim=emb_dim)
            for i, plan in enumerate(ups)
        )
        self.grows = nn.ModuleList(make_grow(config, plan) for plan in ups)
        self.head = make_head(config)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        *,
        cond: Tensor | None = None,
        drop_cond: Tensor | None = None,
        focus_present: Tensor | None = None,
    ) -> Tensor:
        """Predict from noisy clips ``x`` [B, C, T, H, W] at timesteps ``t`` [B], 0 to 1000.

        cond: [B, cond_dim], or none for the learned stand-in; drop_cond: bool [B], samples whose
        cond is left out; focus_present: bool [B], samples whose frames must not see each other
        (the stem's attention of the vdm layout sees them still, as lucidrains' does).
        Returns [B, out_channels, T, H, W]. Raises TypeError for another kind of argument,
        ValueError for a shape, dtype or device that does not fit; outside of autocast ``x`` has the
        dtype of the weights.
        """
        weight = cast(Tensor, self.time.linears[0].weight)
        self._check(x, t, weight, cond=cond, drop_cond=drop_cond, focus_present=focus_present)
        patch = self.config.patch_size
        bias = None if self.bias is None else self.bias(x.shape[2])
        emb = F.silu(self.time(t, dtype=weight.dtype, cond=cond, drop_cond=drop_cond))
        context = Context(emb, bias, focus_present)
        x = rearrange(x, "b c t (h p) (w q) -> b t h w (c p q)", p=patch, q=patch)
        x = self._trunk(x.contiguous(), context)
        x = rearrange(x, "b t h w (c p q) -> b c t (h p) (w q)", p=patch, q=patch)
        return torch.tanh(x) if self.config.tanh else x

    def _trunk(self, x: Tensor, context: Context) -> Tensor:
        layout = self.config.layout
        x = stem = self.stem(x, context._replace(focus_present=None))
        skips = []
        for stage, shrink in zip(self.downs, self.shrinks, strict=True):
            x = self._run(stage, x, context)
            if layout != "wide":
                skips.append(x)
            x = shrink(x)
            if layout == "wide":
                skips.append(x)
        x = self._run(self.middle, x, context)
        for stage, grow in zip(reversed(self.ups), reversed(self.grows), strict=True):
            x = grow(self._run(stage, torch.cat((x, skips.pop()), dim=-1), context))
        if layout == "vdm":
            x = torch.cat((x, stem), dim=-1)
        return cast(Tensor, self.head(x, context))

    def _run(self, part: nn.Module, x: Tensor, context: Context) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            y = checkpoint(part, x, context, use_reentrant=False, preserve_rng_state=False)
        else:
            y = part(x, context)
        return cast(Tensor, y)

    def _check(
        self,
        x: Tensor,
        t: Tensor,
        weight: Tensor,
        *,
        cond: Tensor | None,
        drop_cond: Tensor | None,
        focus_present: Tensor | None,
    ) -> None:
        _check_clip(x, self.config)
        if x.device != weight.device:
            raise ValueError(f"x lies on {x.device}, the weights on {weight.device}")
        if x.dtype != weight.dtype:
            _check_dtypes(x, weight)
        batch = x.shape[0]
        _check_rows("t", t, (batch,), x.device)
        if t.dtype == torch.bool or t.is_complex():
            raise ValueError(f"t must be real numbers, got {t.dtype}")
        if cond is not None:
            width = self.config.cond_dim
            _check_rows("cond", cond, (batch, width) if width else None, x.device)
        for name, mask in (("drop_cond", drop_cond), ("focus_present", focus_present)):
            if mask is not None:
                _check_rows(name, mask, (batch,), x.device)
                if mask.dtype != torch.bool:
                    raise ValueError(f"{name} must be bool, got {mask.dtype}")


def _check_clip(x: Tensor, config: VideoUNetConfig) -> None:
    if not isinstance(x, Tensor):
        check_kind(Tensor, x=x)
    channels, divisor, most = config.in_channels, config.divisor(), config.max_frames()
    if x.ndim != 5 or x.shape[1] != channels:
        raise ValueError(f"x must be [B, {channels}, T, H, W], got {list(x.shape)}")
    if 0 in x.shape:
        raise ValueError(f"x must not be empty, got {list(x.shape)}")
    if most is not None and x.shape[2] > most:
        raise ValueError(f"temporal attention takes up to {most} frames, got {x.shape[2]}")
    if x.shape[3] % divisor or x.shape[4] % divisor:
        raise ValueError(
            f"height and width must be multiples of {divisor}, got {x.shape[3]} x {x.shape[4]}"
        )


def _check_dtypes(x: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless autocast brings both to one dtype."""
    if not x.is_floating_point():
        raise ValueError(f"x must be floating, -1..1, got {x.dtype}")
    # tensors without data know no autocast
    is_cast = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
    if not (is_cast and x.dtype in FUSED_DTYPES and weight.dtype in FUSED_DTYPES):
        raise ValueError(
            f"x is {x.dtype}, the weights are {weight.dtype}: x.to({weight.dtype}) goes with them, "
            "or autocast, which casts float32, float16 and bfloat16"
        )


def _check_rows(
    name: str, rows: Tensor, shape: tuple[int, ...] | None, device: torch.device
) -> None:
    if not isinstance(rows, Tensor):
        check_kind(Tensor, **{name: rows})
    if rows.shape != shape:
        wanted = None if shape is None else list(shape)
        raise ValueError(f"{name} must be {wanted}, got {list(rows.shape)}")
    if rows.device != device:
        raise ValueError(f"{name} lies on {rows.device}, x on {device}")
