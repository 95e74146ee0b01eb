"""Running a study: the replicates that its record lacks, on Ray or in this process, recorded as they end."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from study.errors import UserError
from study.execution.deadline import Deadline, OutOfTime
from study.execution.inline import inline
from study.execution.protocol import Execute
from study.execution.ray_tune import on_ray
from study.execution.terminal_progress import SweepProgress, counting
from study.planning.cells import baselines, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import Record, create, lock_folder, open_if_exists
from study.replicates.outcome import ReplicateOutcome
from study.replicates.provenance import code_hash
from study.replicates.replicate import Pack, Replicate, Task
from study.specification import Spec, load_spec

Only = Literal["all", "cells", "baselines"]


def run(
    spec: Spec | str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    executor: Literal["ray", "inline"] = "ray",
    address: str | None = None,
    storage: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    retry_failed: bool = False,
    time_limit_s: float | None = None,
    nodes: int | None = None,
    only: Only = "all",
) -> Record:
    """Train every replicate of a study that its record lacks.

    Args:
        spec: a spec, or what `load_spec` takes: a file, a preset's name, a mapping.
        out: the study's folder; ``results/NAME`` by default.
        executor: ``ray`` schedules packs with Ray Tune; ``inline`` trains the same packs here, one after another.
        address: a running Ray cluster (``auto`` or HOST:PORT); by default that of the variable RAY_ADDRESS, and where
            there is none, Ray is started here and stopped again.
        storage: URL of the Optuna storage, by default SQLite in the folder (or the variable DMD_STUDY_STORAGE).
        overrides: ``key=value`` strings or a mapping, applied to the spec before it is validated.
        retry_failed: train again what is recorded as failed.
        time_limit_s: end within so many seconds. No pack is begun that would take longer than is left, judged by the
            longest so far; one that runs when the limit comes is stopped and left for the next run.
        nodes: wait until the Ray cluster has so many nodes, the head included.
        only: train the cells and leave out their baselines, or the baselines alone.

    Returns:
        The record, open for reading. After a time limit `Record.missing` says what is left to train.

    Raises:
        SpecError: mistakes in the spec. UserError: the folder, storage or cluster cannot be used as asked.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec, overrides)
    elif overrides:
        raise UserError("overrides must be given to load_spec, got them beside a spec that is loaded already")
    if spec.design == "search":
        raise UserError(f"{spec.name} has design: search, no grid to run through: `dmd-study search` it")
    deadline, place = where_to_train(spec, executor, address, nodes, time_limit_s)
    folder = Path(out or Path("results") / spec.name)
    plain = [] if only == "cells" else baselines(spec)
    everything = [*plain, *([] if only == "baselines" else replicates(spec))]
    code = code_hash(spec.problem_class, spec.rule_class)
    if record := open_if_exists(folder, spec, storage):
        unchanged = record.spec == spec.to_dict() and record.attributes.get("code_hash") == code
        if unchanged and not record.missing(everything, retry_failed=retry_failed):
            return record
    # a study that is complete starts nothing, and one that cannot be run writes nothing
    with place as execute, lock_folder(folder):
        with counting("trials put back") as count:
            record = create(folder, spec, storage, code, count)
        todo = record.missing(everything, retry_failed=retry_failed)
        with contextlib.suppress(OutOfTime), deadline.enforced():
            tasks = tasks_of(spec, todo)
            with SweepProgress(len(todo)) as progress:

                def finish(pack: Pack, outcomes: list[ReplicateOutcome], provenance: Mapping[str, Any]) -> None:
                    record.add(pack, outcomes, provenance, spec)
                    for note in provenance.get("notes", ()):
                        progress.warn(note)
                    progress.ended(outcomes)

                execute(plan(spec, todo), tasks, finish, progress)
    return record


def where_to_train(
    spec: Spec, executor: str, address: str | None, nodes: int | None, time_limit_s: float | None
) -> tuple[Deadline, contextlib.AbstractContextManager[Execute]]:
    """The executor that is asked for, not entered yet, and the time it has. Raises UserError for what does not fit."""
    if executor not in ("ray", "inline"):
        raise UserError(f"executor must be ray or inline, got {executor!r}")
    if executor == "inline" and (address, nodes) != (None, None):
        raise UserError("address and nodes are those of a Ray cluster: they do not go with the executor inline")
    if time_limit_s is not None and not time_limit_s > 0:
        raise UserError(f"time_limit_s must be above 0, got {time_limit_s:g}")
    deadline = Deadline(time_limit_s)
    return deadline, inline(spec, deadline) if executor == "inline" else on_ray(spec, deadline, address, nodes)


def tasks_of(spec: Spec, todo: Iterable[Replicate]) -> dict[str, Task]:
    """The data that these replicates train on. Raises UserError where they cannot be made."""
    with counting("samples") as count:
        try:
            return make_tasks(spec, todo, count)
        except (ArithmeticError, RuntimeError, ValueError) as error:
            name = spec.sections["problem"]["name"]
            raise UserError(f"the data of problem {name} cannot be made: {error}") from error
