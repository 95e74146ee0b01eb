"""Provenance of a result: versions and machine of the process that trained it, and a hash of the user's own code."""

import functools
import hashlib
import inspect
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from study.replicates.replicate import Pack


def provenance(pack: Pack) -> dict[str, Any]:
    """Return versions and machine of this process, and what makes a pack's products. Call it where the pack trains."""
    return versions_and_machine() | {"products": pack.products}


def versions_and_machine() -> dict[str, Any]:
    """Return versions and machine of this process."""
    import torch

    return {
        "dmd_study": _version(),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def code_hash(*owners: type | None) -> str | None:
    """Return a hash of the source files of a user's own problem and rule; None if both come with the package."""
    user_classes = [owner for owner in owners if owner is not None and is_user_code(owner)]
    if not user_classes:
        return None
    digest = hashlib.sha256()
    for owner in user_classes:
        digest.update(inspect.getsource(sys.modules[owner.__module__]).encode())
    return digest.hexdigest()[:16]


def is_user_code(owner: type) -> bool:
    """Return True if a class is the user's own, not one of the package."""
    return owner.__module__.partition(".")[0] not in ("accel", "problems", "study", "dashboards")


def _version() -> str | None:
    """Return the version of the package; None if its files were copied, not installed."""
    try:
        return version("dmd-study")
    except PackageNotFoundError:
        return None


@functools.cache
def _commit() -> str | None:
    """Return the commit of the checkout that the package runs from, with + if files have changed; None without git."""
    here = Path(__file__).parent
    try:
        git = functools.partial(subprocess.run, cwd=here, capture_output=True, text=True, check=True, timeout=10)
        git(["git", "ls-files", "--error-unmatch", Path(__file__).name])  # the folder may lie in some other repository
        return str(git(["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]).stdout).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
