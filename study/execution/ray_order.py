"""Scheduler that chooses the pack that a worker trains next."""

from typing import Any

from ray.tune.schedulers import FIFOScheduler


class InOrder(FIFOScheduler):
    """Schedules packs in the order given; skips a pack for which a new worker is being started.

    Tune's own scheduler gives a free worker the first pack that waits, and ends the worker that was being started for
    it. In a large cluster, packs end more often than a worker takes to start. A lost worker would then never be
    replaced, and a node that joins would never be used.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the next trial that needs a worker; None if every waiting trial has a worker that is starting."""
        for trial in tune_controller.get_trials():
            if trial.status == trial.PENDING and not self._worker_starts_for(trial, tune_controller):
                return trial
        return None

    def _worker_starts_for(self, trial: Any, tune_controller: Any) -> bool:
        actor = tune_controller._trial_to_actor.get(trial)
        return actor is not None and bool(tune_controller._actor_manager.is_actor_started(actor))
