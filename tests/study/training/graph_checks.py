"""Checks of steps that are replayed, on a device that can record them: a GPU, or the CPU with the tape of `_tape.py`.

They need torch and numpy only, and no test tool, so that they run on a GPU machine where nothing else is installed:
``python -m tests.benchmarks.gpu`` calls each of `CHECKS`, as `test_cuda_graphs.py` does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from study.replicates.outcome import ReplicateOutcome
from study.replicates.replicate import WITH_MOMENTUM, Jumps, Plain, Recipe, Replicate, Task
from study.training.stack import train_stack
from tests.study.training._alike import assert_alike

CPU = torch.device("cpu")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad", "adadelta")
TOLD = "training steps are launched one kernel after another, not as a CUDA graph: "
Told = list[str]


def _task() -> Task:
    draw = np.random.default_rng(0)
    x, y = draw.uniform(-1, 1, (80, 8)), draw.uniform(-1, 1, (80, 4))
    return Task(x[:64], y[:64], x[64:], y[64:])


def _replicates(method: Mapping[str, object] | None = None, **recipe: object) -> list[Replicate]:
    """Return a plain training and four with jumps, of two windows."""
    base = Recipe((6, 5), "tanh", "adam", 0.01, 0.0, 0.0, 16, None, "float64")
    methods = [Jumps("dmd", {"tolerance": 1e-3}, m, s, options=dict(method or {})) for m in (4, 6) for s in (3, 9)]
    recipe_of_all = replace(base, **recipe)
    return [Replicate({}, 0, "random", recipe_of_all, each) for each in (Plain(), *methods)]


def _both(
    replicates: Sequence[Replicate], device: torch.device, task: Task | None = None
) -> tuple[list[ReplicateOutcome], list[ReplicateOutcome], Told]:
    """Train with replays and without; return both, and what the first was told."""
    told: Told = []
    task = task or _task()
    replayed = train_stack(replicates, task, {}, device, warn=told.append)
    return replayed, train_stack(replicates, task, {}, device, replays=False), told


def _check_optimizer(optimizer: str, batch: int | None, device: torch.device) -> None:
    """Replayed steps equal launched ones, and those of the CPU, over the first window and jump."""
    momentum = 0.5 if optimizer in WITH_MOMENTUM else 0.0
    replicates = _replicates(optimizer=optimizer, batch=batch, momentum=momentum)
    replayed, launched, told = _both(replicates, device)
    assert told == []
    for outcome, one_by_one, here in zip(
        replayed, launched, train_stack(replicates, _task(), {}, CPU, replays=False), strict=True
    ):
        assert_alike(outcome, one_by_one, jumps=1)
        assert_alike(outcome, here, jumps=1)


def _check_judged(device: torch.device) -> None:
    """Jumps that are refused or reset the optimiser's state come between replayed steps."""
    replayed, launched, told = _both(_replicates({"accept": "improve", "moments": "reset"}), device)
    assert told == []
    for outcome, one_by_one in zip(replayed, launched, strict=True):
        assert_alike(outcome, one_by_one, jumps=1)


def _check_diverging(device: torch.device) -> None:
    """Steps are recorded anew once a replicate has left, and those that stay go on."""
    replicates = _replicates(optimizer="sgd", epochs=120, hidden=())
    wild = [replace(each, recipe=replace(each.recipe, lr=1e12)) for each in replicates]
    replayed, launched, told = _both([*replicates[:1], *wild[:1]], device)
    assert told == []
    assert [outcome.status for outcome in replayed] == ["finished", "diverged"]
    for outcome, one_by_one in zip(replayed, launched, strict=True):
        assert outcome.status == one_by_one.status
    assert_alike(replayed[0], launched[0], jumps=1)


def _check_lower_precision(device: torch.device) -> None:
    """A step with products in bfloat16 is recorded with them, and ends near the launched one."""
    replayed, launched, told = _both(_replicates(dtype="float32", precision="bf16")[:1], device)
    assert told == []
    # 16 steps of products with 8 bits each
    np.testing.assert_allclose(replayed[0].losses.train, launched[0].losses.train, rtol=0.05)


def _check_refused(device: torch.device) -> None:
    """A step that asks the device for a number is told of, and trained as it is."""

    def loss(network: Callable[..., torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        error = (network(x) - y).square().mean()
        return error if x.sum().item() else 2 * error

    replicates = _replicates()[:1]
    replayed, launched, told = _both(replicates, device, replace(_task(), loss=loss))
    assert len(told) == 1
    assert told[0].startswith(TOLD)
    assert_alike(replayed[0], launched[0], jumps=1)


CHECKS: Mapping[str, Callable[[torch.device], None]] = {
    **{
        f"{optimizer}, {'full batches' if batch is None else f'batches of {batch}'}": partial(
            _check_optimizer, optimizer, batch
        )
        for optimizer in OPTIMIZERS
        for batch in (None, 20)
    },
    "judged jumps": _check_judged,
    "a replicate that diverges": _check_diverging,
    "bfloat16": _check_lower_precision,
    "a step that cannot be recorded": _check_refused,
}
"""Name of a check -> function of a device; it raises AssertionError, or the error that stopped it."""
