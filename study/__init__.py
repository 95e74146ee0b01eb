"""Hyperparameter sensitivity studies of training accelerators.

`load_spec` reads a study's spec, `run` trains what its record lacks, `open_study` reads what it gave.
Each is imported when first asked for, so that ``python -m study.trainer`` needs torch and numpy only.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.execution.run import run
    from study.record import Record, open_study
    from study.specification import Spec, load_spec

_HOME = {
    "Record": "study.record",
    "Spec": "study.specification",
    "load_spec": "study.specification",
    "open_study": "study.record",
    "run": "study.execution.run",
}

__all__ = ["Record", "Spec", "load_spec", "open_study", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
