"""A network as sampling calls it: the same pass again and again, at one precision.

At small batches a GPU waits for the host, which starts hundreds of kernels a pass. A pass of a
shape seen before is therefore captured as a CUDA graph, and one launch replays it. Nor does each
pass there cast the weights anew.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastvd.arguments import check_callable, check_kind, device_of
from fastvd.models.device import Precision, autocast, check_lies_on, check_precision
from fastvd.models.unet import VideoUNet

WARM_UPS = 2
"""Passes of a shape before the one that is captured: kernels compile, cuDNN chooses."""


class _Graph(NamedTuple):
    """A captured pass; it reads ``given`` and writes ``answer``, each where it lies."""

    given: list[Tensor]
    answer: Tensor
    replay: Callable[[], None]


class Denoiser:
    """Calls ``network(x, t, cond=...)`` without gradients, for as long as its weights stay.

    ``sample`` takes it in place of the network, which lies on ``device``. precision: of the
    network's products, and of what it answers. On a GPU, passes of a VideoUNet are replayed;
    another network might look at numbers on the way, which a graph cannot.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        *,
        precision: Precision = "float32",
        device: torch.device | str,
    ) -> None:
        check_callable(network=network)
        check_precision(precision)
        device = device_of(device)
        self._network = network
        self._is_replayed = False
        if isinstance(network, VideoUNet):
            # a graph would replay nothing of a pass that runs elsewhere
            check_lies_on(network, device)
        if device.type == "cuda" and isinstance(network, VideoUNet):
            self._network = lowered(network, precision)
            self._is_replayed = True
        self._precision: Precision = precision
        self._device = device
        self._seen: Counter[Any] = Counter()
        self.graphs: dict[Any, _Graph] = {}
        """Captured passes, by the shapes and dtypes of what they are given."""

    @torch.no_grad()
    def __call__(self, x: Tensor, t: Tensor, *, cond: Tensor | None = None) -> Tensor:
        """Predict from x [B, C, T, H, W] at timesteps t [B], with cond [B, cond_dim] or none."""
        check_kind(Tensor, x=x, t=t)
        check_kind(Tensor, or_none=True, cond=cond)
        given = [x, t] if cond is None else [x, t, cond]
        shape = tuple((tensor.shape, tensor.dtype) for tensor in given)
        self._seen[shape] += 1
        if self._is_replayed and self._seen[shape] > WARM_UPS and shape not in self.graphs:
            self._capture(shape, given)
        if shape not in self.graphs:
            return self._pass(given)
        graph = self.graphs[shape]
        for buffer, tensor in zip(graph.given, given, strict=True):
            buffer.copy_(tensor)
        graph.replay()
        # the next replay writes over it
        return graph.answer.clone()

    def _pass(self, given: list[Tensor]) -> Tensor:
        x, t, *cond = given
        # a graph must not read what autocast keeps, and lets go, outside of it
        with autocast(self._device, self._precision, cache=False):
            return self._network(x, t, cond=cond[0] if cond else None)

    def _capture(self, shape: Any, given: list[Tensor]) -> None:
        # inference mode's own tensors can't be written outside of it
        with torch.inference_mode(False):
            buffers = [tensor.clone() for tensor in given]
        try:
            answer, replay = capture(lambda: self._pass(buffers), self._device)
        except RuntimeError as error:
            warnings.warn(f"sampling goes on without a CUDA graph: {error}", stacklevel=3)
            self._is_replayed = False
        else:
            self.graphs[shape] = _Graph(buffers, answer, replay)


def lowered(network: VideoUNet, precision: Precision) -> VideoUNet:
    """Return the network with the weights of its products as autocast would cast them."""
    if precision == "float32":
        return network
    network = copy.deepcopy(network).requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.to(getattr(torch, precision))
    return network


def capture(call: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, Callable[[], None]]:
    """Capture ``call`` as a CUDA graph; returns what it writes to, and what runs it again."""
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # other threads load clips meanwhile
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            answer = call()
    return answer, graph.replay
