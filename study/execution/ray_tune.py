"""Packs scheduled by Ray Tune, on the cores and GPUs of this machine or of a cluster."""

import contextlib
import functools
import logging
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from study.execution.deadline import Deadline
from study.execution.protocol import Execute, Finish
from study.execution.ray_connection import connected
from study.execution.terminal_progress import SweepProgress
from study.replicates.provenance import is_own
from study.replicates.replicate import Pack, Task
from study.specification import Spec


@contextlib.contextmanager
def on_ray(spec: Spec, deadline: Deadline, address: str | None = None, nodes: int | None = None) -> Iterator[Execute]:
    """Let Ray Tune schedule packs; address and nodes as of `study.execution.ray_connection.connected`."""
    # Tune's loggers write a file per trial and its reporter prints; the record and the progress line do that here.
    # Signals belong to whoever called us, and nothing is ever restored from Tune's own checkpoints
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_PRINT_ALL_TRIAL_ERRORS="0",
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        RAY_AIR_NEW_OUTPUT="0",
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    with connected(spec, address, nodes):
        yield functools.partial(_tune, spec, deadline)


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

    with _by_value(spec), tempfile.TemporaryDirectory(prefix="dmd-study-") as scratch:
        # a worker finds a pack by its number in a list that it has; one that is asked for comes with the trial
        known = packs if isinstance(packs, list) else []
        asked = None if isinstance(packs, list) else PackQueueSearcher(iter(packs))
        # what is asked for next depends on what has ended, which must be recorded by then
        recorder = Recorder(asked.packs if asked else known, finish, progress, deadline, at_once=asked is not None)
        trainable = tune.with_parameters(PackTrainable, packs=known, tasks=dict(tasks), rules=spec.rules)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}),
            param_space={} if asked else {"pack": tune.grid_search(list(range(len(known))))},
            tune_config=tune.TuneConfig(
                reuse_actors=True, scheduler=InOrder(), search_alg=asked, num_samples=-1 if asked else 1
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                callbacks=[recorder],
                # else each trial ends with one, and Tune keeps what it gave beside it for as long as the sweep lasts
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
def _by_value(spec: Spec) -> Iterator[None]:
    """Send the modules of the user's own problem and rule to the workers, which then need no copy of them."""
    from ray import cloudpickle

    modules = _own_modules(spec)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _own_modules(spec: Spec) -> list[ModuleType]:
    """Modules of the user's own problem and rule, and those beside them that are imported; of a package, its root."""
    owners = [c for c in (spec.problem_class, spec.rule_class) if c is not None and is_own(c)]
    own = {c.__module__.partition(".")[0] for c in owners} - {"__main__"}
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")}
    places = {place for name in own if (place := _place(sys.modules[name]))} - installed
    return [module for name, module in list(sys.modules.items()) if name in own or _place(module) in places]


def _place(module: ModuleType) -> Path | None:
    """Folder that a module or package lies in."""
    file = getattr(module, "__file__", None)
    if file is None or "." in module.__name__ or module.__name__ == "__main__":
        return None
    return Path(file).parents[1 if hasattr(module, "__path__") else 0]
