"""Running a search: cells asked for one by one, trained on Ray or in this process, recorded as they end."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from study.adaptive_search._ask import OPTUNA, Asker
from study.adaptive_search._history import History, cells_of, plain
from study.adaptive_search._refine import Refiner
from study.adaptive_search._space import Space
from study.analysis.statistics.best_cell import RANKED
from study.errors import UserError
from study.execution.deadline import OutOfTime
from study.execution.run import tasks_of, where_to_train
from study.execution.terminal_progress import SweepProgress, counting
from study.planning.cells import baselines, replicates
from study.planning.packs import plan
from study.record import Record, create, lock_folder, open_if_exists, row_of
from study.replicates.keys import key, replicate_key
from study.replicates.metric_catalogue import METRICS
from study.replicates.outcome import ReplicateOutcome
from study.replicates.provenance import code_hash
from study.replicates.replicate import Pack, Replicate, Value
from study.specification import Spec, load_spec, split_axis

SAMPLERS = (*OPTUNA, "refine")
RUNGS = (1 / 4, 1 / 2)
"""Parts of the training after which a replicate is compared with others, and may be pruned."""


def search(
    spec: Spec | str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    trials: int,
    sampler: str = "tpe",
    metric: str = "mean_relative_error",
    sampler_seed: int = 0,
    prune: bool = True,
    executor: Literal["ray", "inline"] = "ray",
    address: str | None = None,
    storage: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    time_limit_s: float | None = None,
    nodes: int | None = None,
) -> Record:
    """Train cells that a sampler asks for, each with every seed, until the record holds so many cells.

    What is recorded already counts, whoever asked for it: a grid that was run before is what the sampler begins with,
    and a search that was killed goes on. No cell is trained twice.

    Args:
        spec: as of `study.run`; axes may be ranges, ``{from, to, log}``.
        out: the study's folder; ``results/NAME`` by default.
        trials: cells that the record is to hold in the end, of those that lie within the axes.
        sampler: ``tpe``, ``gp``, ``qmc`` or ``random`` of Optuna; ``nsga2`` for the metric against the overhead;
            ``refine`` for cells between those that are known: where the metric changes fastest, and at the optimum.
        metric: a ratio to be low.
        sampler_seed: of what the sampler draws.
        prune: stop replicates whose value so far is above the median of those with the same seed and training, after a
            quarter and after half of the epochs.
        executor: as of `study.run`, and so is what follows.
        address: see there.
        storage: see there.
        overrides: see there.
        time_limit_s: see there.
        nodes: see there.

    Returns:
        The record, open for reading.

    Raises:
        SpecError: mistakes in the spec. UserError: it cannot be searched as asked.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec, overrides)
    if spec.design != "search":
        raise UserError(f"design must be search, got {spec.design}")
    _check(spec, trials, sampler, metric)
    folder = Path(out or Path("results") / spec.name)
    deadline, place = where_to_train(spec, executor, address, nodes, time_limit_s)
    record = open_if_exists(folder, spec, storage)
    if record and record.spec == spec.to_dict() and _complete(record, spec, trials):
        return record
    with place as execute, lock_folder(folder):
        with counting("trials put back") as count:
            record = create(folder, spec, storage, code_hash(spec.problem_class, spec.rule_class), count)
        asked = _Search(spec, record, trials, sampler, metric, sampler_seed, prune)
        with contextlib.suppress(OutOfTime), deadline.enforced():
            tasks = tasks_of(spec, asked.first_of_every_task())
            with SweepProgress(asked.left) as progress:

                def finish(pack: Pack, outcomes: list[ReplicateOutcome], provenance: Mapping[str, Any]) -> None:
                    record.add(pack, outcomes, provenance, spec)
                    asked.ended(outcomes)
                    for note in provenance.get("notes", ()):
                        progress.warn(note)
                    progress.ended(outcomes)

                execute(asked.packs(), tasks, finish, progress)
    return record


def _check(spec: Spec, trials: int, sampler: str, metric: str) -> None:
    if sampler not in SAMPLERS:
        raise UserError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}")
    if metric not in RANKED:
        raise UserError(f"metric must be one of {', '.join(RANKED)}; got {metric!r}")
    if trials < 1:
        raise UserError(f"trials must be at least 1, got {trials}")
    if spec.sections["method"].get("mode") == "probe":
        raise UserError("method.mode: probe asks every cell along one training, so there is nothing to save: run it")
    several = [axis for axis in spec.axes if split_axis(axis)[0] != "method" and len(spec.axes[axis]) > 1]
    if several and METRICS[metric].per_jump:
        raise UserError(
            f"{metric} is comparable only within one problem, network and training, but these vary: "
            f"{', '.join(several)}; search by --metric final_loss_ratio, or give each one value"
        )


def _complete(record: Record, spec: Spec, trials: int) -> bool:
    known = record.grid.cells or ()
    return len(known) >= trials and not record.missing(_with_baselines(spec, known), keep_pruned=True)


def _with_baselines(spec: Spec, chosen: Iterable[Mapping[str, Value]]) -> list[Replicate]:
    """Every seed of these cells, baselines first and each once."""
    chosen = list(chosen)
    found = [own for cell in chosen for own in baselines(spec, [plain(cell)])]
    found += [own for cell in chosen for own in replicates(spec, [cell])]
    return list({replicate_key(own): own for own in found}.values())


class _Search:
    """Asks, hands out packs, and tells the sampler what they gave."""

    def __init__(
        self, spec: Spec, record: Record, trials: int, sampler: str, metric: str, seed: int, prune: bool
    ) -> None:
        self._spec, self._record, self._trials, self._prune = spec, record, trials, prune
        epochs = min(spec.axes.get("training.epochs") or (spec.sections["training"]["epochs"],))
        self._history = History(metric, spec.seeds, [int(part * int(epochs)) for part in RUNGS])
        self._compared = metric == "final_loss_ratio"
        self._asker: Asker | Refiner = Refiner(spec) if sampler == "refine" else Asker(Space(spec), sampler, seed)
        rows = record.details()
        for row in rows:
            self._history.add(row)
        self._cells = {key(cell, 0): cell for cell in cells_of(rows)}
        self._waiting = dict(self._cells)
        self._tell()

    @property
    def left(self) -> int:
        """Replicates and baselines to train; at most, since a cell that is asked for may find its baselines there."""
        waiting = self._record.missing(_with_baselines(self._spec, self._cells.values()), keep_pruned=True)
        new, seeds = max(self._trials - len(self._cells), 0), len(self._spec.seeds)
        varied = any(len(values) > 1 for axis, values in self._spec.axes.items() if split_axis(axis)[0] != "method")
        return len(waiting) + new * seeds * (2 if varied else 1) + (0 if varied or self._cells or not new else seeds)

    def first_of_every_task(self) -> list[Replicate]:
        """Replicates, enough to make every data set that a cell can ask for."""
        some = {axis: values[:1] for axis, values in self._spec.axes.items() if split_axis(axis)[0] != "problem"}
        return replicates(replace(self._spec, axes={**self._spec.axes, **some}, seeds=self._spec.seeds[:1]))

    def packs(self) -> Iterator[Pack]:
        """What to train next, asked for when it is wanted; first what an earlier search has left unfinished."""
        done = {name for name, (_, status) in self._record.done().items() if status != "failed"}
        damaged = self._record.missing(_with_baselines(self._spec, self._cells.values()), keep_pruned=True)
        yield from self._plan(damaged)
        handed = done | {replicate_key(own) for own in damaged}
        while len(self._cells) < self._trials:
            cell = self._asker.ask()
            if cell is None:
                return
            self._cells[key(cell, 0)] = self._waiting[key(cell, 0)] = cell
            wanted = [own for own in _with_baselines(self._spec, [cell]) if replicate_key(own) not in handed]
            handed |= {replicate_key(own) for own in wanted}
            yield from self._plan(wanted)

    def _plan(self, wanted: list[Replicate]) -> list[Pack]:
        if self._prune:
            wanted = [
                own if own.extrapolation is None else replace(own, stops=self._history.stops(own.parameters, own.seed))
                for own in wanted
            ]
        return plan(self._spec, wanted)

    def ended(self, outcomes: Iterable[ReplicateOutcome]) -> None:
        """Take in what a pack gave."""
        for outcome in outcomes:
            self._history.add({**row_of(outcome), "cell": dict(outcome.replicate.parameters)})
        self._tell()

    def _tell(self) -> None:
        for name, cell in list(self._waiting.items()):
            if self._history.ended(cell, compared=self._compared):
                del self._waiting[name]
                self._asker.tell(cell, self._history.values(cell))
