"""Ops as torch knows them, started as quickly as Python can.

A ``torch.library`` op costs its caller more time than a GPU takes for most of our kernels. torch
needs it where it looks at what is called: while it compiles, traces, fakes or watches. Elsewhere
the same function runs as a ``torch.autograd.Function``, or on its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PLAIN = {Tensor, torch.nn.Parameter}


class Op:
    """An op whose ``custom`` is what torch knows of it."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._function = function
        self._differentiable: Any = None
        self.custom = torch.library.custom_op(f"fastvd::{name}", function, mutates_args=())
        self.register_fake = self.custom.register_fake

    def register_autograd(
        self, backward: Callable[..., Any], *, setup_context: Callable[..., None]
    ) -> None:
        """Give the op a gradient, as ``torch.library.register_autograd`` does."""
        self.custom.register_autograd(backward, setup_context=setup_context)

        # not setup_context as torch has it: that binds arguments by name at every call
        def forward(ctx: Any, *args: Any) -> Any:
            output = self._function(*args)
            setup_context(ctx, args, output)
            return output

        # torch's once_differentiable is silent where a second derivative has another way, too
        def once(ctx: Any, *grads: Any) -> Any:
            if torch.is_grad_enabled():
                name = self.custom._name
                raise RuntimeError(f"{name} has no second derivative: kernels.eager() has one")
            return backward(ctx, *grads)

        methods = {"forward": forward, "backward": once}
        methods = {name: staticmethod(method) for name, method in methods.items()}
        self._differentiable = type(self.custom._name, (torch.autograd.Function,), methods)

    def __call__(self, *args: Any) -> Any:
        """Run the op."""
        if torch.compiler.is_compiling() or _is_watched(args):
            return self.custom(*args)
        if self._differentiable is None or not torch.is_grad_enabled():
            return self._function(*args)
        return self._differentiable.apply(*args)


def op(name: str) -> Callable[[Callable[..., Any]], Op]:
    """Make an op ``fastvd::name`` of a function, which must not change or return what it takes."""
    return lambda function: Op(name, function)


def _is_watched(args: tuple[Any, ...]) -> bool:
    """Whether someone else than a kernel is to see these tensors, or they have no numbers."""
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return True
    for x in args:
        is_plain = type(x) in PLAIN
        if (is_plain and x.is_meta) or (not is_plain and isinstance(x, Tensor)):
            return True
    return torch._C._get_tracing_state() is not None
