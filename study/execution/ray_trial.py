"""Both ends of Ray Tune: the trial that trains a pack in a worker, and the callback that records its outcomes."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ray import get_runtime_context, tune

from study.execution.deadline import Deadline, OutOfTime
from study.execution.terminal_progress import SweepProgress
from study.replicates.outcome import ReplicateOutcome, failed
from study.replicates.provenance import provenance
from study.replicates.replicate import Pack, Task
from study.training.packs import train_pack

MAX_RETRIES = 2
"""Number of times that a pack is trained again after its worker was lost, before it is recorded as failed."""


class PackTrainable(tune.Trainable):
    """Trains one pack per trial. The process is reused for further packs, so no data of a pack may outlive `step`."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], packs: list[Pack], tasks: Mapping[str, Task], rules: Mapping[str, Any]
    ) -> None:
        """Keep the data that all packs of the sweep share; Ray's object store holds them once per node.

        Args:
            config: names the pack of this trial.
            packs: packs that are known beforehand.
            tasks: data by key.
            rules: jump rules by name.
        """
        # imported here, or the first optimiser of the process imports it and makes its pack two seconds slower
        import torch._dynamo  # noqa: F401

        self._packs, self._tasks, self._rules = packs, tasks, rules

    def step(self) -> dict[str, Any]:
        """Train the pack that the trial's config names."""
        node = get_runtime_context().get_node_id()
        notes: list[str] = []
        pack = self.config["requested"] if "requested" in self.config else self._packs[self.config["pack"]]
        outcomes = train_pack(pack, self._tasks, self._rules, notes.append)
        return {"outcomes": outcomes, "provenance": provenance(pack) | {"ray_node": node, "notes": notes}, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack in the same process."""
        self.config = new_config
        return True


class Recorder(tune.Callback):
    """Callback in the driver: takes the outcomes of each pack from Tune and records them as the pack ends.

    Args:
        packs: packs, by the index that a trial's config has as ``pack``.
        finish: records a pack.
        progress: shows how far the sweep is.
        deadline: time limit of the sweep.
        at_once: record a pack in the step in which it ends; else one step later, after its worker got another pack.
    """

    def __init__(
        self,
        packs: list[Pack],
        finish: Callable[[Pack, list[ReplicateOutcome], Mapping[str, Any]], None],
        progress: SweepProgress,
        deadline: Deadline,
        *,
        at_once: bool,
    ) -> None:
        self._packs, self._finish, self._progress, self._deadline = packs, finish, progress, deadline
        self._at_once = at_once
        self._count_due = 0
        self._running: dict[str, int] = {}
        self._start_s: dict[str, float] = {}
        self._awaited: set[str] | None = None
        self._ended_packs: list[tuple[Pack, list[ReplicateOutcome], Mapping[str, Any]]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle no state: Tune pickles for its own restore, which is not used, because the record holds everything."""
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a worker has started a pack.

        Args:
            iteration: number of Tune's step.
            trials: all trials.
            trial: the trial that has started.
            info: not used.
        """
        self._start_s[trial.trial_id] = time.monotonic()
        self._running[trial.trial_id] = len(self._pack(trial).replicates)
        self._progress.started(sum(self._running.values()))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Take the outcomes of a pack that has ended, so that Tune does not keep every curve of the sweep in memory.

        Args:
            iteration: number of Tune's step.
            trials: all trials.
            trial: the trial that has ended.
            info: not used.
        """
        self._deadline.took(time.monotonic() - self._start_s[trial.trial_id])
        self._ended(trial)
        outcomes = trial.last_result.pop("outcomes")
        self._ended_packs.append((self._pack(trial), outcomes, trial.last_result.pop("provenance")))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Warn that a pack has lost its worker and will get another.

        Args:
            iteration: number of Tune's step.
            trials: all trials.
            trial: the trial that lost its worker.
            info: not used.
        """
        self._ended(trial)
        count = len(self._pack(trial).replicates)
        trained = "a replicate" if count == 1 else f"a pack of {count} replicates"
        self._progress.warn(f"lost the worker of {trained}, which will be trained again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Mark a pack as failed that has lost its worker too often.

        Args:
            iteration: number of Tune's step.
            trials: all trials.
            trial: the trial that lost its worker.
            info: not used.
        """
        self._ended(trial)
        last = str(trial.get_error() or "unknown").strip().splitlines()[-1]
        reason = f"lost its worker {MAX_RETRIES + 1} times: {last}"
        pack = self._pack(trial)
        self._ended_packs.append((pack, [failed(replicate, reason) for replicate in pack.replicates], {}))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Record ended packs: an error raised here ends the sweep; above, Tune would take it for a failed trial."""
        # unless at_once, Tune first gives the free worker its next pack, so that it need not wait for the recording
        self._record(len(self._ended_packs) if self._at_once else self._count_due)
        self._count_due = len(self._ended_packs)
        self._stop_in_time()

    def _pack(self, trial: Any) -> Pack:
        index: int = trial.config["pack"]
        return self._packs[index]

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Record the packs that are left."""
        self.record_rest()

    def record_rest(self) -> None:
        """Record the packs that have ended and are not recorded yet; for a sweep that is stopped before its end."""
        self._record(len(self._ended_packs))

    def _record(self, count: int) -> None:
        for _ in range(count):
            self._finish(*self._ended_packs.pop(0))

    def _stop_in_time(self) -> None:
        """Raise `OutOfTime` when no further pack would end in time and the running ones have ended.

        Packs that Tune starts in between are stopped.
        """
        self._deadline.check()
        if self._awaited is None and not self._deadline.allows_another:
            self._awaited = set(self._running)
        if self._awaited is not None and not self._awaited & self._running.keys():
            raise OutOfTime

    def _ended(self, trial: Any) -> None:
        self._running.pop(trial.trial_id, None)
        self._progress.started(sum(self._running.values()))
