"""Studies trained elsewhere: packs out to a file, what they gave back into a record."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from problems import BUILT_IN
from study.errors import UserError
from study.execution.terminal_progress import counting
from study.planning.cells import baselines, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import Record, create, lock_folder, open_if_exists
from study.replicates.pack_files import BadFile, OutcomesFile, PacksFile
from study.specification import Spec, load_spec, method_names


def export_packs(
    spec: Spec | str | Path | Mapping[str, Any],
    path: str | Path,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    done: str | Path | None = None,
) -> PacksFile:
    """Write the packs and the data of a study to a file that ``python -m study.trainer`` trains.

    Args:
        spec: a spec, or what `load_spec` takes.
        path: the file.
        overrides: applied to the spec before it is validated.
        done: a folder in which the study has begun; only what its record lacks is written.

    Raises:
        SpecError: mistakes in the spec. UserError: the study needs code that a file cannot carry, or nothing is left
            to train, or the file cannot be written.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec, overrides)
    if not _portable(spec.to_dict()):
        raise UserError(
            f"{spec.name} names a problem or rule of your own, whose code a file cannot carry: run it where that is"
        )
    waiting = [*baselines(spec), *replicates(spec)]
    if done is not None and (record := open_if_exists(Path(done), spec, None)):
        waiting = record.missing(waiting)
        if not waiting:
            raise UserError(f"{done} holds all of {spec.name} already: nothing is left to export")
    with counting("samples") as count:
        tasks = make_tasks(spec, waiting, count)
    file = PacksFile({"spec": spec.to_dict(), "hash": spec.hash()}, tuple(plan(spec, waiting)), tasks)
    try:
        file.write(Path(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    return file


def import_outcomes(path: str | Path, out: str | Path | None = None, storage: str | None = None) -> tuple[Record, Spec]:
    """Take what ``python -m study.trainer`` gave into the record of its study, which is begun where there is none.

    Args:
        path: the trainer's file.
        out: the study's folder; ``results/NAME`` by default.
        storage: URL of the Optuna storage, by default SQLite in the folder (or the variable DMD_STUDY_STORAGE).

    Raises:
        UserError: the file cannot be read, belongs to another study than the folder, or to another version.
    """
    try:
        file = OutcomesFile.read(Path(path))
        written = dict(file.study["spec"])
    except (BadFile, KeyError, TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    if not _portable(written):
        raise UserError(f"{path} names code of one's own, which importing results never runs")
    spec = load_spec(written)
    if spec.hash() != file.study["hash"]:
        raise UserError(
            f"{path} was exported by another version: its study has the identity {file.study['hash']}, but the same "
            f"spec has {spec.hash()} here"
        )
    folder = Path(out or Path("results") / spec.name)
    earlier = open_if_exists(folder, spec, storage)
    # a folder whose grid is another keeps it: the file brings replicates, not questions
    kept = spec if earlier is None else load_spec(earlier.spec)
    with lock_folder(folder):
        with counting("trials put back") as count:
            record = create(folder, kept, storage, None, count)
        for pack, outcomes, provenance in file.ended.values():
            record.add(pack, outcomes, provenance, kept)
    return record, kept


def _portable(spec: Mapping[str, Any]) -> bool:
    """Whether a spec, as plain data, names nothing but what comes with the package."""
    problem, method = (spec.get(section, {}).get("name") for section in ("problem", "method"))
    return problem in BUILT_IN and method in (None, *method_names())
