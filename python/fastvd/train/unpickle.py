"""Reads one pickled checkpoint from a stranger in a process of its own, without running code.

``python -m fastvd.train.unpickle SOURCE TARGET`` writes the tensors of SOURCE as safetensors. The
caller reads nothing but TARGET.
"""

import pickle
import sys
from collections.abc import Iterator, Mapping

import torch
from safetensors.torch import save_file
from torch import Tensor


def main(source: str, target: str) -> int:
    """Write every tensor of ``source`` to ``target`` under its dotted name."""
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, UnicodeDecodeError):
        print("not a checkpoint of plain tensors: save model.state_dict()", file=sys.stderr)
        return 1
    tensors = {name: tensor.contiguous().clone() for name, tensor in _tensors(content, "")}
    if not tensors:
        print("no tensors in it", file=sys.stderr)
        return 1
    save_file(tensors, target)
    return 0


def _tensors(content: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix, content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _tensors(value, f"{prefix}.{name}" if prefix else str(name))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
