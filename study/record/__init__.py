"""The record of a study: the replicates that have ended, each once, and their results.

The Optuna study holds one trial per replicate, which the driver alone adds when the replicate has ended. Baselines have
an Optuna study of their own, ``NAME/baseline``. Everything else about a replicate is a row of ``packs/<pack
id>.parquet``, which is written before the trials that point to it are added. So a replicate is recorded completely or
not at all, whichever process is killed at any time. Packs and database are checked when they are opened: a damaged pack
is trained again, a damaged database in the folder is made anew from the packs, and the damaged files are kept.
"""

from typing import TYPE_CHECKING

from study.lazy_names import lazy_names

if TYPE_CHECKING:
    from study.record._database import masked
    from study.record._files import write_whole
    from study.record._grid import StudyGrid
    from study.record._kept import KeptResults, Line, contents, keep, kept_results
    from study.record._lock import lock_folder
    from study.record._open import create, open_if_exists, open_study
    from study.record._record import Record
    from study.record._rows import row_name, row_of

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "study.record._database": ["masked"],
        "study.record._files": ["write_whole"],
        "study.record._grid": ["StudyGrid"],
        "study.record._kept": ["KeptResults", "Line", "contents", "keep", "kept_results"],
        "study.record._lock": ["lock_folder"],
        "study.record._open": ["create", "open_if_exists", "open_study"],
        "study.record._record": ["Record"],
        "study.record._rows": ["row_name", "row_of"],
    },
)

__all__ = [
    "KeptResults",
    "Line",
    "Record",
    "StudyGrid",
    "contents",
    "create",
    "keep",
    "kept_results",
    "lock_folder",
    "masked",
    "open_if_exists",
    "open_study",
    "row_name",
    "row_of",
    "write_whole",
]
