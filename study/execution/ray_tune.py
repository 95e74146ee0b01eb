"""Train packs with Ray Tune, on the cores and GPUs of this machine or of a cluster."""

import contextlib
import functools
import logging
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from study.execution.deadline import Deadline
from study.execution.protocol import Execute, Finish, call_here
from study.execution.ray_connection import connected
from study.execution.terminal_progress import SweepProgress
from study.replicates.provenance import is_user_code
from study.replicates.replicate import Pack, Task
from study.specification import Spec


@contextlib.contextmanager
def on_ray(spec: Spec, deadline: Deadline, address: str | None = None, nodes: int | None = None) -> Iterator[Execute]:
    """Yield the workers of Ray, on which Ray Tune schedules packs.

    Args:
        spec: the study.
        deadline: time limit of the sweep.
        address: as in `study.execution.ray_connection.connected`.
        nodes: as in `study.execution.ray_connection.connected`.
    """
    # Tune's loggers write a file per trial and its reporter prints; the record and the progress line replace them.
    # The caller handles signals, and nothing is ever restored from Tune's checkpoints.
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_PRINT_ALL_TRIAL_ERRORS="0",
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        RAY_AIR_NEW_OUTPUT="0",
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    with connected(spec, address, nodes) as is_this_machine:
        from ray import tune  # noqa: F401 (before the data are made: the first pack then starts sooner after them)

        # on one machine, a task would only add the start of another process
        call = call_here if is_this_machine else functools.partial(_call_in_worker, spec)
        yield Execute(functools.partial(_tune, spec, deadline), call)


def _call_in_worker(spec: Spec, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a worker that has the CPUs of a pack."""
    import ray

    cpus = min(spec.resources.cpu, spec.resources.threads)  # of a task, Ray takes a fraction below 1 only
    return ray.get(ray.remote(num_cpus=cpus)(function).remote(*arguments))


def _tune(
    spec: Spec,
    deadline: Deadline,
    packs: Iterable[Pack],
    tasks: Mapping[str, Task],
    finish: Finish,
    progress: SweepProgress,
) -> None:
    from ray import tune

    from study.execution.ray_order import InOrder
    from study.execution.ray_searcher import PackQueueSearcher
    from study.execution.ray_trial import MAX_RETRIES, PackTrainable, Recorder

    with _sent_by_value(spec), tempfile.TemporaryDirectory(prefix="dmd-study-") as scratch:
        # workers hold the list of known packs and get an index; a pack requested on the way comes with its trial
        known = packs if isinstance(packs, list) else []
        searcher = None if isinstance(packs, list) else PackQueueSearcher(iter(packs))
        # the next request depends on the packs that have ended, so these must be recorded by then
        recorder = Recorder(
            searcher.packs if searcher else known, finish, progress, deadline, at_once=searcher is not None
        )
        trainable = tune.with_parameters(PackTrainable, packs=known, tasks=dict(tasks), rules=spec.rules)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}),
            param_space={} if searcher else {"pack": tune.grid_search(list(range(len(known))))},
            tune_config=tune.TuneConfig(
                reuse_actors=True, scheduler=InOrder(), search_alg=searcher, num_samples=-1 if searcher else 1
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                callbacks=[recorder],
                # a checkpoint at the end would make Tune keep the result of each trial for the whole sweep
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            recorder.record_rest()
            raise


@contextlib.contextmanager
def _sent_by_value(spec: Spec) -> Iterator[None]:
    """Send the modules of the user's own problem and rule to the workers, which then need no copy of them."""
    from ray import cloudpickle

    modules = _user_modules(spec)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _user_modules(spec: Spec) -> list[ModuleType]:
    """Return the modules of the user's own problem and rule (for a package, its root) and imported ones beside them."""
    owners = [c for c in (spec.problem_class, spec.rule_class) if c is not None and is_user_code(c)]
    names = {c.__module__.partition(".")[0] for c in owners} - {"__main__"}
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")}
    folders = {folder for name in names if (folder := _folder(sys.modules[name]))} - installed
    return [module for name, module in list(sys.modules.items()) if name in names or _folder(module) in folders]


def _folder(module: ModuleType) -> Path | None:
    """Return the folder that holds a top-level module or package; None for any other module."""
    file = getattr(module, "__file__", None)
    if file is None or "." in module.__name__ or module.__name__ == "__main__":
        return None
    return Path(file).parents[1 if hasattr(module, "__path__") else 0]
