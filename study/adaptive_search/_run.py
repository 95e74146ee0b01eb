"""Execution of a search: cells are asked for, a pack at a time, trained on Ray or in this process, and recorded."""

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
from study.execution.confirmation import confirm, missing_confirmations
from study.execution.deadline import OutOfTime
from study.execution.recording import recorder
from study.execution.run import tasks_of, where_to_train
from study.execution.settle_products import settle_products
from study.execution.terminal_progress import SweepProgress, counting
from study.execution.timing import time_choice, time_complete
from study.planning.cells import plain_trainings, replicates
from study.planning.packs import pack_size, plan
from study.record import Record, create, lock_folder, open_if_exists, row_of
from study.replicates.keys import key, replicate_key
from study.replicates.metric_catalogue import METRICS
from study.replicates.outcome import ReplicateOutcome
from study.replicates.provenance import code_hash
from study.replicates.replicate import Pack, Replicate, Value
from study.specification import Spec, load_spec, split_axis

SAMPLERS = (*OPTUNA, "refine")
"""Names of the samplers."""
RUNGS = (1 / 4, 1 / 2)
"""Parts of the training after which a replicate is compared with others and may be pruned."""
ROUNDS = 8
"""Smallest number of times that a sampler which learns is asked in a search, so that it learns between two of them."""
LEARN_NOTHING = ("random", "qmc")
"""Samplers that ask for the same cells whatever they are told."""


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
    timing: bool = True,
) -> Record:
    """Train cells that a sampler asks for, each with every seed, until the record holds ``trials`` cells.

    Cells that are recorded already count, whatever trained them: the sampler starts from a grid that was run before,
    and a search that was killed goes on. No cell is trained twice.

    Args:
        spec: Spec, as in `study.run`; axes may be ranges, ``{from, to, log}``.
        out: Folder of the study; ``results/NAME`` by default.
        trials: Number of cells within the axes that the record holds in the end.
        sampler: ``tpe``, ``gp``, ``qmc`` or ``random`` of Optuna; ``nsga2``, which weighs the metric against the
            overhead; or ``refine``, which asks for cells between known ones, where the metric changes fastest and at
            the optimum.
        metric: Metric to minimise, which must be a ratio.
        sampler_seed: Seed of the sampler.
        prune: True to stop a replicate after a quarter or a half of the epochs if its value so far is above the median
            of the replicates with the same seed and training.
        executor: ``ray`` or ``inline``, as in `study.run`.
        address: Address of a Ray cluster, as in `study.run`.
        storage: Storage of the Optuna study, as in `study.run`.
        overrides: Keys to replace in the spec, as in `study.run`.
        time_limit_s: Time limit in seconds, as in `study.run`.
        nodes: Number of nodes to wait for, as in `study.run`.
        timing: Measure the time of the recommended cell at the end, as in `study.run`.

    Returns:
        The record, open for reading.

    Raises:
        SpecError: The spec has mistakes.
        UserError: The study cannot be searched in this way.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec, overrides)
    if spec.design != "search":
        raise UserError(f"design must be search, got {spec.design}; set it in the spec, or run the study")
    _check(spec, trials, sampler, metric)
    folder = Path(out or Path("results") / spec.name)
    deadline, place = where_to_train(spec, executor, address, nodes, time_limit_s)
    record = open_if_exists(folder, spec, storage)
    complete = record is not None and record.spec == spec.to_dict() and _complete(record, spec, trials)
    if record is not None and complete:
        data = record.study_data()
        if not missing_confirmations(record, spec, data=data):
            if timing:
                time_complete(record, spec, data)
            return record
    with place as execute, lock_folder(folder):
        with counting("trials restored") as count:
            record = create(folder, spec, storage, code_hash(spec.problem_class, spec.rule_class), count)
        with contextlib.suppress(OutOfTime), deadline.enforced():
            spec = settle_products(record, spec, execute)
            state = _Search(spec, record, trials, sampler, metric, sampler_seed, prune)
            tasks = tasks_of(spec, state.one_replicate_per_task())
            with SweepProgress(state.left) as progress:
                finish = recorder(record, spec, progress)

                def _finish(pack: Pack, outcomes: list[ReplicateOutcome], provenance: Mapping[str, Any]) -> None:
                    finish(pack, outcomes, provenance)
                    state.ended(outcomes)

                execute.train(state.packs(), tasks, _finish, progress)
            if deadline.allows_another and not _missing(record, spec):  # also where there are no more cells to ask for
                confirm(record, spec, execute, tasks)
                if timing and deadline.allows_another:
                    time_choice(record, spec)
    return record


def _check(spec: Spec, trials: int, sampler: str, metric: str) -> None:
    if sampler not in SAMPLERS:
        raise UserError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}")
    if metric not in RANKED:
        raise UserError(f"metric must be one of {', '.join(RANKED)}; got {metric!r}")
    if trials < 1:
        raise UserError(f"trials must be at least 1, got {trials}")
    if spec.sections["method"].get("mode") == "probe":
        raise UserError(
            "method.mode must be train, got probe: a probe judges all cells along one training, so that a search saves "
            "nothing; run the study"
        )
    several = [axis for axis in spec.axes if split_axis(axis)[0] != "method" and len(spec.axes[axis]) > 1]
    if several and METRICS[metric].per_jump:
        raise UserError(
            f"{metric} is comparable only within one problem, network and training, but these axes vary: "
            f"{', '.join(several)}; use --metric final_loss_ratio, or give each of them one value"
        )


def _complete(record: Record, spec: Spec, trials: int) -> bool:
    return len(record.grid.cells or ()) >= trials and not _missing(record, spec)


def _missing(record: Record, spec: Spec) -> list[Replicate]:
    """Return what the cells that were asked for still lack."""
    return record.missing(_with_baselines(spec, record.grid.cells or ()), keep_pruned=True)


def _with_baselines(spec: Spec, chosen: Iterable[Mapping[str, Value]]) -> list[Replicate]:
    """Return the baselines and then the replicates of the cells, with every seed, each once."""
    chosen = list(chosen)
    wanted = [replicate for cell in chosen for replicate in plain_trainings(spec, [plain(cell)])]
    wanted += [replicate for cell in chosen for replicate in replicates(spec, [cell])]
    return list({replicate_key(replicate): replicate for replicate in wanted}.values())


def _cells_at_once(spec: Spec, trials: int, sampler: str) -> int:
    """Return the number of cells that a sampler is asked for together: as many as fill a pack of the first cell's size.

    A sampler that learns is asked for an eighth of the search at most.
    """
    (first, *_) = replicates(spec, [{axis: values[0] for axis, values in spec.axes.items()}])
    fill = max(pack_size(spec, first) // len(spec.seeds), 1)
    return fill if sampler in LEARN_NOTHING else min(fill, max(trials // ROUNDS, 1))


class _Search:
    """State of a search: asks a sampler for cells, yields their packs, and tells the sampler the results.

    Args:
        spec: Spec of the study.
        record: Record of the study.
        trials: Number of cells that the record holds in the end.
        sampler: Name of the sampler.
        metric: Metric to minimise.
        seed: Seed of the sampler.
        prune: True to stop replicates that are worse than the median.
    """

    def __init__(
        self, spec: Spec, record: Record, trials: int, sampler: str, metric: str, seed: int, prune: bool
    ) -> None:
        self._spec, self._record, self._trials, self._prune = spec, record, trials, prune
        epochs = min(spec.axes.get("training.epochs") or (spec.sections["training"]["epochs"],))
        self._history = History(metric, spec.seeds, [int(part * int(epochs)) for part in RUNGS])
        self._compared = metric == "final_loss_ratio"
        self._at_once = _cells_at_once(spec, trials, sampler)
        self._asker: Asker | Refiner = Refiner(spec) if sampler == "refine" else Asker(Space(spec), sampler, seed)
        rows = record.details()
        for row in rows:
            self._history.add(row)
        self._cells = {key(cell, 0): cell for cell in cells_of(rows)}
        self._waiting = dict(self._cells)
        self._tell()

    @property
    def left(self) -> int:
        """Largest number of replicates and baselines still to train; fewer if new cells share their baselines."""
        waiting = self._record.missing(_with_baselines(self._spec, self._cells.values()), keep_pruned=True)
        new = max(self._trials - len(self._cells), 0)
        varied = any(len(values) > 1 for axis, values in self._spec.axes.items() if split_axis(axis)[0] != "method")
        times_plain = new if varied else int(new > 0 and not self._cells)
        plain_each = len(plain_trainings(self._spec, [{axis: values[0] for axis, values in self._spec.axes.items()}]))
        return len(waiting) + new * len(self._spec.seeds) + times_plain * plain_each

    def one_replicate_per_task(self) -> list[Replicate]:
        """Return replicates that need every data set which a cell can ask for."""
        single = {axis: values[:1] for axis, values in self._spec.axes.items() if split_axis(axis)[0] != "problem"}
        return replicates(replace(self._spec, axes={**self._spec.axes, **single}, seeds=self._spec.seeds[:1]))

    def packs(self) -> Iterator[Pack]:
        """Yield the packs to train: first those that an earlier search left unfinished, then those of new cells.

        The sampler is asked only when a pack is needed, and then for as many cells as fill it.
        """
        done = {name for name, (_, status) in self._record.done().items() if status != "failed"}
        unfinished = self._record.missing(_with_baselines(self._spec, self._cells.values()), keep_pruned=True)
        yield from self._plan(unfinished)
        handed_out = done | set(map(replicate_key, unfinished))
        while len(self._cells) < self._trials:
            cells = self._ask(min(self._at_once, self._trials - len(self._cells)))
            if not cells:
                return
            new = [each for each in _with_baselines(self._spec, cells) if replicate_key(each) not in handed_out]
            handed_out |= set(map(replicate_key, new))
            yield from self._plan(new)

    def _ask(self, count: int) -> list[dict[str, Value]]:
        """Ask for cells, each of which knows that those before it are being trained; fewer if there are no more."""
        cells = []
        for _ in range(count):
            if (cell := self._asker.ask()) is None:
                break
            self._cells[key(cell, 0)] = self._waiting[key(cell, 0)] = cell
            cells.append(cell)
        return cells

    def _plan(self, wanted: list[Replicate]) -> list[Pack]:
        """Return the packs of replicates; those with jumps get the values at which they are pruned."""
        if self._prune:
            wanted = [
                each
                if each.extrapolation is None
                else replace(each, stops=self._history.stops(each.parameters, each.seed))
                for each in wanted
            ]
        return plan(self._spec, wanted)

    def ended(self, outcomes: Iterable[ReplicateOutcome]) -> None:
        """Take in the outcomes of a pack."""
        for outcome in outcomes:
            self._history.add({**row_of(outcome), "cell": dict(outcome.replicate.parameters)})
        self._tell()

    def _tell(self) -> None:
        for name, cell in list(self._waiting.items()):
            if self._history.ended(cell, compared=self._compared):
                del self._waiting[name]
                self._asker.tell(cell, self._history.values(cell))
