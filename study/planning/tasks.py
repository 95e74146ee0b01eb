"""Data of the problems that replicates train on."""

from collections.abc import Callable, Iterable

from problems import OwnAccuracy, OwnLoss, OwnNetwork
from study.replicates.replicate import Replicate, Task
from study.specification import Spec


def make_tasks(
    spec: Spec, needed: Iterable[Replicate], progress: Callable[[int, int], None] | None = None
) -> dict[str, Task]:
    """Make the data of every task that these replicates train on.

    Args:
        spec: The study.
        needed: The replicates.
        progress: Called with the samples made so far, and of how many.
    """
    tasks: dict[str, Task] = {}
    for replicate in needed:
        if replicate.task in tasks:
            continue
        problem = spec.problem(replicate.parameters)
        data = problem.data(progress)
        tasks[replicate.task] = Task(
            train_inputs=data.train_inputs,
            train_targets=data.train_targets,
            test_inputs=data.test_inputs,
            test_targets=data.test_targets,
            network=problem.network if isinstance(problem, OwnNetwork) else None,
            loss=problem.loss if isinstance(problem, OwnLoss) else None,
            accuracy=problem.accuracy if isinstance(problem, OwnAccuracy) else None,
        )
    return tasks
