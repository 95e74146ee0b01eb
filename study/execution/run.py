"""Run a study: train the replicates that its record lacks, on Ray or in this process, and record them as they end."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from study.errors import UserError
from study.execution.confirmation import confirm, missing_confirmations
from study.execution.deadline import Deadline, OutOfTime
from study.execution.inline import inline
from study.execution.protocol import Execute
from study.execution.ray_tune import on_ray
from study.execution.recording import recorder
from study.execution.settle_products import settle_products
from study.execution.terminal_progress import SweepProgress, counting
from study.execution.timing import time_choice, time_complete
from study.planning.cells import plain_trainings, replicates
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import Record, create, lock_folder, open_if_exists
from study.replicates.provenance import code_hash
from study.replicates.replicate import Replicate, Task
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
    timing: bool = True,
) -> Record:
    """Train every replicate of a study that its record lacks.

    Args:
        spec: a spec, or a source that `load_spec` accepts: a file, the name of a preset, a mapping.
        out: folder of the study; ``results/NAME`` by default.
        executor: ``ray`` schedules packs with Ray Tune; ``inline`` trains the same packs here, one after another.
        address: a running Ray cluster (``auto`` or HOST:PORT), by default that of the variable RAY_ADDRESS. Without
            either, Ray is started here and stopped again.
        storage: URL of the Optuna storage; by default SQLite in the folder (or the variable DMD_STUDY_STORAGE).
        overrides: ``key=value`` strings or a mapping, applied to the spec before it is validated.
        retry_failed: train replicates again that are recorded as failed.
        time_limit_s: end within this many seconds. No pack is started that would exceed the limit, judged by the
            longest pack so far; a pack that runs when the limit passes is stopped and left for the next run.
        nodes: number of nodes to wait for in the Ray cluster, including the head.
        only: ``cells`` trains the cells without their baselines; ``baselines`` trains the baselines only. What
            confirms the study's choice is trained with ``all`` only.
        timing: measure the time of the recommended cell and of plain training at the end, for a few seconds.

    Returns:
        The record, open for reading. After a time limit, `Record.missing` returns the replicates that are left.

    Raises:
        SpecError: the spec has mistakes.
        UserError: the folder, storage or cluster cannot be used as asked.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec, overrides)
    elif overrides:
        raise UserError("overrides cannot be applied to a Spec that is already loaded; pass them to load_spec().")
    if spec.design == "search":
        raise UserError(f"{spec.name} has design: search, which has no grid. Use `dmd-study search {spec.name}`.")
    deadline, executor_context = where_to_train(spec, executor, address, nodes, time_limit_s)
    folder = Path(out or Path("results") / spec.name)
    plain = [] if only == "cells" else plain_trainings(spec)
    everything = [*plain, *([] if only == "baselines" else replicates(spec))]
    code = code_hash(spec.problem_class, spec.rule_class)
    if record := open_if_exists(folder, spec, storage):
        unchanged = record.spec == spec.to_dict() and record.attributes.get("code_hash") == code
        complete = unchanged and not record.missing(everything, retry_failed=retry_failed)
        if complete and only != "all":
            return record
        if complete:
            data = record.study_data()
            if not missing_confirmations(record, spec, retry_failed=retry_failed, data=data):
                if timing:
                    time_complete(record, spec, data)
                return record
    # entered only now: a complete study starts no executor, and a study that cannot run writes nothing
    with executor_context as execute, lock_folder(folder):
        with counting("trials restored") as count:
            record = create(folder, spec, storage, code, count)
        todo = record.missing(everything, retry_failed=retry_failed)
        with contextlib.suppress(OutOfTime), deadline.enforced():
            if todo:
                spec = settle_products(record, spec, execute)
            tasks = tasks_of(spec, todo)
            if todo:
                with SweepProgress(len(todo)) as progress:
                    execute.train(plan(spec, todo), tasks, recorder(record, spec, progress), progress)
            if only == "all" and deadline.allows_another and not record.missing(everything):
                confirm(record, spec, execute, tasks, retry_failed=retry_failed)
                if timing and deadline.allows_another:
                    time_choice(record, spec)
    return record


def where_to_train(
    spec: Spec, executor: str, address: str | None, nodes: int | None, time_limit_s: float | None
) -> tuple[Deadline, contextlib.AbstractContextManager[Execute]]:
    """Return the deadline of a sweep and its executor, which is not entered yet.

    Args:
        spec: the study.
        executor: ``ray`` or ``inline``.
        address: address of a running Ray cluster.
        nodes: number of nodes to wait for.
        time_limit_s: seconds until the deadline; None for no limit.

    Raises:
        UserError: an option has no valid value, or does not go with the executor.
    """
    if executor not in ("ray", "inline"):
        raise UserError(f"executor must be ray or inline, got {executor!r}")
    if executor == "inline" and (address, nodes) != (None, None):
        raise UserError(
            "address and nodes belong to a Ray cluster; they do not go with the executor inline. Leave them out."
        )
    if time_limit_s is not None and not time_limit_s > 0:
        raise UserError(f"time_limit_s must be above 0, got {time_limit_s:g}")
    deadline = Deadline(time_limit_s)
    return deadline, inline(spec, deadline) if executor == "inline" else on_ray(spec, deadline, address, nodes)


def tasks_of(spec: Spec, todo: Iterable[Replicate]) -> dict[str, Task]:
    """Return the data that these replicates train on, by task. Raise UserError if they cannot be made."""
    with counting("samples") as count:
        try:
            return make_tasks(spec, todo, count)
        except (ArithmeticError, RuntimeError, ValueError) as error:
            name = spec.sections["problem"]["name"]
            raise UserError(f"the data of problem {name} cannot be made: {error}") from error
