"""Opening a study's folder: to read what it holds, or to run in it, which the same study alone may."""

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import yaml

from study.errors import UserError
from study.record import _rows
from study.record._database import DATABASE, DamagedDatabase, chosen, masked, storage_url
from study.record._files import check_writable, listed, packs, write_whole
from study.record._mend import put_back, renew_database, set_aside_damaged
from study.record._record import Record
from study.record._storage import open_storage, reading
from study.record._trials import objective
from study.specification import NAME, Spec, content_hash
from study.specification.axes import Range, parse_axis
from study.specification.saltelli import is_sample_count

SPEC_FILE = "spec.yaml"


def open_study(folder: str | Path, storage: str | None = None) -> Record:
    """Open a study's folder for reading; nothing is written.

    Args:
        folder: where the study was run.
        storage: URL of the Optuna storage that it was run with, if not the database in the folder (or the variable
            DMD_STUDY_STORAGE).

    Raises:
        UserError: there is no study, it is of another format version, or its storage cannot be opened or is damaged.
    """
    record = _found(Path(folder), storage)
    if record is None:
        if chosen(storage) and (name := _name_beside(Path(folder))):
            url = masked(storage_url(Path(folder), storage))
            raise UserError(f"{url} holds no study named {name!r}; was it run with another --storage?")
        raise UserError(f"{folder} holds no study: `dmd-study run SPEC --out {folder}` makes one")
    return record


def open_if_exists(folder: Path, spec: Spec, storage: str | None) -> Record | None:
    """Open the record that a folder holds; None if there is none yet, or if its database must be made anew.

    Nothing is written.

    Args:
        folder: Folder of the study.
        spec: What is to be run.
        storage: URL of the Optuna storage; None for the database in the folder.

    Raises:
        UserError: the folder or storage holds another study (the difference is shown) or another format, the storage
            cannot be opened, is another folder's, or is not the one that this folder was run with.
    """
    _check_place(folder, spec.name, storage)
    try:
        record = _found(folder, storage)
    except DamagedDatabase as error:
        if error.path != (folder / DATABASE).resolve():
            raise
        if not packs(folder):
            raise UserError(
                f"{error.path} is damaged: {error.reason}; there are no packs beside it to make it anew from. Choose "
                f"another --out, or move it away"
            ) from None
        record = None
    if record is None:
        _check_packs(folder, spec)
        return None
    if record.name != spec.name:
        raise UserError(
            f"{folder} holds the study {record.name!r}, not {spec.name!r}; choose another --out, or that name"
        )
    _check_same(record.attributes, spec, folder)
    return record


def create(
    folder: Path,
    spec: Spec,
    storage: str | None,
    code_hash: str | None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Record:
    """Open the record of a spec for writing; make it where there is none, and mend what is damaged.

    A damaged database in the folder is made anew from the packs beside it; damaged packs are renamed, so that their
    replicates count as missing. What was done is said in warnings.

    Args:
        folder: Folder of the study.
        spec: What is to be run.
        storage: URL of the Optuna storage; None for the database in the folder.
        code_hash: Hash of the user's own code; None if there is none.
        progress: Called with the trials restored so far, and of how many.

    Raises:
        UserError: as of `open_if_exists`; or the folder cannot be written to.
    """
    check_writable(folder)
    repairs = []
    if open_if_exists(folder, spec, storage) is None and not chosen(storage) and packs(folder):
        kept = renew_database(folder, lambda url: _make(folder, spec, url, code_hash))
        repairs.append(f"{folder / DATABASE} was damaged: it is made anew from the packs beside it, and kept as {kept}")
    record = _make(folder, spec, storage_url(folder, storage), code_hash)
    text = yaml.safe_dump(spec.to_dict(), sort_keys=False)
    write_whole(folder / SPEC_FILE, lambda path: path.write_text(text, encoding="utf-8"))
    if damaged := record.damaged():
        repairs.append(f"trained again, since they cannot be read: {listed(damaged.values())}")
    if aside := set_aside_damaged(record):
        repairs.append(f"damaged packs are kept as {listed(aside)}")
    put_back(record, spec, progress)
    if repairs:
        warnings.warn("; ".join(repairs), stacklevel=2)
    return record


def _found(folder: Path, storage: str | None) -> Record | None:
    """Open the record in a folder or its storage; None if there is none, or if its making was interrupted."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = storage_url(folder, storage)
    if not chosen(storage) and not os.path.isfile(folder / DATABASE):
        return None
    backend = open_storage(url, make=False)
    if backend is None:
        return None
    with reading(url):
        studies = {study.study_name: study.user_attrs for study in backend.get_all_studies()}
    name = _name_beside(folder) if chosen(storage) else next((n for n in studies if f"{n}/baseline" in studies), None)
    if name is None or name not in studies or f"{name}/baseline" not in studies:
        return None
    if not re.fullmatch(NAME, name):
        raise UserError(f"{folder} holds a study with a name that dmd-study gives to none")
    if "spec" not in studies[name]:
        return None
    _check_format(studies[name], folder)
    if not _is_a_record(studies[name]):
        raise UserError(f"{folder} holds a record that was changed by hand: its spec is none that dmd-study writes")
    return Record(folder, backend, url, name)


def _is_a_record(recorded: Mapping[str, Any]) -> bool:
    """Return True if all that reading relies on has the form in which it is written. Nothing is imported."""
    spec = recorded["spec"]
    if not (isinstance(spec, dict) and isinstance(recorded.get("identity"), dict) and "spec_hash" in recorded):
        return False
    axes, seeds = spec.get("axes"), spec.get("seeds")
    return (
        isinstance(spec.get("method"), dict)
        and isinstance(axes, dict)
        and all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", axis) for axis in axes)
        and all(map(_is_axis, axes.values()))
        and isinstance(seeds, list)
        and all(isinstance(seed, int) for seed in seeds)
        and (spec.get("design") != "saltelli" or _is_sampled(axes, spec.get("samples")))
    )


def _is_sampled(axes: Mapping[str, Any], samples: object) -> bool:
    try:
        options = [parse_axis(values) for values in axes.values()]
    except ValueError:
        return False
    return is_sample_count(samples) and any(isinstance(axis, Range) or len(axis) > 1 for axis in options)


def _is_axis(values: object) -> bool:
    if isinstance(values, dict):
        return values.keys() == {"from", "to", "log"} and all(isinstance(end, int | float) for end in values.values())
    return isinstance(values, list) and bool(values)


def _name_beside(folder: Path) -> str | None:
    """Return the name of the study that ran in a folder with another storage."""
    try:
        return str(yaml.safe_load((folder / SPEC_FILE).read_text(encoding="utf-8"))["name"])
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError):
        return None


def _make(folder: Path, spec: Spec, url: str, code_hash: str | None) -> Record:
    """Make the two Optuna studies if there are none, and store the spec that runs now in them."""
    backend = open_storage(url, make=True)
    assert backend is not None
    with reading(url):
        # the spec goes last and into the main study last: where it is, all else is
        for name in (f"{spec.name}/baseline", spec.name):
            study = optuna.create_study(study_name=name, storage=backend, direction="minimize", load_if_exists=True)
            recorded = study.user_attrs
            if "spec" in recorded:
                _check_same(recorded, spec, folder)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names([objective(spec, is_baseline=name != spec.name)])
                study.set_user_attr("identity", spec.identity())
                study.set_user_attr("spec_hash", spec.hash())
            if name == spec.name and recorded.get("code_hash", code_hash) != code_hash:
                warnings.warn(
                    "the code of the problem or rule has changed since the record was begun: replicates trained before "
                    "and after may not be comparable",
                    stacklevel=3,
                )
            if recorded.get("code_hash") is None and code_hash is not None:
                study.set_user_attr("code_hash", code_hash)
            if recorded.get("format_version") != _rows.FORMAT_VERSION:  # also of an older record that goes on
                study.set_user_attr("format_version", _rows.FORMAT_VERSION)
            if recorded.get("spec") != spec.to_dict():
                study.set_user_attr("spec", spec.to_dict())
    return Record(folder, backend, url, spec.name)


def _check_place(folder: Path, name: str, storage: str | None) -> None:
    """See that a folder and its storage belong together: rows are in one folder only."""
    if not chosen(storage):
        if not os.path.isfile(folder / DATABASE) and packs(folder):
            raise UserError(
                f"{folder} holds rows, but no {DATABASE}: it was run with another storage. Give the same --storage (or "
                f"DMD_STUDY_STORAGE), or choose another --out"
            )
        return
    if os.path.isfile(folder / DATABASE):
        raise UserError(f"{folder} has its record in {DATABASE}: leave out --storage and DMD_STUDY_STORAGE")
    url = storage_url(folder, storage)
    backend = open_storage(url, make=False)
    if backend is None or os.path.isfile(folder / SPEC_FILE):
        return
    with reading(url):
        if name not in optuna.get_all_study_names(backend):
            return
        if optuna.load_study(study_name=name, storage=backend).get_trials(deepcopy=False):
            raise UserError(
                f"{masked(url)} already holds a study {name!r}, whose rows are in another folder; choose that folder "
                f"as --out, or another name"
            )


def _check_format(recorded: Mapping[str, Any], folder: Path) -> None:
    version = recorded.get("format_version")
    if version not in _rows.READABLE_VERSIONS:
        *others, last = _rows.READABLE_VERSIONS
        readable = f"{', '.join(map(str, others))} and {last}"
        raise UserError(
            f"{folder} holds a record of format version {version}; this version of dmd-study reads {readable}. "
            f"Choose another --out, or install the version that wrote it"
        )


def _check_same(recorded: Mapping[str, Any], spec: Spec, folder: Path) -> None:
    _check_format(recorded, folder)
    if content_hash(recorded["identity"]) == spec.hash():
        return
    old, new = _flat(recorded["identity"]), _flat(spec.identity())
    lines = [
        f"  {k}: {old.get(k)!r} recorded, {new.get(k)!r} now" for k in sorted({*old, *new}) if old.get(k) != new.get(k)
    ]
    raise UserError(f"{folder} holds another study; choose another --out. The difference:\n" + "\n".join(lines))


def _check_packs(folder: Path, spec: Spec) -> None:
    """Check that packs without a record belong to this study."""
    for path in packs(folder):
        seen = _rows.inspect_pack(path)
        if not seen.damage and (seen.study, seen.spec_hash) != (spec.name, spec.hash()):
            raise UserError(
                f"{folder} has lost its record, and holds packs of another study or spec ({seen.study!r}): run the "
                f"spec that made them, or choose another --out"
            )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {p: v for k, inner in value.items() for p, v in _flat(inner, f"{prefix}.{k}" if prefix else str(k)).items()}
