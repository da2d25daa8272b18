"""Convolutions of clips [B, T, H, W, C] by cuDNN, padded so that a stride of 1 keeps the size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import MAYBE_TENSOR, MAYBE_WHOLE, TENSOR, WHOLE, check_clip, check_kinds, check_shapes
from .dispatch import cast, cast_dtype, check_tensors
from .empty import empty


def conv_frames(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    padding: int | None = None,
) -> Tensor:
    """Convolve every frame: x [B, T, H, W, C], weight [O, C, k, k]; padding defaults to k // 2.

    bias: [O], or none. In the clip's dtype, or autocast's. Differentiable in all. Raises
    TypeError for another kind of argument, ValueError where shapes, devices or dtypes do not go
    together.
    """
    op = "conv_frames"
    check_kinds(
        op,
        (
            ("x", x, TENSOR),
            ("weight", weight, TENSOR),
            ("bias", bias, MAYBE_TENSOR),
            ("stride", stride, WHOLE),
            ("padding", padding, MAYBE_WHOLE),
        ),
    )
    check_clip(op, x)
    c, shape = x.shape[-1], weight.shape
    if len(shape) != 4 or shape[1] != c or shape[2] != shape[3] or 0 in shape:
        raise ValueError(f"{op} takes weight [O, {c}, k, k], got {list(shape)}")
    if bias is not None:
        check_shapes(op, (("bias", bias, shape[:1]),))
    _check_places(x, shape[-1], stride, padding)
    check_tensors(op, (x, weight) if bias is None else (x, weight, bias))
    return convolve_frames(x, weight, bias, stride=stride, padding=padding)


def _check_places(x: Tensor, kernel: int, stride: int, padding: int | None) -> None:
    if stride < 1:
        raise ValueError(f"conv_frames takes a stride of at least 1, got {stride}")
    if padding is None:
        return
    if padding < 0:
        raise ValueError(f"conv_frames takes padding of at least 0, got {padding}")
    size = list(x.shape[2:4])
    if min(size) + 2 * padding < kernel and x.numel():
        got = f"{size} padded by {padding}"
        raise ValueError(f"conv_frames takes frames as large as its kernel {kernel}, got {got}")


def convolve_frames(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int | None = None,
) -> Tensor:
    """``conv_frames`` of what was checked."""
    kernel = weight.shape[-1]
    padding = kernel // 2 if padding is None else padding
    if not x.numel():
        h, w = (n and max(0, (n + 2 * padding - kernel) // stride + 1) for n in x.shape[2:4])
        return empty(cast(x), (*x.shape[:2], h, w, len(weight)), x, weight, bias)
    y = F.conv2d(*_alike(_frames(x), weight, bias), stride, padding)
    return _clips(y, x)


def _alike(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """All in one dtype, the clip's or autocast's, which torch casts to by itself."""
    if weight.dtype == x.dtype and (bias is None or bias.dtype == x.dtype):
        return x, weight, bias
    dtype = cast_dtype(x)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


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

    flat: as images, where ``is_flat`` says that this is the same. In the dtype of ``cast(x)``.
    """
    images, planes, strides, padding = _as_cudnn(x, weight, stride, flat)
    convolution = F.conv2d if flat else F.conv3d
    y = convolution(*_alike(images, planes, bias), strides, padding)
    return _as_clips(y, x, weight, flat)


def conv_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, *, stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight, laid out as they are, from that of ``convolve``'s output.

    weight: [O, C, k, k] or [O, C, kt, kh, kw].
    """
    if not x.numel():
        return torch.empty_like(x), torch.zeros_like(weight)
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
