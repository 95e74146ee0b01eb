"""Words and files that a record gave when its results were last written, kept to be shown again.

They hold as long as the record's state is the same: its trials and attributes in the storage, the files of its packs,
and this package's code. As in git and make, these files count as unchanged if their sizes and times of change are. Of
files that were made of the record, the content counts. The words lie in a file that can be deleted at any time; then
they are made anew.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy.engine import Engine, make_url

from study.record._database import check_sqlite, engine_options, storage_url
from study.record._files import packs, write_whole

FILE = ".results.json"
FORMAT_VERSION = 1
_PACKAGES = ("accel", "problems", "dashboards", "study")
_LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy", "seaborn")
"""Libraries that make what is kept."""

Line = tuple[Literal["out", "err"], str]
"""Standard output or standard error, and a text that was printed there."""


@dataclass(frozen=True)
class KeptResults:
    """Results of a record in words, and the files that were written of it.

    Attributes:
        study: Name of the study.
        place: Folder of the study, as it is written in the lines.
        state: Hash of the record's state, see `state_of`.
        status: Lines that tell how much has ended, and the answer.
        results: Lines that were printed while the files were written.
        files: Path of each file, from the study's folder -> hash of its content.
        request: Hash of the request for which nothing is left to train; None if it is not known.
        timed: True if the time of the recommended cell needs no measurement either.
    """

    study: str
    place: str
    state: str
    status: tuple[Line, ...]
    results: tuple[Line, ...]
    files: Mapping[str, str]
    request: str | None = None
    timed: bool = False

    def are_in(self, folder: Path) -> bool:
        """Return True if all files are in the folder as they were written."""
        return self.place == str(folder) and self.files == contents(folder, self.files)


def contents(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return a hash of each of these files in a folder, by path; files that cannot be read are left out."""
    hashes = {}
    for name in names:
        with contextlib.suppress(OSError):
            hashes[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return hashes


def _stamps(folder: Path, paths: Iterable[Path]) -> dict[str, tuple[int, int]]:
    """Return size and time of change of files, by their path from a folder; files that have just gone are left out."""
    seen = {}
    for path in paths:
        with contextlib.suppress(OSError):
            state = path.stat()
            seen[str(path.relative_to(folder))] = (state.st_size, state.st_mtime_ns)
    return seen


_TRIALS = """
    SELECT studies.study_name, COUNT(*), MAX(trials.trial_id) FROM trials JOIN studies USING (study_id)
    WHERE studies.study_name IN (:cells, :baselines) GROUP BY studies.study_name ORDER BY studies.study_name
"""
_ATTRIBUTES = """
    SELECT studies.study_name, attributes.key, attributes.value_json
    FROM study_user_attributes AS attributes JOIN studies USING (study_id)
    WHERE studies.study_name IN (:cells, :baselines) ORDER BY studies.study_name, attributes.key
"""


def state_of(engine: Engine, folder: Path, study: str) -> str:
    """Return a hash of all that the results of a record are made from.

    Args:
        engine: the database of the Optuna storage. Optuna itself is not imported, which takes longer than all else.
        folder: the study's folder.
        study: name of the study.

    Raises:
        SQLAlchemyError: the storage cannot be read.
    """
    code = Path(__file__).parents[2]
    sources = [path for package in _PACKAGES for path in (code / package).rglob("*") if path.suffix != ".pyc"]
    studies = {"cells": study, "baselines": f"{study}/baseline"}
    with engine.connect() as connection:
        recorded = [
            list(row) for query in (_TRIALS, _ATTRIBUTES) for row in connection.execute(sql.text(query), studies)
        ]
    state = [
        recorded,
        _stamps(folder, packs(folder)),
        _stamps(code, (path for path in sources if path.is_file())),
        [version(library) for library in _LIBRARIES],
    ]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def keep(folder: Path, kept: KeptResults) -> None:
    """Write results to a study's folder. Raises OSError if it cannot be written to."""
    text = json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(kept)}, indent=1)
    write_whole(folder / FILE, lambda path: path.write_text(text, encoding="utf-8"))


def kept_results(folder: Path, storage: str | None = None) -> KeptResults | None:
    """Return the results that a study's folder keeps; None if there are none, or if the record's state is another.

    Nothing is written, and no table is read.

    Args:
        folder: the study's folder.
        storage: URL of the Optuna storage; None for the database in the folder.
    """
    kept = _read(folder)
    if kept is None:
        return None
    try:
        url = make_url(storage_url(folder, storage))
        if url.get_backend_name() == "sqlite" and not check_sqlite(url):
            return None
        engine = sql.create_engine(url, **engine_options(url))
        try:
            return kept if state_of(engine, folder, kept.study) == kept.state else None
        finally:
            engine.dispose()
    except Exception:  # a driver may raise any exception; whoever opens the record says why it cannot be read
        return None


def _read(folder: Path) -> KeptResults | None:
    """Return what the file holds, whatever the record's state; None if it is not there or was changed by hand."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if content.pop("format_version") != FORMAT_VERSION:
            return None
        status, results = (tuple(map(_line, content.pop(name))) for name in ("status", "results"))
        kept = KeptResults(status=status, results=results, **content)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return kept if isinstance(kept.study, str) and isinstance(kept.files, dict) else None


def _line(written: Any) -> Line:
    stream, text = written
    if stream not in ("out", "err") or not text.replace("\n", "").isprintable():
        raise ValueError("must be a stream and a printable text")
    return stream, text
