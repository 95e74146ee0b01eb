"""Optuna's importances, to show beside the study's own shares. They answer other questions, so each keeps its name."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from study.analysis.statistics.cells import Axes, restrict
from study.analysis.statistics.sensitivity import grid_values
from study.replicates.metric_catalogue import known_metric

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

EVALUATORS = {
    "fANOVA": "Optuna's random forest on the cells' means: main effect of each axis, scaled to sum to 1, with noise",
    "PED-ANOVA": "Optuna's density ratio: how well each axis tells the best tenth of the cells from the rest, scaled "
    "to sum to 1",
}
"""Name of each of Optuna's importances -> what it measures."""

_TREES = 16  # a quarter of Optuna's default, which takes half a minute for 1900 cells


def optuna_importances(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    *,
    metric: str = "mean_relative_error",
    split: Literal["train", "test"] = "train",
    at: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, float]]:
    """Rate the importance of each axis that varies, by Optuna's evaluators.

    They work on the numbers that `sensitivity` decomposes, but give no interactions, intervals or estimate of noise.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        metric: Name of the metric, without ``_train`` / ``_test``.
        split: ``train`` or ``test``; ignored for a metric that has no splits.
        at: Axis values; only cells that have them are used.

    Returns:
        Name of the evaluator -> axis -> importance.

    Raises:
        ValueError: As in `sensitivity`; also if a replicate has no value.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    chosen = known_metric(metric, table.columns)
    grid = restrict(axes, at)
    values = grid_values(table, grid, seeds, chosen, split if chosen.split else None)
    means = values.y.mean(axis=1) * (-1 if chosen.higher_is_better else 1)  # for PED-ANOVA, low is good
    distributions = {axis: _distribution(options) for axis, options in grid.items() if len(options) > 1}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.study.create_study(storage=None, direction="minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={axis: _parameter(cell[axis]) for axis in distributions},
                distributions=distributions,
                value=float(mean),
            )
            for cell, mean in zip(values.cells, means, strict=True)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluators = {
            "fANOVA": FanovaImportanceEvaluator(seed=0, n_trees=_TREES),
            "PED-ANOVA": PedAnovaImportanceEvaluator(),
        }
        rated = {name: get_param_importances(study, evaluator=evaluator) for name, evaluator in evaluators.items()}
    return {name: {axis: float(by_axis[axis]) for axis in distributions} for name, by_axis in rated.items()}


def _distribution(options: Sequence[Any]) -> "BaseDistribution":
    """Return a linear or logarithmic range for numbers, by how wide they spread; categories for other values."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(_parameter(value), float) for value in options):
        low, high = float(min(options)), float(max(options))
        return FloatDistribution(low, high, log=low > 0 and high / low >= 100)
    return CategoricalDistribution([_parameter(value) for value in options])


def _parameter(value: Any) -> float | str:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
