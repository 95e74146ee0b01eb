"""Readable names of the groups of a jump, such as ``Linear 6→20`` for the layer that a network calls ``0``."""

from collections import Counter
from collections.abc import Sequence

from torch import nn

_SIZES = (
    ("in_features", "out_features"),
    ("in_channels", "out_channels"),
    ("num_embeddings", "embedding_dim"),
    ("input_size", "hidden_size"),
)
"""Attributes of torch's layers that say from how many numbers to how many others they lead."""
_WIDTHS = ("num_features", "normalized_shape", "num_channels", "embed_dim")
"""Attributes of torch's layers that say how many numbers they handle alike."""
_ORDINALS = {2: "2nd", 3: "3rd"}
_MAX_PARAMETERS = 3


def layer_names(network: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return readable names for groups that are named as `accel.GroupReports.family_names` names them.

    A layer is named by its kind and shape, and by its number if several are alike: ``Linear 20→20 (2nd)``. A parameter
    of a layer follows its layer: ``Linear 6→20, weight``. A module that is no layer of torch's has the names of its own
    parameters. The group of all weights is ``all weights``.

    Args:
        network: The network whose weights jump.
        names: Names of its layers or parameters, or ``model``.
    """
    by_path = _by_path(network)
    return tuple(_readable(network, by_path, name, len(names) == 1) for name in names)


def _by_path(network: nn.Module) -> dict[str, str]:
    """Return the readable name of every layer by its path; alike layers are counted in the order of the network."""
    seen: Counter[str] = Counter()
    by_path = {}
    for path, module in network.named_modules():
        if any(True for _ in module.parameters(recurse=False)) and (kind := _kind(module)):
            seen[kind] += 1
            count = seen[kind]
            by_path[path] = kind if count == 1 else f"{kind} ({_ORDINALS.get(count, f'{count}th')})"
    return by_path


def _kind(module: nn.Module) -> str:
    """Return a layer's class and shape; nothing if it is none of torch's kinds."""
    kinds = type(module).__mro__  # torch has layers that are no public kind, such as those inside its attention
    name = next((k.__name__ for k in kinds if k.__module__.startswith("torch.") and hasattr(nn, k.__name__)), "")
    is_users_own = not type(module).__module__.startswith(("torch.", "study."))
    name = type(module).__name__ if is_users_own else name
    for before, after in _SIZES:
        if isinstance(getattr(module, before, None), int) and isinstance(getattr(module, after, None), int):
            size = f"{name} {getattr(module, before)}→{getattr(module, after)}"
            kernel = getattr(module, "kernel_size", None)
            return f"{size}, {'×'.join(map(str, kernel))}" if isinstance(kernel, tuple) else size
    for width in _WIDTHS:
        if (value := getattr(module, width, None)) is not None:
            return f"{name} {'×'.join(map(str, value)) if isinstance(value, tuple) else value}"
    return ""


def _readable(network: nn.Module, by_path: dict[str, str], name: str, alone: bool) -> str:
    path = "" if name == "model" else name
    if path in by_path:
        return by_path[path]
    modules = dict(network.named_modules())
    if path in modules:
        if name == "model" and alone and by_path:
            return "all weights"
        return _parameters([f"{path}.{key}".lstrip(".") for key, _ in modules[path].named_parameters(recurse=False)])
    layer, _, parameter = name.rpartition(".")
    layer = "" if layer == "model" else layer
    return f"{by_path[layer]}, {parameter}" if layer in by_path else _parameters([f"{layer}.{parameter}".lstrip(".")])


def _parameters(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_PARAMETERS} more" if len(names) > _MAX_PARAMETERS else ""
    return f"parameter{'s' * (len(names) > 1)} {', '.join(names[:_MAX_PARAMETERS])}{more}"
