"""Versions that must be equal on every node of a cluster, so that results do not depend on where a pack is trained."""

from collections.abc import Mapping

MAX_NODES_LISTED = 5
"""Number of nodes that a message names; the others are only counted."""


def installed() -> dict[str, str]:
    """Return the versions of this process and of the code that it would import, by name.

    Other nodes get this function by value. It needs only Python, so it also answers where packages are missing.
    """
    import hashlib
    import importlib.util
    import platform
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    versions = {"python": platform.python_version()}
    for name in ("dmd-study", "torch", "numpy", "ray"):
        try:
            # a build for CUDA and one for CPUs (2.9.0+cu130, 2.9.0+cpu) are the same version
            versions[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            versions[name] = "none"
    digest = hashlib.sha256()
    for package in ("accel", "problems", "study"):
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    versions["code of dmd-study"] = digest.hexdigest()[:12]
    return versions


def differences(here: Mapping[str, str], nodes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return one line for each version that differs between this process and other nodes, with both values.

    Args:
        here: result of `installed` in this process.
        nodes: name of a node -> result of `installed` there.
    """
    lines = []
    for name, version_here in here.items():
        others: dict[str, list[str]] = {}
        for node, versions in nodes.items():
            if versions[name] != version_here:
                others.setdefault(versions[name], []).append(node)
        for version_there, where in others.items():
            more = f" and {len(where) - MAX_NODES_LISTED} more" if len(where) > MAX_NODES_LISTED else ""
            lines.append(f"{name}: {version_here} here, {version_there} on {', '.join(where[:MAX_NODES_LISTED])}{more}")
    return lines
