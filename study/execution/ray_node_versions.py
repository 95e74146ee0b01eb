"""What must be equal on every node of a cluster, so that it does not matter where a pack is trained."""

from collections.abc import Mapping

MAX_NODES_LISTED = 5
"""How many nodes a message lists before it says how many more there are."""


def installed() -> dict[str, str]:
    """Versions of this process and of the code that it would import, by name.

    It is sent to other nodes by value and needs nothing but Python, so it also answers where nothing else is right.
    """
    import hashlib
    import importlib.util
    import platform
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    found = {"python": platform.python_version()}
    for name in ("dmd-study", "torch", "numpy", "ray"):
        try:
            # a build for CUDA and one for CPUs (2.9.0+cu130, 2.9.0+cpu) are the same version
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "none"
    digest = hashlib.sha256()
    for package in ("accel", "problems", "study"):
        spec = importlib.util.find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(place).rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(place).as_posix()}\n".encode() + path.read_bytes())
    found["code of dmd-study"] = digest.hexdigest()[:12]
    return found


def differences(here: Mapping[str, str], nodes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Say how other nodes differ from this process: one line for each thing that does, with both versions.

    Args:
        here: what `installed` says in this process.
        nodes: what it says on other nodes, by their name.
    """
    lines = []
    for thing, mine in here.items():
        others: dict[str, list[str]] = {}
        for node, found in nodes.items():
            if found[thing] != mine:
                others.setdefault(found[thing], []).append(node)
        for theirs, where in others.items():
            more = f" and {len(where) - MAX_NODES_LISTED} more" if len(where) > MAX_NODES_LISTED else ""
            lines.append(f"{thing}: {mine} here, {theirs} on {', '.join(where[:MAX_NODES_LISTED])}{more}")
    return lines
