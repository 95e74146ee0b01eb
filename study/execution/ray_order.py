"""Which pack a worker takes next."""

from typing import Any

from ray.tune.schedulers import FIFOScheduler


class InOrder(FIFOScheduler):
    """In the order given, but for packs that a worker is just being started for: a free worker leaves those alone.

    Tune's own order gives a free worker the first pack that waits, and ends the worker that was being started for it.
    As long as packs end more often than a worker takes to start, which in a large cluster they do, a worker that was
    lost would then never be replaced, nor would a node that joins be used.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The trial that a worker is found, or started, for; None where all wait for the workers that are starting."""
        for trial in tune_controller.get_trials():
            if trial.status == trial.PENDING and not self._worker_starts_for(trial, tune_controller):
                return trial
        return None

    def _worker_starts_for(self, trial: Any, tune_controller: Any) -> bool:
        actor = tune_controller._trial_to_actor.get(trial)
        return actor is not None and bool(tune_controller._actor_manager.is_actor_started(actor))
