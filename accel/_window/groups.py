"""Groups of weights that share one operator, and their places in the flattened snapshots."""

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
"""A number splits nodes into parts of at most so many weights."""
Partition = Mapping[str, Sequence[nn.Parameter]]
"""Groups given by the user: name -> parameters. Parameters in no group are not accelerated."""


@dataclass(frozen=True)
class Group:
    """Weights that share one operator: elements ``start`` up to ``stop`` of a flattened snapshot."""

    name: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of weights n."""
        return self.stop - self.start


@dataclass(frozen=True)
class Piece:
    """Part of a family that lies in one buffer: group g has the ``size`` weights from ``start + g * size``."""

    buffer: int
    start: int
    size: int


@dataclass(frozen=True)
class Family:
    """Groups of one size that are handled together, such as the nodes of a layer or the weights of a parameter.

    A layer, the model or a group given by the user is a family of one group.
    """

    name: str
    shape: tuple[int, ...]
    """Shape of the array of groups; () for a single group, which has the family's name."""
    pieces: tuple[Piece, ...]
    first: int
    """Number of its first group, counted over all families."""

    @property
    def count(self) -> int:
        """Number of groups."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Number of weights n of each group."""
        return sum(piece.size for piece in self.pieces)

    def group_name(self, index: int) -> str:
        """Return the name of a group, such as ``"0.weight[3, 1]"``."""
        if not self.shape:
            return self.name
        position = []
        for length in reversed(self.shape):
            index, coordinate = divmod(index, length)
            position.append(coordinate)
        return f"{self.name}{position[::-1]}"


@dataclass(frozen=True)
class Layout:
    """The accelerated parameters, one buffer of snapshots per dtype and device, and the groups that partition them."""

    buffers: tuple[tuple[nn.Parameter, ...], ...]
    families: tuple[Family, ...]

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """All accelerated parameters, buffer by buffer."""
        return tuple(parameter for buffer in self.buffers for parameter in buffer)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return sum(family.count for family in self.families)


@dataclass
class _Entry:
    """A family before its place in the buffers is known."""

    name: str
    shape: tuple[int, ...]
    parameters: list[nn.Parameter] = field(default_factory=list)


def lay_out(model: nn.Module, grouping: Grouping | Partition) -> Layout:
    """Partition a model's trainable parameters.

    ``"model"`` is one group.
    ``"layer"`` is one group per module that owns parameters directly, biases included; a shared parameter belongs to
    its first owner.
    ``"node"`` is one group per row (first dimension) of a module's parameters, such as an output of a dense layer or an
    output channel of a convolution. Parameters with the same number of rows are taken together, so a row has its bias.
    The rows of a transposed convolution are its input channels, so its biases are groups by themselves.
    ``"weight"`` is one group per single weight.
    A number splits nodes: each row of each parameter is cut into equal parts, as few as keep a part within that many
    weights, and each part is a group; biases are groups by themselves.

    Frozen parameters and buffers belong to no group. A compiled or distributed model has the groups of the model that
    it wraps.

    Raises:
        ValueError: Unknown grouping; nothing to train; parameters that are complex or not yet initialised; a partition
            that names anything but trainable parameters of the model, or one of them twice.
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
        raise ValueError("the model must have trainable floating-point parameters (requires_grad=True), got none")
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
            _Entry(f"{module}.{name}" if module != "model" else name, _parts_shape(p, grouping), [p])
            for module, _, owned in owners
            for name, p in owned.items()
        ]
    )


def _parts_shape(parameter: nn.Parameter, max_size: str | int) -> tuple[int, ...]:
    """Return the shape of the array of a parameter's groups: its weights, or (rows, parts of a row)."""
    if isinstance(max_size, str) or parameter.dim() < 2 or not parameter.numel():
        return tuple(parameter.shape)
    length = parameter[0].numel()
    parts = next(count for count in range(-(-length // max_size), length + 1) if length % count == 0)
    return len(parameter), parts


_Owner = tuple[str, nn.Module, dict[str, nn.Parameter]]


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside the wrappers of torch.compile and of distributed training."""
    while True:
        if isinstance(model, DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def _owners(model: nn.Module) -> list[_Owner]:
    """Return the modules that own trainable parameters; a shared parameter counts for its first owner only."""
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


def _nodes(module_name: str, module: nn.Module, owned: dict[str, nn.Parameter]) -> list[_Entry]:
    entries: dict[object, _Entry] = {}
    for name, parameter in owned.items():
        shape = tuple(parameter.shape[:1])
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        key = name if transposed or not shape else shape
        entries.setdefault(key, _Entry(f"{module_name}.{name}", shape)).parameters.append(parameter)
    if len(entries) == 1:
        next(iter(entries.values())).name = module_name
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
    """Lay parameters into one buffer per dtype and device, in the order of the entries."""
    buffers: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    placed = []
    for entry in entries:
        count = math.prod(entry.shape)
        pieces: list[Piece] = []
        for parameter in entry.parameters:
            parameters = buffers.setdefault((parameter.dtype, parameter.device), [])
            buffer = list(buffers).index((parameter.dtype, parameter.device))
            start = sum(p.numel() for p in parameters)
            parameters.append(parameter)
            size = parameter.numel() // max(count, 1)
            same = next((i for i, piece in enumerate(pieces) if piece.buffer == buffer), None)
            if not entry.shape and same is not None:  # a single group is one piece of each buffer
                pieces[same] = Piece(buffer, pieces[same].start, pieces[same].size + size)
            elif size:
                pieces.append(Piece(buffer, start, size))
        if count and pieces:
            placed.append((entry.name, entry.shape, tuple(pieces)))
    firsts = accumulate((math.prod(shape) for _, shape, _ in placed), initial=0)
    families = tuple(Family(*each, first) for each, first in zip(placed, firsts, strict=False))
    return Layout(tuple(tuple(parameters) for parameters in buffers.values()), families)


def _check(name: str, parameter: nn.Parameter) -> None:
    if is_lazy(parameter):
        raise ValueError(f"parameter {name} must have a shape: pass one batch through the lazy module first")
    if not parameter.is_floating_point():
        raise ValueError(f"trainable parameters must be real floating point, got {name} of {parameter.dtype}")
