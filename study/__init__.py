"""Hyperparameter sensitivity studies of training accelerators.

`load_spec` reads a study's spec. `run` trains what its record lacks, `search` only the cells that a sampler asks for.
`open_study` opens the record of what has been trained: a `Record` has the table of replicates, the answer, the best
parameters, figures and the report. `write_figures`, `write_best` and `write_report` put these into files.

Each name is imported when it is first used, so that ``python -m study.trainer`` needs torch and numpy only.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.adaptive_search import search
    from study.execution.run import run
    from study.products import write_best, write_figures, write_report
    from study.record import Record, open_study
    from study.specification import Spec, load_spec

_HOME = {
    "Record": "study.record",
    "Spec": "study.specification",
    "load_spec": "study.specification",
    "open_study": "study.record",
    "run": "study.execution.run",
    "search": "study.adaptive_search",
    "write_best": "study.products",
    "write_figures": "study.products",
    "write_report": "study.products",
}

__all__ = [
    "Record",
    "Spec",
    "load_spec",
    "open_study",
    "run",
    "search",
    "write_best",
    "write_figures",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
