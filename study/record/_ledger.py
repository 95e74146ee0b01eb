"""The ledger of a record: which replicates have ended, and how more of them are added."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.engine import make_url

from study.record import _rows
from study.record._database import engine_options
from study.record._files import pack_path
from study.record._storage import persist, reading
from study.record._tables import add_together
from study.record._trials import Trials, ended
from study.replicates.keys import key, replicate_key
from study.replicates.outcome import ReplicateOutcome
from study.replicates.products_choice import chosen_of
from study.replicates.replicate import Pack, Products, Replicate, Value
from study.specification import Spec


class Ledger:
    """The replicates that have ended, in a study's Optuna storage and in the packs of its folder.

    Args:
        folder: the study's folder.
        storage: the Optuna storage, which is open.
        url: URL of the storage.
        name: name of the study in it.
    """

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
    def engine_options(self) -> dict[str, Any]:
        """Options that SQLAlchemy opens the storage with."""
        return engine_options(make_url(self.url))

    def done(self) -> dict[str, tuple[str, str]]:
        """Return every recorded replicate: its key -> the pack that holds its row, and its status.

        Keys are those of `study.replicates.keys.replicate_key`. A replicate that was trained again, since it had failed
        or its pack could not be read, counts as it ended last.
        """
        with reading(self.url):
            return self._done()

    def _done(self) -> dict[str, tuple[str, str]]:
        return {
            f"{kind} {name}": (attributes["pack"], attributes["status"])
            for kind, study in (("baseline", self.baseline), ("cell", self.study))
            for name, attributes in ended(self._storage, study.study_name)
        }

    def damaged(self) -> dict[str, str]:
        """Return the packs of recorded replicates that cannot be read -> which file, and why."""
        return self._damaged(self.done())

    def _damaged(self, done: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        packs = sorted({pack for pack, _ in done.values()})
        return {pack: why for pack in packs if (why := _rows.inspect_pack(self.pack_path(pack)).damage)}

    def missing(
        self, replicates: Iterable[Replicate], *, retry_failed: bool = False, keep_pruned: bool = False
    ) -> list[Replicate]:
        """Return the replicates to train, in order: not recorded, or in a pack that cannot be read.

        Args:
            replicates: replicates that the study asks for.
            retry_failed: count those that failed as missing.
            keep_pruned: count those that a search has pruned as done, although they have no value yet.
        """
        done = self.done()  # read once: a long record spends most of its time here
        damaged = self._damaged(done)
        again = {"failed": retry_failed, "pruned": not keep_pruned}
        self._known = {
            name: (pack, status)
            for name, (pack, status) in done.items()
            if pack not in damaged and not again.get(status, False)
        }
        return [replicate for replicate in replicates if replicate_key(replicate) not in self._known]

    def pack_path(self, pack_id: str) -> Path:
        """Return the path of a pack's rows."""
        return pack_path(self.folder, pack_id)

    def add(self, pack: Pack, outcomes: Iterable[ReplicateOutcome], provenance: Mapping[str, Any], spec: Spec) -> None:
        """Write a pack's rows, then add its trials, but for replicates that are recorded already.

        Args:
            pack: the pack that was trained.
            outcomes: outcome of each of its replicates.
            provenance: versions and machine of the process that trained it.
            spec: spec that it was trained by.

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
            ended: row and cell of each replicate, and the pack that holds the row.
            spec: spec that they were trained by.

        Raises:
            OSError: the storage cannot be written to.
        """
        added = {f"{row['kind']} {key(cell, row['seed'])}": (pack_id, row["status"]) for row, cell, pack_id in ended}

        def write() -> None:
            trials: dict[str, list[FrozenTrial]] = {}
            for row, cell, pack_id in ended:
                study = (self.baseline if row["kind"] == "baseline" else self.study).study_name
                if study not in self._trials:
                    self._trials[study] = Trials(spec, self._storage, study)
                trials.setdefault(study, []).append(self._trials[study].make(row, cell, pack_id))
            add_together(self._storage, trials)

        def written() -> bool:
            done = self._done()
            return all(done.get(name) == where for name, where in added.items())

        persist(self.url, write, written)
        if self._known is not None:
            self._known |= added

    def keep_timing(self, timing: Mapping[str, Any]) -> None:
        """Keep the measured time of a cell and of a plain training. Raises OSError if it cannot be written."""
        self._keep("timing", timing)

    def keep_products(self, choice: Mapping[str, Any]) -> None:
        """Keep what makes the matrix products of the study, as ``chosen``, and why. Raises OSError as `keep_timing`."""
        self._keep("products", choice)

    def _keep(self, name: str, value: Mapping[str, Any]) -> None:
        persist(self.url, lambda: self.study.set_user_attr(name, dict(value)), lambda: False)
        self.attributes = self.study.user_attrs

    @property
    def products(self) -> Products | None:
        """Library that ``training.products: auto`` stands for in this study; None if that is still open.

        If the choice itself is lost, or the study is older than it, the packs tell.
        """
        if (kept := self.attributes.get("products")) is not None:
            return chosen_of(kept)
        packs = {pack for pack, _ in self.done().values()}
        if not packs:
            return None
        trained_with = {_rows.inspect_pack(self.pack_path(pack)).provenance.get("products") for pack in packs}
        return "onednn" if "onednn" in trained_with else "torch"

    def close(self) -> None:
        """Let go of the storage; the record is of no use afterwards."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
