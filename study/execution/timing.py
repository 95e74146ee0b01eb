"""Time of the recommended cell against that of the best plain training, measured side by side on this machine.

Replicates in a pack share their time, so a sweep does not tell what a user pays. Here each trains alone, a few epochs
at a time, one after the other in pairs, because other programs slow both alike. The parts of these epochs are scaled to
the whole training: its steps, its snapshots and its jumps. Evaluations count only where the method's own policy needs
them.
"""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from study.analysis.statistics.equal_cost import evaluations_per_jump
from study.analysis.statistics.study_data import StudyData
from study.errors import UserError
from study.execution.terminal_progress import counting
from study.planning.cells import plain_training, replicates
from study.planning.tasks import make_tasks
from study.record import Record, lock_folder
from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import Jumps, Pack, Replicate, Task
from study.specification import Spec

MIN_PAIRS, MAX_PAIRS = 5, 25
PATIENCE_S = 5.0
"""Seconds after which no further pair begins, if there are enough."""
_WINDOWS = 2
"""Windows that each timed training fills, each followed by a jump."""
_MIN_EPOCHS = 20
_LONG_ENOUGH_S = 0.2
"""Seconds that a timed training takes at least, if the whole one does: in milliseconds, other programs would rule."""


def time_choice(record: Record, spec: Spec) -> None:
    """Measure the recommended cell and the best plain training, and keep the result in the record.

    Nothing is measured if that was done before, or if there is no choice; nor on a machine without the GPU that the
    study asks for, nor for a method that is no jump rule.
    """
    if spec.jumps and (measured := _measure_choice(record, record.study_data(), spec)):
        record.keep_timing(measured)


def time_complete(record: Record, spec: Spec, data: StudyData) -> None:
    """Measure as `time_choice` does in a study that lacks nothing else, in a folder that no run holds yet.

    A folder that another run holds, or that cannot be written to, is left as it is.

    Args:
        record: The study.
        spec: Its spec.
        data: The record's.
    """
    if measured := _measure_choice(record, data, spec):
        with contextlib.suppress(UserError), lock_folder(record.folder):
            record.keep_timing(measured)


def lacks_time(data: StudyData, spec: Spec) -> bool:
    """Return True if the study has a choice whose time can be measured and is not known."""
    if not spec.jumps or data.recommended_cell is None:
        return False
    return data.recommendation.time is None


def _measure_choice(record: Record, data: StudyData, spec: Spec) -> dict[str, Any] | None:
    if not lacks_time(data, spec) or (cell := data.recommended_cell) is None:
        return None
    settled = replace(spec, products=record.products)
    return measure(settled, cell, data.recommendation.recorded_plain)


def measure(spec: Spec, cell: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the time ratio of a cell and a plain training, as `recommend` takes it; None if it cannot be measured.

    Args:
        spec: The study.
        cell: Axis -> value.
        plain: Parameters of the plain training, as it is recorded.
    """
    import torch

    if spec.resources.gpu and not torch.cuda.is_available():
        return None
    first_seed = replace(spec, seeds=spec.seeds[:1])
    with_jumps, without = replicates(first_seed, [cell])[0], plain_training(first_seed, cell, plain)[0]
    try:
        tasks = make_tasks(spec, [with_jumps, without])
    except (ArithmeticError, RuntimeError, ValueError):
        return None  # the study is complete without its data, which only the times need
    short = _long_enough(spec, _shortened(with_jumps, len(tasks[with_jumps.task].train_inputs)), tasks, with_jumps)
    evaluations = evaluations_per_jump(spec.section("method", cell))
    counts = _Counts.of(with_jumps, tasks[with_jumps.task])
    ratios: list[float] = []
    start_s = time.monotonic()
    with counting("pairs timed") as count:
        while len(ratios) < MIN_PAIRS or (time.monotonic() - start_s < PATIENCE_S and len(ratios) < MAX_PAIRS):
            pair = [replace(without, recipe=replace(without.recipe, epochs=short.recipe.epochs)), short]
            if len(ratios) % 2:
                pair.reverse()
            outcomes = {outcome.replicate.is_baseline: outcome for outcome in (_train(spec, r, tasks) for r in pair)}
            if any(outcome.status != "finished" for outcome in outcomes.values()):
                return None
            ratios.append(_seconds(outcomes[False], counts, evaluations) / _seconds(outcomes[True], counts, 0))
            if len(ratios) <= MIN_PAIRS:
                count(len(ratios), MIN_PAIRS)
    threads = spec.resources.threads
    device = torch.cuda.get_device_name() if spec.resources.gpu else f"{threads} CPU thread{'s' * (threads > 1)}"
    return {
        "cell": dict(cell),
        "plain": dict(plain),
        "ratio": float(np.median(ratios)),
        **dict(zip(("low", "high"), median_interval(ratios), strict=True)),
        "pairs": len(ratios),
        "device": device,
    }


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return a 95 % interval of the median by order statistics: of fewer than six values, both extremes."""
    from scipy.stats import binom

    ordered, n = sorted(values), len(values)
    skipped = max(int(binom.ppf(0.025, n, 0.5)) - 1, 0)
    return ordered[skipped], ordered[n - 1 - skipped]


class _Counts:
    """Steps, snapshots and jumps of the whole training, per epoch of it."""

    def __init__(self, snapshots: float, jumps: float) -> None:
        self.snapshots, self.jumps = snapshots, jumps

    @classmethod
    def of(cls, replicate: Replicate, task: Task) -> "_Counts":
        method, epochs, samples = replicate.extrapolation, replicate.recipe.epochs, len(task.train_inputs)
        assert method is not None
        snapshots = replicate.snapshot_count(samples)
        recorded = min(snapshots, method.stop or snapshots) - method.start
        return cls(max(recorded, 0) / epochs, replicate.jump_count(samples) / epochs)


def _shortened(replicate: Replicate, samples: int) -> Replicate:
    """Return the replicate with as many epochs as it takes to fill two windows, and at least twenty."""
    method = replicate.method
    assert isinstance(method, Jumps)
    per_epoch = replicate.snapshot_count(samples) / replicate.recipe.epochs
    epochs = max(math.ceil(_WINDOWS * method.m / per_epoch), _MIN_EPOCHS)
    options = {name: value for name, value in method.options.items() if name not in ("start", "stop")}
    shorter = replace(replicate.recipe, epochs=epochs)
    return replace(replicate, recipe=shorter, method=replace(method, options=options))


def _long_enough(spec: Spec, short: Replicate, tasks: Mapping[str, Task], entire: Replicate) -> Replicate:
    """Return the replicate with more epochs if it would end too soon to be timed; this also warms all caches."""
    warm, epochs = _train(spec, short, tasks), short.recipe.epochs
    if warm.status != "finished" or not warm.seconds.total:
        return short
    needed = min(int(_LONG_ENOUGH_S * epochs / warm.seconds.total), entire.recipe.epochs)
    return replace(short, recipe=replace(short.recipe, epochs=max(epochs, needed)))


def _train(spec: Spec, replicate: Replicate, tasks: Mapping[str, Task]) -> ReplicateOutcome:
    from study.training.packs import train_pack

    device = "cuda" if spec.resources.gpu else "cpu"
    settled = replicate.settled(spec.products or "torch")
    return train_pack(Pack("timing", (settled,), spec.resources.threads, device), tasks, spec.rules)[0]


def _seconds(outcome: ReplicateOutcome, counts: _Counts, evaluations: int) -> float:
    """Return the seconds of an epoch of the whole training, in the proportions of its parts."""
    epochs, seconds, jumps = outcome.epoch, outcome.seconds, len(outcome.jumps.epoch)
    total = seconds.training / epochs
    if not jumps:
        return total
    judged = int(outcome.jumps.evaluated.sum()) * evaluations * outcome.flops.training / epochs / 3
    per_jump = (seconds.jumps + seconds.judging * judged / outcome.flops.judging) / jumps
    per_snapshot = seconds.recording / outcome.replicate.snapshot_count(_samples(outcome))
    return total + counts.snapshots * per_snapshot + counts.jumps * per_jump


def _samples(outcome: ReplicateOutcome) -> int:
    """Return the number of training samples that the steps of an epoch show."""
    batch = outcome.replicate.recipe.batch or 1
    return batch * -(-outcome.steps // outcome.epoch)
