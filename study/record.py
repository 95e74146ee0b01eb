"""The record of a study: what has run, once each, and what it gave.

The Optuna study holds one trial per replicate, added when the replicate has ended and by the driver alone; baselines
are their own Optuna study, ``NAME/baseline``. All else about a replicate is a row of ``packs/<pack id>.parquet``, which
is in place before the trials that point to it are added. So whatever is killed when, a replicate is recorded whole or
not at all.
"""

import contextlib
import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url

from study.catalogue import TABLE_COLUMNS, TABLE_METRICS
from study.cells import key, replicate_key
from study.errors import UserError
from study.metrics import outcome_metrics, proposed_ratios, steps_to_loss
from study.pack import Outcome, Pack, Replicate, Value
from study.spec import FORMAT_VERSION, Spec, content_hash, split_axis

DATABASE = "study.db"
SPEC_FILE = "spec.yaml"
_STRINGS = pa.list_(pa.string())
_INTS = pa.list_(pa.int32())
_FLOATS = pa.list_(pa.float64())
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("parameters", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("epoch", pa.int64()),
        ("steps", pa.int64()),
        ("stacked", pa.int64()),
        ("jumps", pa.int64()),
        *((c, pa.float64()) for c in TABLE_METRICS if not c.startswith(("final_loss_ratio", "steps_to"))),
        *((f"seconds_{part}", pa.float64()) for part in ("training", "jumps", "judging")),
        *((f"flops_{part}", pa.float64()) for part in ("training", "jumps", "judging")),
        ("groups", _STRINGS),
        ("jump_epoch", _INTS),
        ("jump_train_before", _FLOATS),
        ("jump_train_after", _FLOATS),
        ("jump_test_before", _FLOATS),
        ("jump_test_after", _FLOATS),
        ("jump_accepted", pa.list_(pa.bool_())),
        ("jump_rank", pa.list_(_INTS)),
        ("jump_spectral_radius", pa.list_(_FLOATS)),
        ("curve_train_epoch", _INTS),
        ("curve_train", _FLOATS),
        ("curve_test_epoch", _INTS),
        ("curve_test", _FLOATS),
    ]
)
CURVES = ("curve_train_epoch", "curve_train", "curve_test_epoch", "curve_test")


@dataclass(frozen=True)
class Grid:
    """The cells that a record is read by: those of the spec that ran last."""

    axes: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]

    @property
    def plain_axes(self) -> list[str]:
        """Axes that are not the method's, and that baselines therefore share."""
        return [axis for axis in self.axes if split_axis(axis)[0] != "method"]


class Record:
    """A study's folder and its Optuna storage. Make one with `create` (to run) or `open_study` (to read)."""

    def __init__(self, folder: Path, storage: optuna.storages.BaseStorage, url: str, name: str) -> None:
        self.folder, self.url, self.name = folder, url, name
        self.study = optuna.load_study(study_name=name, storage=storage)
        self.baseline = optuna.load_study(study_name=f"{name}/baseline", storage=storage)
        self.attributes: dict[str, Any] = self.study.user_attrs
        self._known: dict[str, tuple[str, str]] | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that ran last, as plain data; names in it are never imported."""
        spec: dict[str, Any] = self.attributes["spec"]
        return spec

    @property
    def grid(self) -> Grid:
        """Axes and seeds of the spec that ran last."""
        axes = {axis: tuple(map(_hashable, values)) for axis, values in self.spec["axes"].items()}
        return Grid(axes, tuple(self.spec["seeds"]))

    def done(self) -> dict[str, tuple[str, str]]:
        """Every recorded replicate: its key (see `study.cells.replicate_key`) -> pack that holds its row, status.

        A replicate that was trained again, since it had failed or its pack could not be read, counts as it ended last.
        """
        found = {}
        for kind, study in (("baseline", self.baseline), ("cell", self.study)):
            for trial in _ended(study):
                found[f"{kind} {key(*_named(trial))}"] = (trial.user_attrs["pack"], trial.user_attrs["status"])
        return found

    def missing(self, replicates: Iterable[Replicate], *, retry_failed: bool = False) -> list[Replicate]:
        """The replicates to train, in order: not recorded, or in a pack that cannot be read, or (if asked) failed."""
        done = self.done()
        unreadable = {pack for pack in {pack for pack, _ in done.values()} if not _readable(self.pack_path(pack))}
        if unreadable:
            names = ", ".join(str(self.pack_path(pack)) for pack in sorted(unreadable))
            warnings.warn(f"trained again, since they cannot be read: {names}", stacklevel=2)
        self._known = {
            name: (pack, status)
            for name, (pack, status) in done.items()
            if pack not in unreadable and not (retry_failed and status == "failed")
        }
        return [replicate for replicate in replicates if replicate_key(replicate) not in self._known]

    def statuses(self) -> pd.Series:
        """Number of cells' replicates by status, those of the current grid only."""
        done = self.done()
        found = [done[name][1] for name in (f"cell {wanted}" for wanted in self._wanted()) if name in done]
        return pd.Series(found, dtype=str).value_counts()

    def failures(self) -> dict[str, int]:
        """Why replicates of the current grid failed, and how many for each reason."""
        wanted = {f"cell {name}" for name in self._wanted()}
        latest = {f"cell {key(*_named(trial))}": trial.user_attrs for trial in _ended(self.study)}
        reasons = [a.get("reason", "unknown") for n, a in latest.items() if n in wanted and a["status"] == "failed"]
        return dict(Counter(reasons).most_common())

    def add(self, pack: Pack, outcomes: Iterable[Outcome], provenance: Mapping[str, Any], spec: Spec) -> None:
        """Write a pack's rows, then add its trials, but for replicates that are recorded already.

        Raises:
            OSError: the folder or the storage cannot be written to.
        """
        known = self._known if self._known is not None else self.done()
        outcomes = list(outcomes)
        if all(replicate_key(outcome.replicate) in known for outcome in outcomes):
            return
        rows = [_row(outcome) for outcome in outcomes]
        metadata = {"format_version": FORMAT_VERSION, "study": self.name, "spec_hash": spec.hash(), **provenance}
        table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({"dmd_study": json.dumps(metadata)}))
        path = self.pack_path(pack.id)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(exist_ok=True)
            pq.write_table(table, temporary, compression="zstd")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        for outcome, row in zip(outcomes, rows, strict=True):
            name = replicate_key(outcome.replicate)
            if name in known:
                continue
            study = self.baseline if outcome.replicate.acceleration is None else self.study
            with _storage_errors(self.url):
                study.add_trial(_trial(outcome, row, pack.id, spec, study))
            known[name] = (pack.id, outcome.status)
        # the driver alone adds trials, so what it knows stays true
        self._known = known

    def pack_path(self, pack_id: str) -> Path:
        """Where a pack's rows are."""
        return self.folder / "packs" / f"{pack_id}.parquet"

    def table(self) -> pd.DataFrame:
        """One tidy row per recorded replicate of the current grid, in the grid's order.

        Columns: one per axis, seed, status, reason, epoch, steps, jumps, every metric of `study.catalogue.METRICS`
        (``_train`` and ``_test`` where it has a split), seconds and FLOPs by what they were spent on, pack.
        """
        cells, baselines = self._rows("cell"), self._rows("baseline")
        grid = self.grid
        wanted = self._wanted()
        order = {k: i for i, k in enumerate(wanted)}
        against = {key(row["cell"], row["seed"]): row for row in baselines}
        out = []
        for row in cells:
            name = key(row["cell"], row["seed"])
            if name not in order:
                continue
            plain = {axis: row["cell"][axis] for axis in grid.plain_axes}
            out.append((order[name], _against_baseline(row, against.get(key(plain, row["seed"])))))
        out.sort(key=lambda pair: pair[0])
        names = [*grid.axes, *TABLE_COLUMNS]
        return pd.DataFrame([{n: row[n] for n in names} for _, row in out], columns=names)

    def details(self) -> list[dict[str, Any]]:
        """Every recorded replicate of the current grid with its jumps and curves, cells and baselines alike."""
        wanted = self._wanted()
        cells = [row for row in self._rows("cell", everything=True) if key(row["cell"], row["seed"]) in wanted]
        return [*self._rows("baseline", everything=True), *cells]

    def _wanted(self) -> list[str]:
        grid = self.grid
        product: list[dict[str, Any]] = [{}]
        for axis, values in grid.axes.items():
            product = [{**cell, axis: value} for cell in product for value in values]
        return [key(cell, seed) for cell in product for seed in grid.seeds]

    def _rows(self, kind: str, *, everything: bool = False) -> list[dict[str, Any]]:
        """Rows of one kind, as plain dicts with their cell; a pack that cannot be read is named in a warning."""
        done = {name: pack for name, (pack, _) in self.done().items() if name.startswith(kind)}
        wanted = None if everything else [n for n in SCHEMA.names if not n.startswith(("jump_", "groups"))]
        rows, damaged = [], []
        for pack_id in sorted(set(done.values())):
            path = self.pack_path(pack_id)
            try:
                found = pq.read_table(path, columns=wanted, partitioning=None).to_pylist()
            except (OSError, pa.ArrowException) as error:
                damaged.append(f"{path} ({str(error).splitlines()[0]})")
                continue
            for row in found:
                row["cell"] = {axis: _hashable(value) for axis, value in json.loads(row["parameters"]).items()}
                if row["kind"] == kind and done.get(f"{kind} {key(row['cell'], row['seed'])}") == pack_id:
                    rows.append({**row, **row["cell"], "pack": pack_id})
        if damaged:
            warnings.warn(f"left out, since they cannot be read: {'; '.join(damaged)}", stacklevel=2)
        return rows


def check_same_study(folder: Path, spec: Spec, storage: str | None) -> Record:
    """Open the record of a study that a folder holds, if it is this spec's; nothing is written.

    Raises:
        UserError: it is another study (the difference is shown) or of another format.
    """
    record = open_study(folder, storage)
    if record.name != spec.name:
        raise UserError(
            f"{folder} holds the study {record.name!r}, not {spec.name!r}; choose another --out, or that name"
        )
    _check_same(record.attributes, spec, folder)
    return record


def create(folder: Path, spec: Spec, storage: str | None, code_hash: str | None) -> Record:
    """Open the record of a spec for writing; make it where there is none.

    Raises:
        UserError: the folder or storage holds another study (the difference is shown) or another format, or cannot be
            used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    existing = study_in(folder, storage)
    if existing is not None and existing != spec.name:
        raise UserError(f"{folder} holds the study {existing!r}, not {spec.name!r}; choose another --out, or that name")
    check_place(folder, spec.name, storage)
    check_writable(folder)
    url = _url(folder, storage)
    backend = _backend(url)
    with _storage_errors(url):
        _describe(spec, folder, backend, code_hash)
    (folder / SPEC_FILE).write_text(yaml.safe_dump(spec.to_dict(), sort_keys=False), encoding="utf-8")
    return Record(folder, backend, url, spec.name)


def check_place(folder: Path, name: str, storage: str | None) -> None:
    """See, before anything is written, that a folder and its record belong together: rows are in one folder only.

    Raises:
        UserError: the storage cannot be opened, is another folder's, or is not the one that this folder was run with.
    """
    begun = os.path.isfile(folder / SPEC_FILE)
    if not _given(storage):
        if begun and not os.path.isfile(folder / DATABASE) and any((folder / "packs").glob("*.parquet")):
            raise UserError(
                f"{folder} holds rows, but no {DATABASE}: it was run with another storage. Give the same --storage (or "
                f"DMD_STUDY_STORAGE), or choose another --out"
            )
        return
    if os.path.isfile(folder / DATABASE):
        raise UserError(f"{folder} has its record in {DATABASE}: leave out --storage and DMD_STUDY_STORAGE")
    url = _url(folder, storage)
    elsewhere = _backend(url)
    if begun or name not in optuna.get_all_study_names(elsewhere):
        return
    if optuna.load_study(study_name=name, storage=elsewhere).get_trials(deepcopy=False):
        raise UserError(
            f"{masked(url)} already holds a study {name!r}, whose rows are in another folder; choose that folder as "
            f"--out, or another name"
        )


def check_writable(folder: Path) -> None:
    """Make the folder where there is none, and see that it can be written to. Raises UserError where it cannot."""
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"\0" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error}; choose another --out, or make room") from error


def _describe(spec: Spec, folder: Path, backend: optuna.storages.BaseStorage, code_hash: str | None) -> None:
    """Make the two Optuna studies where there are none, and let them hold the spec that runs now."""
    for name in (spec.name, f"{spec.name}/baseline"):
        study = optuna.create_study(study_name=name, storage=backend, direction="minimize", load_if_exists=True)
        recorded = study.user_attrs
        if "identity" in recorded:
            _check_same(recorded, spec, folder)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(["mean_relative_error_train" if name == spec.name else "final_loss_train"])
            study.set_user_attr("format_version", FORMAT_VERSION)
            study.set_user_attr("identity", spec.identity())
            study.set_user_attr("spec_hash", spec.hash())
        if recorded.get("code_hash", code_hash) != code_hash:
            warnings.warn(
                "the code of the problem or rule has changed since the record was begun: replicates trained before and "
                "after may not be comparable",
                stacklevel=2,
            )
        if recorded.get("code_hash") is None and code_hash is not None:
            study.set_user_attr("code_hash", code_hash)
        if recorded.get("spec") != spec.to_dict():
            study.set_user_attr("spec", spec.to_dict())


def open_study(folder: str | Path, storage: str | None = None) -> Record:
    """Open a study's folder for reading.

    Raises:
        UserError: there is no study, or it is of another format version.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = Path(folder)
    name = study_in(folder, storage)
    if name is None:
        raise UserError(f"{folder} holds no study: `dmd-study run SPEC --out {folder}` makes one")
    url = _url(folder, storage)
    try:
        record = Record(folder, _backend(url), url, name)
    except KeyError:
        raise UserError(f"{masked(url)} holds no study named {name!r}; was it run with another --storage?") from None
    _check_format(record.attributes, folder)
    return record


@contextlib.contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """A storage that cannot be written to (a full disk, a lost connection) is an OSError that says which and why."""
    try:
        yield
    except optuna.exceptions.StorageInternalError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise OSError(f"{masked(url)} cannot be written to: {reason}") from error


def masked(url: str) -> str:
    """A storage URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def _url(folder: Path, storage: str | None) -> str:
    if given := _given(storage):
        return given
    own = URL.create("sqlite", database=str((folder / DATABASE).resolve()))  # which quotes what a path may hold
    return own.render_as_string(hide_password=False)


def _given(storage: str | None) -> str | None:
    return storage or os.environ.get("DMD_STUDY_STORAGE")


def _backend(url: str) -> optuna.storages.BaseStorage:
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"the storage could not be opened: {reason}; it must be a URL such as sqlite:///PATH") from None


def study_in(folder: Path, storage: str | None) -> str | None:
    """Name of the study in a folder: from its database, or beside another storage from the spec that it ran."""
    if not _given(storage):
        if not os.path.isfile(folder / DATABASE):
            return None
        names = optuna.get_all_study_names(_backend(_url(folder, None)))
        mains = [n for n in names if not n.endswith("/baseline")]
        return mains[0] if mains else None
    try:
        return str(yaml.safe_load((folder / SPEC_FILE).read_text())["name"])
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError):
        return None


def _check_format(recorded: Mapping[str, Any], folder: Path) -> None:
    found = recorded.get("format_version")
    if found != FORMAT_VERSION:
        raise UserError(
            f"{folder} holds a record of format version {found}; this version of dmd-study reads {FORMAT_VERSION}. "
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


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {p: v for k, inner in value.items() for p, v in _flat(inner, f"{prefix}.{k}" if prefix else str(k)).items()}


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))


def _named(trial: FrozenTrial) -> tuple[dict[str, Any], int]:
    parameters = dict(trial.params)
    seed = parameters.pop("seed")
    return {**parameters, **json.loads(trial.user_attrs.get("axes", "{}"))}, seed


def _trial(outcome: Outcome, row: Mapping[str, Any], pack_id: str, spec: Spec, study: optuna.Study) -> FrozenTrial:
    replicate = outcome.replicate
    params: dict[str, Any] = {"seed": replicate.seed}
    distributions: dict[str, BaseDistribution] = {"seed": IntDistribution(0, max(spec.seeds))}
    others = {}
    for axis, value in replicate.parameters.items():
        distribution = _distribution(axis, value, spec, study)
        if distribution is None:
            others[axis] = value
        else:
            params[axis], distributions[axis] = value, distribution
    finished = outcome.status == "finished"
    attributes = {
        "status": outcome.status,
        "pack": pack_id,
        "epoch": outcome.epoch,
        "seconds": row["seconds_training"] + row["seconds_jumps"] + row["seconds_judging"],
    }
    if replicate.acceleration is not None:
        for name in ("geometric_mean_relative_error_train", "final_loss_train", "overhead"):
            attributes[name] = row[name]
    if others:
        attributes["axes"] = json.dumps(others)
    elif outcome.reason:
        attributes["reason"] = outcome.reason.strip().splitlines()[-1]
    value = row["mean_relative_error_train"] if replicate.acceleration is not None else row["final_loss_train"]
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE if finished else TrialState.FAIL,
        value=value if finished else None,
        params=params,
        distributions=distributions,
        user_attrs={k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in attributes.items()},
    )


def _distribution(axis: str, value: Value, spec: Spec, study: optuna.Study) -> BaseDistribution | None:
    """How Optuna is told of an axis; None where it cannot be: a list of widths, say, or a zero on a logarithmic scale.

    Optuna wants the same scale for a parameter for ever, so that of its first trial is kept.
    """
    kind, values = spec.kind(axis), spec.axes[axis]
    if isinstance(kind, tuple):
        return CategoricalDistribution(kind)
    if kind is None:
        return None
    numbers = [v for v in values if isinstance(v, int | float)]
    low, high = min(numbers), max(numbers)
    if kind == "int":
        # a storage keeps numbers as floats
        return IntDistribution(int(low), int(high)) if max(abs(low), abs(high)) <= 2**53 else None
    log = low > 0 and high / low >= 100
    for trial in study.get_trials(deepcopy=False):
        if isinstance(before := trial.distributions.get(axis), FloatDistribution):
            log = before.log
            break
    if not log:
        return FloatDistribution(low, high)
    if not (isinstance(value, int | float) and value > 0):
        return None
    return FloatDistribution(min(v for v in numbers if v > 0), high, log=True)


def _row(outcome: Outcome) -> dict[str, Any]:
    replicate, jumps = outcome.replicate, outcome.jumps
    row: dict[str, Any] = {
        "kind": "baseline" if replicate.acceleration is None else "cell",
        "parameters": json.dumps(dict(replicate.parameters)),
        "seed": replicate.seed,
        "jumps": len(jumps.epoch),
        "groups": list(outcome.groups),
        **outcome_metrics(outcome),
    }
    for name in ("status", "reason", "epoch", "steps", "stacked"):
        row[name] = getattr(outcome, name)
    for part in ("training", "jumps", "judging"):
        row[f"seconds_{part}"] = getattr(outcome, f"seconds_{part}")
        row[f"flops_{part}"] = getattr(outcome, f"flops_{part}")
    for name in (
        "epoch",
        "train_before",
        "train_after",
        "test_before",
        "test_after",
        "accepted",
        "rank",
        "spectral_radius",
    ):
        row[f"jump_{name}"] = getattr(jumps, name).tolist()
    for name in CURVES:
        row[name] = getattr(outcome, name).tolist()
    return row


def _against_baseline(row: dict[str, Any], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """Add the metrics that compare a replicate with its baseline: NaN without one that finished."""
    row["seconds"] = row["seconds_training"] + row["seconds_jumps"] + row["seconds_judging"]
    row["final_loss_ratio_train"] = row["final_loss_ratio_test"] = row["steps_to_baseline_loss"] = math.nan
    if baseline is None or baseline["status"] != "finished" or row["status"] == "failed":
        return row
    for split in ("train", "test"):
        before, after = np.array([baseline[f"final_loss_{split}"]]), np.array([row[f"final_loss_{split}"]])
        row[f"final_loss_ratio_{split}"] = float(proposed_ratios(before, after)[0])
    row["steps_to_baseline_loss"] = steps_to_loss(
        np.array(row["curve_train_epoch"], np.int64),
        np.array(row["curve_train"]),
        baseline["final_loss_train"],
        row["steps"] / max(row["epoch"], 1),
    )
    return row


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _readable(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True
