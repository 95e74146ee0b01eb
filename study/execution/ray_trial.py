"""The two ends of Ray Tune: a trial that trains one pack in a worker, and the callback that takes in what it gave."""

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
"""How often a pack whose worker was lost is tried again before it is recorded as failed."""


class PackTrainable(tune.Trainable):
    """One trial is one pack. The process is kept for further packs, so nothing of a pack may outlive `step`."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], packs: list[Pack], tasks: Mapping[str, Task], rules: Mapping[str, Any]
    ) -> None:
        """Keep what every pack of the sweep shares; it comes from Ray's object store, once per node."""
        # else the first optimiser of the process does: two seconds of a processor that the first pack would take longer
        import torch._dynamo  # noqa: F401

        self._packs, self._tasks, self._rules = packs, tasks, rules

    def step(self) -> dict[str, Any]:
        """Train the pack that the trial's config names."""
        node = get_runtime_context().get_node_id()
        notes: list[str] = []
        pack = self.config["asked"] if "asked" in self.config else self._packs[self.config["pack"]]
        outcomes = train_pack(pack, self._tasks, self._rules, notes.append)
        return {"outcomes": outcomes, "provenance": provenance() | {"ray_node": node, "notes": notes}, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack in the same process."""
        self.config = new_config
        return True


class Recorder(tune.Callback):
    """In the driver: takes each pack's outcomes out of Tune's hands and into the record, as the pack ends."""

    def __init__(
        self,
        packs: list[Pack],
        finish: Callable[[Pack, list[ReplicateOutcome], Mapping[str, Any]], None],
        progress: SweepProgress,
        deadline: Deadline,
        *,
        at_once: bool,
    ) -> None:
        """Record in the step in which a pack has ended, or (not ``at_once``) after its worker was given another."""
        self._packs, self._finish, self._progress, self._deadline = packs, finish, progress, deadline
        self._at_once = at_once
        self._due = 0
        self._running: dict[str, int] = {}
        self._start_s: dict[str, float] = {}
        self._awaited: set[str] | None = None
        self._ended_packs: list[tuple[Pack, list[ReplicateOutcome], Mapping[str, Any]]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune pickles its callbacks for its own restore, which we do not use: the record is the only memory."""
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has taken a pack."""
        self._start_s[trial.trial_id] = time.monotonic()
        self._running[trial.trial_id] = len(self._pack(trial).replicates)
        self._progress.started(sum(self._running.values()))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack has ended. What it gave is popped, so that Tune does not keep every curve of the sweep in memory."""
        self._deadline.took(time.monotonic() - self._start_s[trial.trial_id])
        self._ended(trial)
        outcomes = trial.last_result.pop("outcomes")
        self._ended_packs.append((self._pack(trial), outcomes, trial.last_result.pop("provenance")))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack has lost its worker and will be given another."""
        self._ended(trial)
        count = len(self._pack(trial).replicates)
        what = "a replicate" if count == 1 else f"a pack of {count} replicates"
        self._progress.warn(f"lost the worker of {what}, which will be trained again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack has lost its worker once too often."""
        self._ended(trial)
        last = str(trial.get_error() or "unknown").strip().splitlines()[-1]
        reason = f"lost its worker {MAX_RETRIES + 1} times: {last}"
        pack = self._pack(trial)
        self._ended_packs.append((pack, [failed(replicate, reason) for replicate in pack.replicates], {}))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Record here: what is raised now ends the sweep, while Tune would take it for a fault of the trial above."""
        # in the next step Tune gives the free worker its next pack, which would else wait until this one is recorded
        self._record(len(self._ended_packs) if self._at_once else self._due)
        self._due = len(self._ended_packs)
        self._stop_in_time()

    def _pack(self, trial: Any) -> Pack:
        index: int = trial.config["pack"]
        return self._packs[index]

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Nothing that has ended is left behind."""
        self.record_rest()

    def record_rest(self) -> None:
        """Record what has ended and is not recorded yet; for a sweep that is stopped, of which Tune says no end."""
        self._record(len(self._ended_packs))

    def _record(self, count: int) -> None:
        for _ in range(count):
            self._finish(*self._ended_packs.pop(0))

    def _stop_in_time(self) -> None:
        """Once no further pack would end in time, wait for those that run; what Tune begins meanwhile is stopped."""
        self._deadline.check()
        if self._awaited is None and not self._deadline.allows_another:
            self._awaited = set(self._running)
        if self._awaited is not None and not self._awaited & self._running.keys():
            raise OutOfTime

    def _ended(self, trial: Any) -> None:
        self._running.pop(trial.trial_id, None)
        self._progress.started(sum(self._running.values()))
