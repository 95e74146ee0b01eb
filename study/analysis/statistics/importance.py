"""Optuna's importances beside the study's own decomposition. They answer other questions, so each keeps its name."""

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
    "fANOVA": "Optuna's random forest on the cells' means: each axis' main effect, scaled to sum to 1, noise included",
    "PED-ANOVA": "Optuna's density ratio: which axes tell the best tenth of the cells from the rest, scaled likewise",
}
"""What each of the importances measures."""

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
    """Importance of each axis that varies by Optuna's evaluators, on the numbers that `sensitivity` decomposes.

    Arguments as of `sensitivity`. Both lack interactions, intervals and an estimate of noise.

    Raises
    ------
    ValueError
        As `sensitivity`, and where a replicate has no value.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    chosen = known_metric(metric, table.columns)
    grid = restrict(axes, at)
    values = grid_values(table, grid, seeds, chosen, split if chosen.split else None)
    means = values.y.mean(axis=1) * (-1 if chosen.higher_is_better else 1)  # PED-ANOVA takes low for good
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
        found = {name: get_param_importances(study, evaluator=evaluator) for name, evaluator in evaluators.items()}
    return {name: {axis: float(of[axis]) for axis in distributions} for name, of in found.items()}


def _distribution(options: Sequence[Any]) -> "BaseDistribution":
    """Numbers on the scale that their range asks for; anything else, a list of widths or a None among them, by name."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(_parameter(value), float) for value in options):
        low, high = float(min(options)), float(max(options))
        return FloatDistribution(low, high, log=low > 0 and high / low >= 100)
    return CategoricalDistribution([_parameter(value) for value in options])


def _parameter(value: Any) -> float | str:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
