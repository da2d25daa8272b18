"""Weights of other packages' networks as a VideoUNet."""

import re
from collections.abc import Mapping

from torch import Tensor

from fastvd.arguments import check_kind
from fastvd.models.config import VideoUNetConfig
from fastvd.models.unet import VideoUNet

LINEAR_HEAD_DIM = 32
"""Unet3D's spatial attentions have this head width whatever its argument says."""

_PREFIX = "denoise_fn."
_NAMES = [
    (r"init_conv\.", "stem.conv."),
    (r"init_temporal_attn\.", "stem.attention."),
    (r"time_rel_pos_bias\.relative_attention_bias\.weight", "bias.table"),
    (r"time_mlp\.1\.", "time.linears.0."),
    (r"time_mlp\.3\.", "time.linears.1."),
    (r"null_cond_emb", "time.null_cond"),
    (r"mid_block(\d)\.", r"middle.block\1."),
    (r"mid_spatial_attn\.", "middle.mixer.0."),
    (r"mid_temporal_attn\.", "middle.mixer.1."),
    (r"final_conv\.0\.", "head.block."),
    (r"final_conv\.1\.", "head.out."),
    (r"(downs|ups)\.(\d+)\.([01])\.", r"\1.\2.blocks.\3."),
    (r"(downs|ups)\.(\d+)\.2\.", r"\1.\2.mixers.1.0."),
    (r"(downs|ups)\.(\d+)\.3\.", r"\1.\2.mixers.1.@."),
    (r"downs\.(\d+)\.4\.", r"shrinks.\1.conv."),
    (r"ups\.(\d+)\.4\.", r"grows.\1.conv.conv."),
    (r"\.mlp\.1\.", ".block1.film."),
    (r"\.proj\.", ".conv."),
    (r"\.res_conv\.", ".shortcut."),
    (r"\.gamma$", ".weight"),
    (r"\bfn\.", ""),
    (r"\bto_(qkv|out)\.", r"\1."),
]


def from_lucidrains(state_dict: Mapping[str, Tensor]) -> VideoUNet:
    """Build the VideoUNet that computes what video-diffusion-pytorch 0.7.0's Unet3D does.

    state_dict: of a Unet3D, or of the GaussianDiffusion around one. Sizes are read off the
    tensors. Raises ValueError if a tensor is missing, too many or of the wrong size.
    """
    check_kind(Mapping, state_dict=state_dict)
    theirs = {k.removeprefix(_PREFIX): v for k, v in state_dict.items()}
    if any(k.startswith(_PREFIX) for k in state_dict):
        theirs = {k.removeprefix(_PREFIX): v for k, v in state_dict.items() if _PREFIX in k}
    config = lucidrains_config(theirs)
    network = VideoUNet(config)
    # the angles of its rotary embedding are constants, which VideoUNet computes
    learned = {k: v for k, v in theirs.items() if not k.endswith("rotary_emb.freqs")}
    renamed = {our_name(k, config): (k, v) for k, v in learned.items()}
    own = network.state_dict()
    if missing := sorted(own.keys() - renamed.keys()):
        raise ValueError(f"the state dict lacks what becomes {', '.join(missing)}")
    if unknown := sorted(renamed[k][0] for k in renamed.keys() - own.keys()):
        raise ValueError(f"not tensors of a Unet3D: {', '.join(unknown)}")
    for name, (source, value) in renamed.items():
        if value.numel() != own[name].numel():
            wanted, came = list(own[name].shape), list(value.shape)
            raise ValueError(f"{source} must hold {wanted} numbers, got {came}")
    network.load_state_dict({k: v.reshape(own[k].shape) for k, (_, v) in renamed.items()})
    return network


def our_name(name: str, config: VideoUNetConfig) -> str:
    """VideoUNet's name of Unet3D's tensor ``name``."""
    for pattern, ours in _NAMES:
        name = re.sub(pattern, ours, name)
    name = name.replace("@", "0" if config.attention[0] == "none" else "1")
    # Unet3D counts the way up from the coarsest level
    last = len(config.mults) - 1
    return re.sub(r"^(ups|grows)\.(\d+)", lambda m: f"{m[1]}.{last - int(m[2])}", name)


def lucidrains_config(state_dict: Mapping[str, Tensor]) -> VideoUNetConfig:
    """The config of a Unet3D, read off the shapes of its tensors."""
    try:
        stem = state_dict["init_conv.weight"]
        dim = state_dict["time_mlp.1.weight"].shape[1]
        heads = state_dict["time_rel_pos_bias.relative_attention_bias.weight"].shape[1]
        temporal = state_dict["init_temporal_attn.fn.fn.fn.to_qkv.weight"].shape[0]
        out = state_dict["final_conv.1.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"not the state dict of a Unet3D: it has no {error}") from error
    widths: list[int] = []
    while (key := f"downs.{len(widths)}.0.block1.proj.weight") in state_dict:
        widths.append(state_dict[key].shape[0])
    if stem.shape[0] != dim or any(width % dim for width in widths):
        raise ValueError(f"widths {stem.shape[0]}, {widths} must be multiples of dim, {dim}")
    is_linear = "downs.0.2.fn.fn.to_qkv.weight" in state_dict
    null_cond = state_dict.get("null_cond_emb")
    return VideoUNetConfig(
        in_channels=stem.shape[1],
        out_channels=None if out == stem.shape[1] else out,
        dim=dim,
        mults=tuple(width // dim for width in widths),
        stem_kernel=stem.shape[-1],
        attention=("linear" if is_linear else "none",) * len(widths),
        heads=heads,
        head_dim=LINEAR_HEAD_DIM,
        temporal_head_dim=temporal // (3 * heads),
        cond_dim=None if null_cond is None else null_cond.shape[1],
    )
