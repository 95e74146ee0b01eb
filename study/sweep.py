"""Running a study: the replicates that its record lacks, on Ray or in this process, recorded as they end."""

import contextlib
import functools
import logging
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import joblib
from filelock import FileLock, Timeout

from study import cells
from study.errors import UserError
from study.pack import Outcome, Pack, Task
from study.progress import SweepProgress, counting
from study.provenance import code_hash, is_own
from study.record import Record, check_place, check_same_study, check_writable, create, study_in
from study.spec import Spec, load_spec

LOCK_FILE = ".lock"
Finish = Callable[[Pack, list[Outcome], Mapping[str, Any]], None]
Execute = Callable[[list[Pack], Mapping[str, Task], Finish, SweepProgress], None]


def run(
    spec: Spec | str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    executor: Literal["ray", "inline"] = "ray",
    address: str | None = None,
    storage: str | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    retry_failed: bool = False,
) -> Record:
    """Train every replicate of a study that its record lacks.

    Args:
        spec: a spec, or what `load_spec` takes: a file, a preset's name, a mapping.
        out: the study's folder; ``results/NAME`` by default.
        executor: ``ray`` schedules packs with Ray Tune; ``inline`` trains the same packs here, one after another.
        address: a running Ray cluster (``auto`` or HOST:PORT); by default Ray is started here and stopped again.
        storage: URL of the Optuna storage, by default SQLite in the folder (or the variable DMD_STUDY_STORAGE).
        overrides: ``key=value`` strings or a mapping, applied to the spec before it is validated.
        retry_failed: train again what is recorded as failed.

    Returns:
        The record, open for reading.

    Raises:
        SpecError: mistakes in the spec. UserError: the folder, storage or cluster cannot be used as asked.
    """
    if executor not in ("ray", "inline"):
        raise UserError(f"executor must be ray or inline, got {executor!r}")
    if address is not None and address.startswith("ray://"):
        raise UserError(
            f"address must not be a Ray Client's, got {address}: there the record would be written on the head node. "
            f"Run dmd-study on the head node with --address auto, or submit it there as a Ray job"
        )
    if not isinstance(spec, Spec):
        spec = load_spec(spec, overrides)
    elif overrides:
        raise UserError("overrides must be given to load_spec, got them beside a spec that is loaded already")
    folder = Path(out or Path("results") / spec.name)
    everything = [*cells.baselines(spec), *cells.replicates(spec)]
    code = code_hash(spec.problem_class, spec.rule_class)
    check_place(folder, spec.name, storage)
    if study_in(folder, storage):
        record = check_same_study(folder, spec, storage)
        unchanged = record.spec == spec.to_dict() and record.attributes.get("code_hash") == code
        if unchanged and not record.missing(everything, retry_failed=retry_failed):
            return record
    # a study that is complete starts nothing, and one that cannot be run writes nothing
    with _inline(spec) if executor == "inline" else _ray(spec, address) as execute, _held(folder):
        record = create(folder, spec, storage, code)
        todo = record.missing(everything, retry_failed=retry_failed)
        with counting("samples") as count:
            try:
                tasks = cells.make_tasks(spec, todo, count)
            except (ArithmeticError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"the data of problem {spec.sections['problem']['name']} cannot be made: {error}"
                ) from error
        packs = cells.plan(spec, todo)
        with SweepProgress(len(todo)) as progress:

            def finish(pack: Pack, outcomes: list[Outcome], provenance: Mapping[str, Any]) -> None:
                record.add(pack, outcomes, provenance, spec)
                progress.ended(outcomes)

            execute(packs, tasks, finish, progress)
    return record


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Only one run at a time writes to a folder; the system lets go of it when that run ends, however it ends."""
    check_writable(folder)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder} is being written to by another run; wait for it, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _inline(spec: Spec) -> Iterator[Execute]:
    """Train packs here, one after another."""
    import torch

    from study.provenance import provenance
    from study.trainer import train_pack

    if spec.resources.gpu and not torch.cuda.is_available():
        raise UserError(
            f"resources.gpu: each pack asks for {spec.resources.gpu:g}, but torch finds no CUDA device here; "
            f"--set resources.gpu=0 trains on the CPU"
        )

    def execute(packs: list[Pack], tasks: Mapping[str, Task], finish: Finish, progress: SweepProgress) -> None:
        for pack in packs:
            progress.started(len(pack.replicates))
            finish(pack, train_pack(pack, tasks, spec.rules), provenance())

    yield execute


@contextlib.contextmanager
def _ray(spec: Spec, address: str | None) -> Iterator[Execute]:
    """Let Ray Tune schedule packs: on Ray that runs already, on a cluster, or on one started here for the sweep."""
    # Tune's loggers write a file per trial and its reporter prints; the record and the progress line do that here.
    # Signals belong to whoever called us, and nothing is ever restored from Tune's own checkpoints
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_DISABLE_SIGINT_HANDLER="1",
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        RAY_AIR_NEW_OUTPUT="0",
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    if address is None and "ray" not in sys.modules:
        # said outright, Ray neither writes a token into the home folder nor talks about it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if not ("RAY_AUTH_TOKEN_PATH" in os.environ or (Path.home() / ".ray" / "auth_token").exists()):
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    if started := not ray.is_initialized():
        here: dict[str, Any] = {"address": address} if address else {}
        if not (address or os.environ.get("RAY_ADDRESS")):
            # said outright, since Ray's own count overlooks what a scheduler allots to this process
            here = {"num_cpus": joblib.cpu_count(), "include_dashboard": False}
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**here, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"Ray at {address or 'this machine'} could not be reached: {error}") from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own prints a stack trace and dies
    try:
        has = ray.cluster_resources()  # type: ignore[no-untyped-call]
        asked = {"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}
        for kind, amount in asked.items():
            if amount > has.get(kind, 0):
                raise UserError(
                    f"resources.{kind.lower()}: each pack asks for {amount:g}, but Ray here has "
                    f"{has.get(kind, 0):g} in all; ask for less: --set resources.{kind.lower()}=N"
                )
        yield functools.partial(_tune, spec)
    finally:
        if started:
            ray.shutdown()


def _tune(spec: Spec, packs: list[Pack], tasks: Mapping[str, Task], finish: Finish, progress: SweepProgress) -> None:
    from ray import tune

    from study.worker import MAX_RETRIES, PackTrainable, Recorder

    with _by_value(spec), tempfile.TemporaryDirectory(prefix="dmd-study-") as scratch:
        trainable = tune.with_parameters(PackTrainable, packs=packs, tasks=dict(tasks), rules=spec.rules)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": spec.resources.cpu, "GPU": spec.resources.gpu}),
            param_space={"pack": tune.grid_search(list(range(len(packs))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                callbacks=[Recorder(packs, finish, progress)],
                failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
            ),
        )
        tuner.fit()


@contextlib.contextmanager
def _by_value(spec: Spec) -> Iterator[None]:
    """Send the modules of the user's own problem and rule to the workers, which then need no copy of them."""
    from ray import cloudpickle

    own = {c.__module__ for c in (spec.problem_class, spec.rule_class) if c is not None and is_own(c)} - {"__main__"}
    for name in own:
        cloudpickle.register_pickle_by_value(sys.modules[name])  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for name in own:
            cloudpickle.unregister_pickle_by_value(sys.modules[name])  # type: ignore[no-untyped-call]
