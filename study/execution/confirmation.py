"""Confirm a study's choice: train the recommended cell and the best plain training on fresh seeds."""

from collections.abc import Mapping

from study.analysis.statistics.study_data import StudyData
from study.execution.protocol import Execute
from study.execution.recording import recorder
from study.execution.settle_products import settle_products
from study.execution.terminal_progress import SweepProgress
from study.planning.cells import confirmations
from study.planning.packs import plan
from study.planning.tasks import make_tasks
from study.record import Record
from study.replicates.replicate import Replicate, Task
from study.specification import Spec


def missing_confirmations(
    record: Record, spec: Spec, *, retry_failed: bool = False, data: StudyData | None = None
) -> list[Replicate]:
    """Return the replicates on fresh seeds that the record lacks; none if the spec asks for none, or has no choice.

    Args:
        record: The study, with all of its replicates.
        spec: Its spec.
        retry_failed: Count those that failed as missing.
        data: The record's, if they have been read already.
    """
    if not spec.confirm or spec.sections["method"].get("mode") == "probe":
        return []
    data = data or record.study_data()
    if data.table.empty or (cell := data.recommendation.cell) is None:
        return []
    wanted = confirmations(spec, cell, data.recommendation.recorded_plain)
    return record.missing(wanted, retry_failed=retry_failed)


def confirm(
    record: Record, spec: Spec, execute: Execute, tasks: Mapping[str, Task], *, retry_failed: bool = False
) -> None:
    """Train what confirms the study's choice, and record it.

    Args:
        record: The study, with all of its replicates.
        spec: Its spec.
        execute: Trains packs.
        tasks: Data that the sweep has made; what they lack is made.
        retry_failed: Train those again that failed.
    """
    if todo := missing_confirmations(record, spec, retry_failed=retry_failed):
        spec = settle_products(record, spec, execute)
        with SweepProgress(len(todo)) as progress:
            lacking = make_tasks(spec, [replicate for replicate in todo if replicate.task not in tasks])
            execute.train(plan(spec, todo), {**tasks, **lacking}, recorder(record, spec, progress), progress)
