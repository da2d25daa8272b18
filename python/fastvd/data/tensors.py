"""Batches as PyTorch tensors: where their rows lie on the host, and their way to the device."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastvd.data.batch import Buffers
from fastvd.data.transforms import to_network

Precision = Literal["float32", "float16", "bfloat16"]


class HostOutput:
    """Tensors on the CPU: the rows are what the network takes."""

    def __init__(self, buffers: Buffers, precision: Precision) -> None:
        self._buffers = buffers
        self._dtype: torch.dtype = getattr(torch, precision)

    def rows(self) -> NDArray[Any]:
        """Memory for a batch, float [B, C, T, H, W] or its bits."""
        return self._buffers.take()

    def tensor(self, rows: NDArray[Any]) -> Tensor:
        """The filled rows, without a copy."""
        return torch.from_numpy(rows).view(self._dtype)


class DeviceOutput:
    """Tensors on a GPU: uint8 rows in pinned memory go up and are converted on a side stream.

    PyTorch hands the pinned memory out again when the upload is done.
    """

    def __init__(
        self, shape: tuple[int, ...], precision: Precision, device: torch.device | str
    ) -> None:
        self._shape = shape
        self._dtype: torch.dtype = getattr(torch, precision)
        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def rows(self) -> NDArray[np.uint8]:
        """Memory for a batch, uint8 [B, T, H, W, C]."""
        rows: NDArray[np.uint8] = torch.empty(
            self._shape, dtype=torch.uint8, pin_memory=True
        ).numpy()
        return rows

    def tensor(self, rows: NDArray[np.uint8]) -> Tensor:
        """The filled rows as float [B, C, T, H, W] on the device."""
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            frames = torch.from_numpy(rows).to(self._device, non_blocking=True)
            clip = to_network(frames, dtype=self._dtype)
        current.wait_stream(self._stream)
        # else its memory could serve the side stream again while this one still reads it
        clip.record_stream(current)
        return clip
