"""Which weights share one operator, and where they lie in the flattened snapshots."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Annotated, Literal, get_args

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from accel._fields import Bounds

Named = Literal["model", "layer", "node", "weight"]
Grouping = Named | Annotated[int, Bounds(at_least=1)]
"""A number: nodes split into parts of at most so many weights."""
Partition = Mapping[str, Sequence[nn.Parameter]]
"""Groups of the user's own: name -> its parameters. Parameters in no group are left alone."""


@dataclass(frozen=True)
class Group:
    """Weights that share one operator: elements ``start`` to ``stop`` of a flattened snapshot."""

    name: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of weights n."""
        return self.stop - self.start


@dataclass(frozen=True)
class Piece:
    """Where part of a family lies: its g-th group has the ``size`` weights from ``start + g * size`` of a buffer."""

    buffer: int
    start: int
    size: int


@dataclass(frozen=True)
class Family:
    """Groups of one size that are handled together: the nodes of a layer, the single weights of a parameter.

    A layer, the model or a group of the user's own is a family of one.
    """

    name: str
    shape: tuple[int, ...]
    """How the groups are numbered; () for one group, which bears the family's name."""
    pieces: tuple[Piece, ...]
    first: int
    """Number of the first group among all groups."""

    @property
    def count(self) -> int:
        """Number of groups."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Number of weights n of each group."""
        return sum(piece.size for piece in self.pieces)

    def group_name(self, index: int) -> str:
        """Name of one of its groups, such as ``"0.weight[3, 1]"``."""
        if not self.shape:
            return self.name
        place = []
        for length in reversed(self.shape):
            index, position = divmod(index, length)
            place.append(position)
        return f"{self.name}{place[::-1]}"


@dataclass(frozen=True)
class Layout:
    """The accelerated parameters, one buffer of snapshots per dtype and device, and the groups that partition them."""

    buffers: tuple[tuple[nn.Parameter, ...], ...]
    families: tuple[Family, ...]

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """All of them, buffer by buffer."""
        return tuple(parameter for buffer in self.buffers for parameter in buffer)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return sum(family.count for family in self.families)


@dataclass
class _Entry:
    name: str
    shape: tuple[int, ...]
    parameters: list[nn.Parameter] = field(default_factory=list)


def lay_out(model: nn.Module, grouping: Grouping | Partition) -> Layout:
    """Partition a model's trainable parameters.

    ``"model"`` is one group. ``"layer"`` is one group per module that owns parameters directly, biases with it; a
    shared parameter belongs to its first owner. ``"node"`` is one group per row (first dimension) of a module's
    parameters, with the bias of the same row: an output of a dense layer, an output channel of a convolution, all
    parameters that have as many rows being taken together. The rows of a transposed convolution are its input channels,
    so its biases are groups of their own. ``"weight"`` is one group per single weight. A number splits nodes: one group
    per part of a row of each parameter, all parts of a row as large as each other, and as large as can be within so
    many weights; biases are groups of their own. Frozen parameters and buffers belong to no group. A compiled or
    distributed model has the groups of the model it wraps.

    Raises:
        ValueError: Unknown grouping; nothing to train; parameters that are complex or not yet initialised; a partition
            that names other parameters than trainable ones of the model, or one of them twice.
    """
    number = isinstance(grouping, int) and not isinstance(grouping, bool) and grouping >= 1
    if not isinstance(grouping, Mapping) and not number and grouping not in get_args(Named):
        valid = ", ".join(get_args(Named))
        raise ValueError(
            f"group must be one of {valid}, a number of weights from 1, or a mapping of names to parameters, "
            f"got {grouping!r}"
        )
    owners = _owners(_unwrapped(model))
    if sum(parameter.numel() for _, _, owned in owners for parameter in owned.values()) == 0:
        raise ValueError("the model must have trainable floating-point parameters (requires_grad=True), found none")
    if isinstance(grouping, Mapping):
        return _place(_partition(grouping, owners))
    if grouping == "model":
        return _place([_Entry("model", (), [p for _, _, owned in owners for p in owned.values()])])
    if grouping == "layer":
        return _place([_Entry(name, (), list(owned.values())) for name, _, owned in owners])
    if grouping == "node":
        return _place([entry for owner in owners for entry in _nodes(*owner)])
    return _place(
        [
            _Entry(f"{name}.{own}" if name != "model" else own, _parts(p, grouping), [p])
            for name, _, owned in owners
            for own, p in owned.items()
        ]
    )


def _parts(parameter: nn.Parameter, most: str | int) -> tuple[int, ...]:
    """How a parameter's groups are numbered: as its weights, or rows and parts of each of at most so many weights."""
    if isinstance(most, str) or parameter.dim() < 2 or not parameter.numel():
        return tuple(parameter.shape)
    length = parameter[0].numel()
    parts = next(count for count in range(-(-length // most), length + 1) if length % count == 0)
    return len(parameter), parts


_Owner = tuple[str, nn.Module, dict[str, nn.Parameter]]


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of torch.compile and of distributed training."""
    while True:
        if isinstance(model, DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def _owners(model: nn.Module) -> list[_Owner]:
    """Modules with the trainable parameters that they are the first to own, by name."""
    owners: list[_Owner] = []
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        owned = {}
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                _check(f"{module_name}.{name}".lstrip("."), parameter)
                seen.add(parameter)
                owned[name] = parameter
        if owned:
            owners.append((module_name or "model", module, owned))
    return owners


def _nodes(name: str, module: nn.Module, owned: dict[str, nn.Parameter]) -> list[_Entry]:
    entries: dict[object, _Entry] = {}
    for own, parameter in owned.items():
        shape = tuple(parameter.shape[:1])
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        key = own if transposed or not shape else shape
        entries.setdefault(key, _Entry(f"{name}.{own}", shape)).parameters.append(parameter)
    if len(entries) == 1:
        next(iter(entries.values())).name = name
    return list(entries.values())


def _partition(groups: Partition, owners: list[_Owner]) -> list[_Entry]:
    known = {parameter for _, _, owned in owners for parameter in owned.values()}
    seen: dict[nn.Parameter, str] = {}
    for name, parameters in groups.items():
        for parameter in parameters:
            if parameter not in known:
                shape = tuple(getattr(parameter, "shape", ()))
                raise ValueError(
                    f"groups must hold trainable parameters of the model, got another one of shape {shape} in {name!r}"
                )
            if parameter in seen:
                raise ValueError(
                    f"groups must not share parameters, got one of shape {tuple(parameter.shape)} "
                    f"in {seen[parameter]!r} and in {name!r}"
                )
            seen[parameter] = name
    empty = [name for name, parameters in groups.items() if sum(p.numel() for p in parameters) == 0]
    if empty or not groups:
        raise ValueError(f"groups must each hold at least one weight, got {', '.join(empty) or 'no group'}")
    return [_Entry(str(name), (), list(parameters)) for name, parameters in groups.items()]


def _place(entries: list[_Entry]) -> Layout:
    buffers: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    placed = []
    for entry in entries:
        count = math.prod(entry.shape)
        pieces: list[Piece] = []
        for parameter in entry.parameters:
            own = buffers.setdefault((parameter.dtype, parameter.device), [])
            buffer = list(buffers).index((parameter.dtype, parameter.device))
            start = sum(p.numel() for p in own)
            own.append(parameter)
            size = parameter.numel() // max(count, 1)
            same = next((i for i, piece in enumerate(pieces) if piece.buffer == buffer), None)
            if not entry.shape and same is not None:  # one group lies in one stretch of each buffer
                pieces[same] = Piece(buffer, pieces[same].start, pieces[same].size + size)
            elif size:
                pieces.append(Piece(buffer, start, size))
        if count and pieces:
            placed.append((entry.name, entry.shape, tuple(pieces)))
    firsts = accumulate((math.prod(shape) for _, shape, _ in placed), initial=0)
    families = tuple(Family(*each, first) for each, first in zip(placed, firsts, strict=False))
    return Layout(tuple(tuple(own) for own in buffers.values()), families)


def _check(name: str, parameter: nn.Parameter) -> None:
    if is_lazy(parameter):
        raise ValueError(f"parameter {name} must have a shape: pass one batch through the lazy module first")
    if not parameter.is_floating_point():
        raise ValueError(f"trainable parameters must be real floating point, got {name} of {parameter.dtype}")
