"""Train a study elsewhere: write its packs to a file, and import their outcomes into a record."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from problems import BUILT_IN, OwnLoss, OwnNetwork
from study.errors import UserError
from study.execution.terminal_progress import counting
from study.planning.cells import plain_trainings, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import Record, create, lock_folder, open_if_exists
from study.replicates.pack_files import BadFile, OutcomesFile, PacksFile
from study.replicates.products_choice import chosen_of
from study.replicates.replicate import Pack
from study.specification import Spec, load_spec, method_names

OUTCOMES = "outcomes.npz"
"""Name of the trainer's file in a folder of ``make gpu``."""


def export_packs(
    spec: Spec | str | Path | Mapping[str, Any],
    path: str | Path,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    done: str | Path | None = None,
) -> PacksFile:
    """Write the packs and the data of a study to a file that ``python -m study.trainer`` trains.

    Args:
        spec: a spec, or a source that `load_spec` accepts.
        path: file to write.
        overrides: applied to the spec before it is validated.
        done: folder of the study if it was started; only replicates that its record lacks are written.

    Raises:
        SpecError: the spec has mistakes.
        UserError: the study needs code that a file cannot carry, or nothing is left to train, or the file cannot be
            written.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec, overrides)
    if not _portable(spec.to_dict()):
        raise UserError(
            f"{spec.name} uses a problem or rule of your own, whose code a file cannot carry; use `dmd-study run` on a "
            f"machine that has this code"
        )
    waiting = [*plain_trainings(spec), *replicates(spec)]
    if done is not None and (record := open_if_exists(Path(done), spec, None)):
        spec = replace(spec, products=record.products)
        waiting = record.missing(waiting)
        if not waiting:
            raise UserError(f"{done} already holds all replicates of {spec.name}; nothing is left to export")
    if isinstance(spec.problem(waiting[0].parameters), (OwnNetwork, OwnLoss)):
        raise UserError(
            f"the problem {spec.to_dict()['problem']['name']} of {spec.name} brings a network or a loss of its own, "
            f"whose code a file cannot carry; install dmd-study on the other machine and use `dmd-study run` there"
        )
    with counting("samples") as count:
        tasks = make_tasks(spec, waiting, count)
    file = PacksFile({"spec": spec.to_dict(), "hash": spec.hash()}, tuple(plan(spec, waiting)), tasks)
    try:
        file.write(Path(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    return file


def import_outcomes(path: str | Path, out: str | Path | None = None, storage: str | None = None) -> tuple[Record, Spec]:
    """Import the outcomes that ``python -m study.trainer`` wrote into the record of their study; create it if needed.

    Args:
        path: file that the trainer wrote, or the folder of ``make gpu``, which holds it as ``outcomes.npz``.
        out: folder of the study; ``results/NAME`` by default.
        storage: URL of the Optuna storage; by default SQLite in the folder (or the variable DMD_STUDY_STORAGE).

    Returns:
        The record, and the spec that it now has.

    Raises:
        UserError: the file cannot be read, or belongs to another study than the folder, or to another version, or was
            trained with other matrix products than the packs of the folder.
    """
    path = Path(path)
    if path.is_dir():
        path = path / OUTCOMES
    try:
        file = OutcomesFile.read(path)
        exported = dict(file.study["spec"])
    except (BadFile, KeyError, TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    if not _portable(exported):
        raise UserError(
            f"{path} names a problem or rule that does not come with dmd-study; importing results never runs such code"
        )
    spec = load_spec(exported)
    if spec.hash() != file.study["hash"]:
        raise UserError(
            f"{path} was exported by another version of dmd-study: its study has the identity {file.study['hash']}, "
            f"but the same spec has {spec.hash()} here. Import it with the version that exported it."
        )
    folder = Path(out or Path("results") / spec.name)
    existing = open_if_exists(folder, spec, storage)
    _check_products(file, path, existing)
    # an existing record keeps its own grid: the file only adds replicates
    record_spec = spec if existing is None else load_spec(existing.spec)
    with lock_folder(folder):
        with counting("trials restored") as count:
            record = create(folder, record_spec, storage, None, count)
        if file.products is not None and record.products is None:
            record.keep_products(file.products)
        for pack, outcomes, provenance in file.ended.values():
            record.add(pack, outcomes, provenance, record_spec)
    return record, record_spec


def _check_products(file: OutcomesFile, path: str | Path, existing: Record | None) -> None:
    """Raise UserError if the packs of a file and those of a record that chose its products have different ones."""
    kept = None if existing is None else existing.products
    if kept is None or existing is None:
        return
    trained_with = {pack.products for pack, _, _ in file.ended.values() if _leave_a_choice(pack)}
    if file.products is not None:
        trained_with.add(chosen_of(file.products))
    if trained_with - {kept}:
        raise UserError(
            f"{path} was trained with matrix products of {', '.join(trained_with)}, but {existing.folder} has those of "
            f"{kept}, which all its packs must have. Choose another --out; or export what is left with --done "
            f"{existing.folder}, and train that"
        )


def _leave_a_choice(pack: Pack) -> bool:
    """Return True if some training of a pack can have products of torch and of oneDNN."""
    return any(each.recipe.dtype == "float32" and each.recipe.precision == "full" for each in pack.replicates)


def _portable(spec: Mapping[str, Any]) -> bool:
    """Return True if a spec, as plain data, names only a problem and a method that come with the package."""
    problem, method = (spec.get(section, {}).get("name") for section in ("problem", "method"))
    return problem in BUILT_IN and method in (None, *method_names())
