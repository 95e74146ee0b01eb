"""A stand-in for CUDA graphs that runs on the CPU: what a function does is written down, operation by operation.

As a graph does, it reads and writes the very memory of the recording when it is replayed, runs nothing of the Python
between the operations, leaves everything as it was when it records, and refuses what a device could not do by itself.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

SYNCHRONISES = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select")


class Tape(TorchDispatchMode):
    """Records operations as they run."""

    def __init__(self) -> None:
        super().__init__()
        self.replays = 0
        self._operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._before: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Run an operation and note it."""
        _refuse(function)
        options = options or {}
        for tensor in _written(function, arguments, options):
            key = tensor.data_ptr(), tensor.shape, tensor.stride()
            self._before.setdefault(key, (tensor.detach(), tensor.detach().clone()))
        found = function(*arguments, **options)
        given = {_storage(leaf) for leaf in _tensors((arguments, options))}
        made = [leaf.detach() for leaf in _tensors(found) if _storage(leaf) not in given]
        held = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, (arguments, options))
        self._operations.append((function, *held, made))
        return found

    def undo(self) -> None:
        """Put back what was there before it was written to."""
        for tensor, before in reversed(self._before.values()):
            tensor.copy_(before)

    def replay(self) -> None:
        """Do it again, into the same memory."""
        self.replays += 1
        with torch.no_grad():
            for function, arguments, options, made in self._operations:
                found = list(_tensors(function(*arguments, **options)))
                for tensor, value in zip(made, found if made else [], strict=True):
                    tensor.copy_(value)


class Tapes:
    """As `study.training.cuda_graphs.CudaGraphs`; ``made``: every tape, of whichever object."""

    made: ClassVar[list[Tape]]

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """As of `study.training.cuda_graphs.Graphs`."""
        with _Refusing():
            yield

    def record(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """As of `study.training.cuda_graphs.Graphs`."""
        tape = Tape()
        try:
            with tape:
                losses = step()
        finally:
            tape.undo()
        self.made.append(tape)
        return tape.replay, losses


class _Refusing(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        _refuse(function)
        return function(*arguments, **(options or {}))


def _refuse(function: Any) -> None:
    if function.name().partition(".")[0] in SYNCHRONISES:
        raise RuntimeError(f"operation not permitted when stream is capturing: {function.name()}\nand more")


def _written(function: Any, arguments: Any, options: Any) -> Iterator[Tensor]:
    for index, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = arguments[index] if index < len(arguments) else options.get(argument.name)
            yield from _tensors(given)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
