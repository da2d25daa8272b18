"""Convolutions of clips [B, T, H, W, C] by cuDNN, padded so that a stride of 1 keeps the size."""

import torch
import torch.nn.functional as F
from torch import Tensor


def conv_frames(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: int | None = None,
) -> Tensor:
    """Convolve every frame: x [B, T, H, W, C], weight [O, C, k, k]; padding defaults to k // 2."""
    if weight.ndim != 4 or x.ndim != 5 or x.shape[-1] != weight.shape[1]:
        wanted = "x [B, T, H, W, C] and weight [O, C, k, k]"
        raise ValueError(
            f"conv_frames takes {wanted}, got {list(x.shape)} and {list(weight.shape)}"
        )
    padding = weight.shape[-1] // 2 if padding is None else padding
    y = F.conv2d(_frames(x), weight, bias, stride, padding)
    return _clips(y, x)


def _frames(x: Tensor) -> Tensor:
    """Clips as images with channels second: a view with channels-last strides."""
    return x.flatten(0, 1).movedim(-1, 1)


def _clips(images: Tensor, x: Tensor) -> Tensor:
    """The inverse of ``_frames``, as many as x has."""
    y = images.movedim(1, -1)
    return y.view(*x.shape[:2], *y.shape[1:])


def as_3d(weight: Tensor) -> Tensor:
    """A weight [O, C, k, k] as one of clips, [O, C, 1, k, k], which it may be already."""
    return weight.unsqueeze(2) if weight.ndim == 4 else weight


def is_flat(weight: Tensor, stride: int) -> bool:
    """Whether a weight [O, C, kt, kh, kw] sees each frame alone, or each pixel alone."""
    kt, kh, kw = weight.shape[2:]
    return kt == 1 or (kh, kw, stride) == (1, 1, 1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, flat: bool) -> Tensor:
    """Convolve clips with weight [O, C, kt, kh, kw] over frames ``stride`` pixels apart.

    flat: as images, where ``is_flat`` says that this is the same.
    """
    images, planes, strides, padding = _as_cudnn(x, weight, stride, flat)
    y = (F.conv2d if flat else F.conv3d)(images, planes, bias, strides, padding)
    return _as_clips(y, x, weight, flat)


def conv_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, *, stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight, laid out as they are, from that of ``convolve``'s output.

    weight: [O, C, k, k] or [O, C, kt, kh, kw].
    """
    kernel = as_3d(weight)
    flat = is_flat(kernel, stride)
    images, planes, strides, padding = _as_cudnn(x, kernel.to(x.dtype), stride, flat)
    dy, _, _, _ = _as_cudnn(dy, kernel, stride, flat)
    dx, dw, _ = torch.ops.aten.convolution_backward(
        *(dy, images, planes, None, strides, padding, [1] * len(strides)),
        *(False, [0] * len(strides), 1, [True, True, False]),
    )
    dw = dw.reshape(weight.shape)
    is_alike = dw.stride() == weight.stride() and dw.dtype == weight.dtype
    dw = dw if is_alike else torch.empty_like(weight).copy_(dw)
    return _as_clips(dx, x, kernel, flat).contiguous(), dw


def _as_cudnn(
    x: Tensor, weight: Tensor, stride: int, flat: bool
) -> tuple[Tensor, Tensor, list[int], list[int]]:
    """Views of x and weight with channels second, strides and padding."""
    kernel = weight.shape[2:]
    padding = [k // 2 for k in kernel]
    if not flat:
        return x.movedim(-1, 1), weight, [1, stride, stride], padding
    if kernel[0] == 1:
        return _frames(x), weight[:, :, 0], [stride] * 2, padding[1:]
    # frames are the rows of an image, all their pixels its columns
    return x.flatten(2, 3).movedim(-1, 1), weight[..., 0], [1, 1], padding[:2]


def _as_clips(y: Tensor, x: Tensor, weight: Tensor, flat: bool) -> Tensor:
    """The inverse of ``_as_cudnn``, for a clip at the size of ``y``."""
    if not flat:
        return y.movedim(1, -1)
    if weight.shape[2] == 1:
        return _clips(y, x)
    y = y.movedim(1, -1)
    return y.view(*y.shape[:2], *x.shape[2:4], y.shape[-1])
