"""Checks of the training around a method that is not a jump rule."""

from collections.abc import Callable, Iterable
from typing import Any

from problems import OwnAccuracy, OwnNetwork, Problem

ValuesOf = Callable[[str, str], tuple[Any, ...]]
"""(section, key) -> the values of the key in the study."""


def alternative_mistakes(name: str, values_of: ValuesOf, problems: Iterable[Problem]) -> list[str]:
    """Return mistakes for options of the training that do not go with an alternative method in some cell.

    Args:
        name: name of the method.
        values_of: values of a key in the study.
        problems: problems of the study.
    """
    mistakes = {"class_pca": _class_pca_mistakes, "mgrit": _mgrit_mistakes}.get(name)
    return [] if mistakes is None else mistakes(values_of, list(problems))


def _class_pca_mistakes(values_of: ValuesOf, problems: list[Problem]) -> list[str]:
    mistakes = []
    for problem in problems:
        if not isinstance(problem, OwnAccuracy):
            kind = type(problem).__name__
            mistakes.append(f"problem.name: must be a classification problem with the method class_pca; {kind} is not")
        elif not isinstance(problem, OwnNetwork):
            classes, layers = problem.sizes().outputs, max(values_of("method", "layers"))
            for hidden in values_of("network", "hidden"):
                if len(hidden) < layers:
                    mistakes.append(
                        f"method.layers: must be at most the number of hidden layers, as the last layer is trained; "
                        f"got {layers} with network.hidden {list(hidden)}"
                    )
                if "class" in values_of("method", "basis") and min(hidden[:layers], default=classes) < classes:
                    mistakes.append(
                        f"network.hidden: must have a unit for each of the {classes} classes in every computed layer, "
                        f"got {list(hidden)}"
                    )
    return mistakes


def _mgrit_mistakes(values_of: ValuesOf, problems: list[Problem]) -> list[str]:
    mistakes, samples = [], [problem.sizes().train_samples for problem in problems]
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "precision": "full"}
    for key, only in plain.items():
        if others := [value for value in values_of("training", key) if value != only]:
            mistakes.append(
                f"training.{key}: must be {only} with the method mgrit, whose steps are plain gradient descent, "
                f"got {others[0]}"
            )
    for batch in values_of("training", "batch"):
        if isinstance(batch, int) and (ragged := [count for count in samples if count % batch]):
            mistakes.append(
                f"training.batch: must divide the {ragged[0]} training samples with the method mgrit, got {batch}"
            )
    tightest = min(values_of("method", "tolerance"))
    if "float32" in values_of("training", "dtype") and tightest < 1e-6:
        mistakes.append(
            f"training.dtype: must be float64 with a method.tolerance below 1e-6, which float32 cannot resolve, "
            f"got float32 with {tightest:g}"
        )
    limits = [limit for limit in values_of("method", "max_lr") if limit is not None]
    if limits and min(limits) < max(values_of("training", "lr")):
        mistakes.append(
            f"method.max_lr: must be at least training.lr ({max(values_of('training', 'lr')):g}), got {min(limits):g}"
        )
    return mistakes
