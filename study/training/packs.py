"""Training of a pack: pack and data in, outcomes out. Needs torch, numpy and `accel` only."""

import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from accel import Rule
from study.replicates.outcome import ReplicateOutcome, failed
from study.replicates.replicate import Alternative, Pack, Replicate, Task
from study.training.alternatives import TRAINERS
from study.training.memory import TooLarge, fitting
from study.training.networks import why_not_stacked
from study.training.stack import train_probed, train_stack
from study.training.threads import using_threads


def train_pack(
    pack: Pack,
    tasks: Mapping[str, Task],
    rules: Mapping[str, Callable[..., Rule]],
    warn: Callable[[str], None] = warnings.warn,
) -> list[ReplicateOutcome]:
    """Train every replicate of a pack, side by side if they have one architecture and one recipe.

    As many are trained side by side as the device's memory holds; if it still runs out, half as many. If a replicate
    raises an exception, its stack is trained again one by one, so that only that replicate fails.

    Args:
        pack: Replicates to train, number of threads and device.
        tasks: Data by the key that replicates name.
        rules: The user's own rules by name; rules of the package need no entry.
        warn: Called with the reason if replicates are not trained side by side.

    Returns:
        One outcome per replicate, in order. One that raises becomes ``failed`` with the traceback as its reason.
    """
    outcomes: dict[int, ReplicateOutcome] = {}
    device = torch.device(pack.device)
    with using_threads(pack.threads):
        if device.type == "cuda" and 0 < pack.gpu < 1:
            torch.cuda.set_per_process_memory_fraction(pack.gpu)
        for probed, places in _stacks(pack.replicates):
            replicates = [pack.replicates[place] for place in places]
            if isinstance(replicates[0].method, Alternative):
                trained = [_train_alternative(replicate, tasks, device) for replicate in replicates]
            elif probed:
                started_at = time.time()
                trained = _timed(_probe(replicates, tasks, rules, device, warn), started_at)
            else:
                trained = _train_fitting(replicates, tasks, rules, device, pack.gpu or 1.0, warn)
            outcomes |= dict(zip(places, trained, strict=True))
    return [outcomes[place] for place in range(len(pack.replicates))]


def train(
    replicate: Replicate, task: Task, rules: Mapping[str, Callable[..., Rule]], device: torch.device
) -> ReplicateOutcome:
    """Train one replicate from its initial weights to its last epoch, or until it diverges.

    Args:
        replicate: What to train.
        task: Its data.
        rules: The user's own rules by name.
        device: Where to train.
    """
    return train_stack([replicate], task, rules, device)[0]


def _stacks(replicates: Sequence[Replicate]) -> list[tuple[bool, list[int]]]:
    """Return, for replicates that are trained together, their places, and True if they are probes of one training."""
    stacks: dict[tuple[object, ...], list[int]] = {}
    for place, replicate in enumerate(replicates):
        key = replicate.probed_with or (isinstance(replicate.method, Alternative), *replicate.architecture)
        stacks.setdefault(key, []).append(place)
    return [(replicates[places[0]].probed_with is not None, places) for places in stacks.values()]


def _train_alternative(replicate: Replicate, tasks: Mapping[str, Task], device: torch.device) -> ReplicateOutcome:
    method = replicate.method
    assert isinstance(method, Alternative)
    started_at = time.time()
    try:
        outcome = TRAINERS[method.name](replicate, method, tasks[replicate.task], device)
    except Exception:
        outcome = failed(replicate, traceback.format_exc(limit=-8))
    return _timed([outcome], started_at)[0]


def _probe(
    replicates: Sequence[Replicate],
    tasks: Mapping[str, Task],
    rules: Mapping[str, Callable[..., Rule]],
    device: torch.device,
    warn: Callable[[str], None],
) -> list[ReplicateOutcome]:
    try:
        task = tasks[replicates[0].task]
        batchable = why_not_stacked(task, replicates[0].recipe, device) is None
        return train_probed(replicates, task, rules, device, batchable=batchable, warn=warn)
    except Exception:
        return [failed(replicate, traceback.format_exc(limit=-8)) for replicate in replicates]


def _train_fitting(
    replicates: Sequence[Replicate],
    tasks: Mapping[str, Task],
    rules: Mapping[str, Callable[..., Rule]],
    device: torch.device,
    gpu: float,
    warn: Callable[[str], None],
) -> list[ReplicateOutcome]:
    """Train replicates that share an architecture, as many at a time as can be."""
    try:
        task = tasks[replicates[0].task]
        most = fitting(replicates, task, device, gpu) if task.network is None else len(replicates)
        reason = why_not_stacked(task, replicates[0].recipe, device) if most > 1 else None
    except TooLarge as error:
        return [failed(replicate, str(error)) for replicate in replicates]
    except Exception:  # of building the network or its data: each replicate says so itself
        most, reason = 1, None
    if reason is not None:
        most = 1
        warn(f"replicates are trained one by one, not side by side: {reason}")
    if most < len(replicates):
        size = -(-len(replicates) // -(-len(replicates) // most))  # stacks of about equal size
        parts = [replicates[start : start + size] for start in range(0, len(replicates), size)]
        return [outcome for part in parts for outcome in _train_halving(part, tasks, rules, device, warn)]
    return _train_halving(replicates, tasks, rules, device, warn)


def _train_halving(
    replicates: Sequence[Replicate],
    tasks: Mapping[str, Task],
    rules: Mapping[str, Callable[..., Rule]],
    device: torch.device,
    warn: Callable[[str], None],
) -> list[ReplicateOutcome]:
    started_at = time.time()
    try:
        return _timed(train_stack(replicates, tasks[replicates[0].task], rules, device, warn=warn), started_at)
    except Exception as error:
        if len(replicates) == 1:
            return _timed([failed(replicates[0], traceback.format_exc(limit=-8))], started_at)
        exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error)
    if exhausted:
        if device.type == "cuda":
            with suppress(RuntimeError):  # it frees what it can
                torch.cuda.empty_cache()
        size = -(-len(replicates) // 2)
        warn(f"{len(replicates)} replicates side by side need more memory than {device} has: going on with {size}")
    else:
        size = 1
    parts = [replicates[start : start + size] for start in range(0, len(replicates), size)]
    return [outcome for part in parts for outcome in _train_halving(part, tasks, rules, device, warn)]


def _timed(outcomes: Sequence[ReplicateOutcome], started_at: float) -> list[ReplicateOutcome]:
    """Return the outcomes of a training that ends now, with its times."""
    return [replace(outcome, started_at=started_at, ended_at=time.time()) for outcome in outcomes]
