"""A record, open for reading or for writing."""

import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial
from sqlalchemy.engine import make_url

from study.planning.cells import distinct
from study.record import _rows
from study.record._files import listed
from study.record._grid import StudyGrid
from study.record._storage import engine_options, persist, reading
from study.record._tables import add_together
from study.record._trials import Trials, ended
from study.replicates.keys import key, replicate_key
from study.replicates.metric_catalogue import TABLE_COLUMNS
from study.replicates.metrics import proposed_ratios, steps_to_loss
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Pack, Replicate, Value
from study.specification import Spec
from study.specification.axes import parse_axis, within
from study.specification.saltelli import saltelli


class Record:
    """A study's folder and its Optuna storage. Make one with `create` (to run) or `open_study` (to read)."""

    def __init__(self, folder: Path, storage: optuna.storages.RDBStorage, url: str, name: str) -> None:
        self.folder, self.url, self.name = folder, url, name
        with reading(url):
            self.study = optuna.load_study(study_name=name, storage=storage)
            self.baseline = optuna.load_study(study_name=f"{name}/baseline", storage=storage)
            self.attributes: dict[str, Any] = self.study.user_attrs
        self._storage = storage
        self._known: dict[str, tuple[str, str]] | None = None
        self._trials: dict[str, Trials] = {}

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that ran last, as plain data; names in it are never imported."""
        spec: dict[str, Any] = self.attributes["spec"]
        return spec

    @property
    def grid(self) -> StudyGrid:
        """Axes and seeds of the spec that ran last.

        Of samples with the cells that were drawn, of a search with the recorded cells that its space holds.
        """
        written, seeds = self.spec["axes"], tuple(self.spec["seeds"])
        if self.spec.get("design") == "search":
            cells = self._cells_within(written)
            return StudyGrid(_values_of(cells, written), seeds, tuple(cells))
        if self.spec.get("design") == "saltelli":
            options = {
                axis: parse_axis(values) if isinstance(values, dict) else list(map(_rows.hashable, values))
                for axis, values in written.items()
            }
            sampled = saltelli(options, self.spec["samples"])
            return StudyGrid(_values_of(sampled, written), seeds, tuple(distinct(sampled)), tuple(sampled))
        return StudyGrid({axis: tuple(map(_rows.hashable, values)) for axis, values in written.items()}, seeds)

    def _cells_within(self, axes: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = {}
        for name in self.done():
            kind, _, text = name.partition(" ")
            if kind != "cell":
                continue
            recorded = json.loads(text)
            cell = {axis: _rows.hashable(recorded[axis]) for axis in axes}
            if all(within(values, cell[axis]) for axis, values in axes.items()):
                found[key(cell, 0)] = cell
        return list(found.values())

    @property
    def engine_options(self) -> dict[str, Any]:
        """How SQLAlchemy opens its storage."""
        return engine_options(make_url(self.url))

    def done(self) -> dict[str, tuple[str, str]]:
        """Every recorded replicate: its key (`study.replicates.keys.replicate_key`) -> pack that holds its row, status.

        A replicate that was trained again, since it had failed or its pack could not be read, counts as it ended last.
        """
        with reading(self.url):
            return self._done()

    def _done(self) -> dict[str, tuple[str, str]]:
        found = {}
        for kind, study in (("baseline", self.baseline), ("cell", self.study)):
            for name, said in ended(self._storage, study.study_name):
                found[f"{kind} {name}"] = (said["pack"], said["status"])
        return found

    def damaged(self) -> dict[str, str]:
        """Packs of recorded replicates that cannot be read -> which file, and why."""
        return self._damaged(self.done())

    def _damaged(self, done: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        packs = sorted({pack for pack, _ in done.values()})
        return {pack: why for pack in packs if (why := _rows.inspect_pack(self.pack_path(pack)).damage)}

    def missing(
        self, replicates: Iterable[Replicate], *, retry_failed: bool = False, keep_pruned: bool = False
    ) -> list[Replicate]:
        """The replicates to train, in order: not recorded, or in a pack that cannot be read, or (if asked) failed.

        One that a search has pruned has no value yet, and is missing too where that is wanted (not ``keep_pruned``).
        """
        done = self.done()  # once: of a long record it is most of the time
        damaged = self._damaged(done)
        again = {"failed": retry_failed, "pruned": not keep_pruned}
        self._known = {
            name: (pack, status)
            for name, (pack, status) in done.items()
            if pack not in damaged and not again.get(status, False)
        }
        return [replicate for replicate in replicates if replicate_key(replicate) not in self._known]

    def provenance(self) -> list[dict[str, Any]]:
        """Versions and machines that the replicates were trained with, each with its number of ``replicates``.

        Those of most replicates come first; replicates whose worker was lost, and packs that cannot be read, have none.
        """
        found: dict[str, dict[str, Any]] = {}
        for pack, count in Counter(pack for pack, _ in self.done().values()).items():
            said = dict(_rows.inspect_pack(self.pack_path(pack)).provenance)
            if said:
                one = found.setdefault(json.dumps(said, sort_keys=True), said | {"replicates": 0})
                one["replicates"] += count
        return sorted(found.values(), key=lambda one: -one["replicates"])

    def statuses(self) -> pd.Series:
        """Number of cells' replicates by status, those of the current grid only."""
        done = self.done()
        found = [done[name][1] for name in (f"cell {wanted}" for wanted in self.grid.names()) if name in done]
        return pd.Series(found, dtype=str).value_counts()

    def jump_outcomes(self) -> dict[str, int]:
        """Count the jumps of the current grid's cells by outcome, the most frequent first.

        Jumps of an older format count as ``not recorded``; packs that cannot be read are left out.
        """
        packs: dict[str, set[str]] = {}
        for name, (pack, _) in self.done().items():
            packs.setdefault(pack, set()).add(name)
        wanted = {f"cell {name}" for name in self.grid.names()}
        counts: Counter[str] = Counter()
        for pack, names in packs.items():
            if not (names := names & wanted):
                continue
            try:
                outcomes = _rows.count_outcomes(self.pack_path(pack))
            except _rows.Unreadable:
                continue
            for name in names:
                counts += outcomes.get(name, Counter())
        return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))

    def failures(self) -> dict[str, int]:
        """Why replicates of the current grid failed, and how many for each reason."""
        wanted = set(self.grid.names())
        with reading(self.url):
            latest = dict(ended(self._storage, self.name))
        reasons = [a.get("reason", "unknown") for n, a in latest.items() if n in wanted and a["status"] == "failed"]
        return dict(Counter(reasons).most_common())

    def add(self, pack: Pack, outcomes: Iterable[ReplicateOutcome], provenance: Mapping[str, Any], spec: Spec) -> None:
        """Write a pack's rows, then add its trials, but for replicates that are recorded already.

        Raises:
            OSError: the folder or the storage cannot be written to.
        """
        known = self._known if self._known is not None else self.done()
        self._known = known  # the driver alone adds trials, so what it knows stays true
        outcomes = list(outcomes)
        if all(replicate_key(outcome.replicate) in known for outcome in outcomes):
            return
        rows = [_rows.row_of(outcome) for outcome in outcomes]
        metadata = {"format_version": _rows.FORMAT_VERSION, "study": self.name, "spec_hash": spec.hash(), **provenance}
        _rows.write_pack(self.pack_path(pack.id), rows, metadata)
        self.add_trials(
            [
                (row, outcome.replicate.parameters, pack.id)
                for outcome, row in zip(outcomes, rows, strict=True)
                if replicate_key(outcome.replicate) not in known
            ],
            spec,
        )

    def add_trials(self, ended: Sequence[tuple[Mapping[str, Any], Mapping[str, Value], str]], spec: Spec) -> None:
        """Add the trials of replicates whose rows are in place, all of them or none.

        Args:
            ended: of each its row, its cell, and the pack that holds the row.
            spec: that they were trained by.

        Raises:
            OSError: the storage cannot be written to.
        """
        added = {f"{row['kind']} {key(cell, row['seed'])}": (pack_id, row["status"]) for row, cell, pack_id in ended}

        def write() -> None:
            made: dict[str, list[FrozenTrial]] = {}
            for row, cell, pack_id in ended:
                study = (self.baseline if row["kind"] == "baseline" else self.study).study_name
                if study not in self._trials:
                    self._trials[study] = Trials(spec, self._storage, study)
                made.setdefault(study, []).append(self._trials[study].make(row, cell, pack_id))
            add_together(self._storage, made)

        def written() -> bool:
            done = self._done()
            return all(done.get(name) == found for name, found in added.items())

        persist(self.url, write, written)
        if self._known is not None:
            self._known |= added

    def close(self) -> None:
        """Let go of the storage; the record is of no use afterwards."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def pack_path(self, pack_id: str) -> Path:
        """Where a pack's rows are."""
        return _rows.pack_path(self.folder, pack_id)

    def table(self) -> pd.DataFrame:
        """One tidy row per recorded replicate of the current grid, in the grid's order.

        Columns: one per axis, seed, status, reason, epoch, steps, jumps, every metric of
        `study.replicates.metric_catalogue.METRICS` (``_train`` and ``_test`` where it has a split), seconds and FLOPs
        by what they were spent on, pack.
        """
        rows = self._read((*_rows.PLAIN, "curve_train_epoch", "curve_train"))
        grid = self.grid
        out = []
        for name in grid.names():
            if row := rows.get(f"cell {name}"):
                shared = key({axis: row["cell"][axis] for axis in grid.plain_axes}, row["seed"])
                out.append(_against_baseline(row, rows.get(f"baseline {shared}")))
        names = [*grid.axes, *TABLE_COLUMNS]
        return pd.DataFrame([{n: row[n] for n in names} for row in out], columns=names)

    def details(self, done: Callable[[int, int], object] = lambda done, total: None) -> list[dict[str, Any]]:
        """Every recorded replicate of the current grid with its jumps and curves, cells and baselines alike.

        ``done`` is called with the packs that have been read, and of how many.
        """
        rows = self._read(_rows.SCHEMA.names, done)
        wanted = {f"cell {name}" for name in self.grid.names()}
        cells = [row for name, row in rows.items() if name in wanted]
        return [*(row for row in rows.values() if row["kind"] == "baseline"), *cells]

    def _read(
        self, columns: Sequence[str], count: Callable[[int, int], object] = lambda done, total: None
    ) -> dict[str, dict[str, Any]]:
        """Rows by name as plain dicts with their cell and pack; a pack that cannot be read is named in a warning."""
        done = {name: pack for name, (pack, _) in self.done().items()}
        rows, damaged = {}, []
        packs = sorted(set(done.values()))
        for number, pack_id in enumerate(packs, 1):
            try:
                found = _rows.read_pack(self.pack_path(pack_id), columns)
            except _rows.Unreadable as error:
                damaged.append(str(error))
                continue
            for row in found:
                if done.get(name := _rows.name_of(row)) == pack_id:
                    rows[name] = {**row, **row["cell"], "pack": pack_id}
            count(number, len(packs))
        if damaged:
            warnings.warn(f"left out, since they cannot be read: {listed(damaged)}", stacklevel=3)
        return rows


def _values_of(cells: Iterable[Mapping[str, Any]], axes: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """The values that each axis takes in these cells."""
    cells = list(cells)
    return {axis: tuple(dict.fromkeys(cell[axis] for cell in cells)) for axis in axes}


def _against_baseline(row: dict[str, Any], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """Add the metrics that compare a replicate with its baseline: NaN without one that finished."""
    row["seconds"] = row["seconds_training"] + row["seconds_jumps"] + row["seconds_judging"]
    row["final_loss_ratio_train"] = row["final_loss_ratio_test"] = row["steps_to_baseline_loss"] = math.nan
    row["measured_speedup"] = math.nan
    if baseline is None or baseline["status"] != "finished" or math.isnan(row["final_loss_train"]):
        return row
    for split in ("train", "test"):
        before, after = np.array([baseline[f"final_loss_{split}"]]), np.array([row[f"final_loss_{split}"]])
        row[f"final_loss_ratio_{split}"] = float(proposed_ratios(before, after)[0])
    row["steps_to_baseline_loss"] = steps_to_loss(
        row["curve_train_epoch"], row["curve_train"], baseline["final_loss_train"], row["steps"] / max(row["epoch"], 1)
    )
    solved = row["iterations"] is not None and math.isfinite(row["iterations"])
    if solved and baseline["stacked"] == 1:  # side by side with others, neither has a time of its own
        row["measured_speedup"] = baseline["seconds_training"] / row["seconds_training"]
    return row
