"""Hyperparameter sensitivity studies of training accelerators.

`load_spec` reads a study's spec. `run` trains what its record lacks, `search` only the cells that a sampler asks for.
`open_study` opens the record of what has been trained: a `Record` has the table of replicates, the answer, the best
parameters, figures and the report. `write_figures`, `write_best` and `write_report` put these into files.

Each name is imported when it is first used, so that ``python -m study.trainer`` needs torch and numpy only.
"""

from typing import TYPE_CHECKING

from study.lazy_names import lazy_names

if TYPE_CHECKING:
    from study.adaptive_search import search
    from study.execution.run import run
    from study.products import write_best, write_figures, write_report
    from study.record import Record, open_study
    from study.specification import Spec, load_spec

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "study.adaptive_search": ["search"],
        "study.execution.run": ["run"],
        "study.products": ["write_best", "write_figures", "write_report"],
        "study.record": ["Record", "open_study"],
        "study.specification": ["Spec", "load_spec"],
    },
)

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
