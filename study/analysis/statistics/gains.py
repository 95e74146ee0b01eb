"""Gains of many cells over plain training, each with its own noise: bounds that hold for all cells at once.

| symbol | meaning | shape |
|---|---|---|
| y_ij = a_i + b_j + e_ij | log of the final loss ratio: mean of the cell, effect of the seed, noise | (cells, seeds) |
| n, d | number of seeds; degrees of freedom of a cell, n - 1 | |
| b_j | estimated by the median over cells of y_ij - mean_j y_ij, so that noisy cells do not matter | (seeds,) |
| s_i^2 | sample variance of y_ij - b_j, which `moderated` moderates | (cells,) |

All cells share the baseline, and with it b_j. That is a single unknown, however many the cells are. So half of the risk
goes to the mean of b_j, by Student's t with d degrees of freedom, and the other half to the means of e_ij, by moderated
t. The two bounds add up. Under ten cells that vary, b_j and e_ij cannot be separated: each cell then has Student's t by
its own variance, which contains both.

A claim that some cell gains must hold for the luckiest of them: its risk is divided by the number of cells tried
(Bonferroni, which holds under any dependence). A claim that no cell gains needs no such correction: it is wrong only if
the one cell that does gain is excluded (intersection-union test, Berger 1982, Technometrics 24, 295-300).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.analysis.statistics.moderated import Array, moderate

Verdict = Literal["yes", "no", "unsure"]

RISK = 0.05
SMALLEST_EFFECT = 0.02
POWER = 0.8
_UNSTEADY = math.log(2)
_FRESH = 5  # seeds that a choice is likely to be confirmed with
_LIKELY = 0.05
MIN_CELLS = 10
"""Number of cells from which the effect of a seed and the spread of variances are estimated."""


def student(risk: float, freedom: float) -> float:
    """Return the value that Student's t exceeds with this risk."""
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, risk))


@dataclass(frozen=True)
class Gains:
    """Mean log ratio of every complete cell, with its bounds. Arrays are (cells,).

    Attributes:
        mean: Mean over seeds of the log ratio to plain training.
        deviation: Moderated standard deviation of one replicate, including the effect of its seed.
        freedom: Degrees of freedom of a moderated variance (posterior median).
        low: Lower bound of the mean; together with ``high`` it holds for all cells at once with at least 95 %.
        high: Upper bound of the mean, for all cells at once.
        floor: Lower bound of the mean for one cell alone (97.5 %): see the head of this file on "no".
        noise: Moderated standard deviation of one replicate, without the effect of its seed.
        luck: Log ratio that luck alone could reach in this cell. A mean below it is a gain.
        seeds: Number of seeds.
        middle: Median over seeds of the log ratio.
    """

    mean: Array
    deviation: Array
    freedom: float
    low: Array
    high: Array
    floor: Array
    luck: Array
    seeds: int
    middle: Array
    noise: Array

    @property
    def unsteady(self) -> int:
        """Number of cells that no number of seeds could tell: see `unsteady_cells`."""
        return int(unsteady_cells(self).sum())


def gains(y: Array, *, tried: int, plains: int = 1, risk: float = RISK) -> Gains | None:
    """Compute the mean log ratio of every cell and its bounds; None with fewer than two seeds.

    A cell whose ratio is exactly 1 on every seed took no jump: it is plain training, and its bounds are 0. If other
    cells vary, one with the same other ratio on every seed has the typical cell's bounds.

    Args:
        y: Logarithms of (final loss of the cell / of the best plain training, same seed), (cells, seeds), finite.
        tried: Number of cells tried, including those that are not complete; at least the number of rows of y.
        plains: Number of plain trainings that the best one was chosen from. The best looks better than it is, by luck,
            so this widens the lower bounds.
        risk: Risk that any of the bounds is wrong.

    Raises:
        ValueError: ``tried`` is less than the number of rows of y.
    """
    cells, n = y.shape
    if tried < cells:
        raise ValueError(f"tried must be at least the number of complete cells, {cells}; got {tried}")
    if n < 2:
        return None
    d = n - 1
    mean, middle = y.mean(axis=1), np.median(y, axis=1)
    varies = np.ptp(y, axis=1) > 0
    if varies.sum() < MIN_CELLS:
        error = np.where(varies, y.std(axis=1, ddof=1), 0.0) / math.sqrt(n)
        risks = (risk / 2 / tried, risk / 2 / tried / plains, risk / 2 / plains)
        upper, lower, alone = (error * student(part, d) for part in risks)
        deviation = error * math.sqrt(n)
        return Gains(mean, deviation, float(d), mean - lower, mean + upper, mean - alone, -upper, n, middle, deviation)
    centred = y[varies] - mean[varies, None]
    effect = np.median(centred, axis=0)
    shared = float(effect.std(ddof=1)) / math.sqrt(n)
    side = risk / 4  # of two sides, half each for the seeds' effect and for the cells' noise
    upper_shared, lower_shared = (shared * student(part, d) for part in (side, side / plains))
    s2 = (centred - effect).var(axis=1, ddof=1)
    variance, together, one_cell, freedom = np.zeros(len(s2)), np.zeros(len(s2)), np.zeros(len(s2)), float(d)
    if (s2 > 0).any():
        moderated = moderate(s2, d)
        variance, freedom = moderated.variance, min(moderated.freedom, float(d * len(s2)))
        together, one_cell = (moderated.bound(part) / math.sqrt(n) for part in (side / tried, side))
    known = mean == 0  # among the cells that do not vary
    error, upper, lower, alone = (
        np.where(varies, _filled(values, varies), np.where(known, 0.0, np.median(values)))
        for values in (
            np.sqrt(variance / n + shared**2),
            together + upper_shared,
            together + lower_shared,
            one_cell + lower_shared,
        )
    )
    noise = _filled(np.sqrt(variance), varies)
    return Gains(
        mean, error * math.sqrt(n), freedom, mean - lower, mean + upper, mean - alone, -upper, n, middle, noise
    )


def _filled(values: Array, where: NDArray[np.bool_]) -> Array:
    """Return an array with values at these places, and 0 elsewhere."""
    full = np.zeros(len(where))
    full[where] = values
    return full


def unsteady_cells(gains: Gains) -> NDArray[np.bool_]:
    """Return True for every cell whose final loss varies between seeds by more than a factor of two, and is no better.

    No better: its mean and its median are above plain training's. Thousands of seeds would be needed to know such a
    mean to 2 %, and nobody would use the cell. So it does not stand in the way of a "no"; `Gains.unsteady` counts them.
    A cell that gains on most seeds and blows up on a few is none of them: its median is below plain training's.
    """
    return (gains.noise > _UNSTEADY) & (gains.mean > 0) & (gains.middle > 0)


def verdict_of(low: float, high: float, smallest_effect: float = SMALLEST_EFFECT) -> Verdict:
    """Return the verdict of one interval of a mean log ratio: "no" also for a gain that is sure, but too small.

    Args:
        low: Lower bound.
        high: Upper bound.
        smallest_effect: Gain that is worth having, as a fraction: 0.02 is 2 % less final loss.
    """
    if low > math.log1p(-smallest_effect):
        return "no"
    return "yes" if high < 0 else "unsure"


def verdict_of_cells(gains: Gains, smallest_effect: float = SMALLEST_EFFECT) -> Verdict:
    """Return the verdict of many cells on the seeds by which they were chosen.

    "yes" if a cell gains for sure, and its gain may be as large as ``smallest_effect``; "no" if such a gain is excluded
    in every cell that is not unsteady, and there is such a cell; else "unsure".
    """
    excluded = gains.floor > math.log1p(-smallest_effect)
    if ((gains.high < 0) & ~excluded).any():
        return "yes"
    unsteady = unsteady_cells(gains)
    return "no" if (excluded | unsteady).all() and not unsteady.all() else "unsure"


def to_recommend(gains: Gains, smallest_effect: float = SMALLEST_EFFECT) -> int:
    """Return the index of the cell to recommend: the one whose gain five fresh seeds are most likely to confirm.

    The lowest mean is often a noisy cell's luck, and the lowest upper bound a quiet cell that loses. Cells that gain
    for sure come before all others, so that a "yes" speaks of one of them: that with the lowest upper bound. If no
    confirmation is likely (5 %), the lowest mean plus one standard error is taken. Cells in which a gain of
    ``smallest_effect`` is excluded come after all others, and unsteady ones last.
    """
    from scipy.special import stdtr

    excluded = gains.floor > math.log1p(-smallest_effect)
    sure = (gains.high < 0) & ~excluded
    # a fresh mean of five seeds must be below zero by more than its own half-interval
    margin = student(RISK / 2, _FRESH - 1) * gains.deviation / math.sqrt(_FRESH)
    spread = np.maximum(gains.deviation * math.sqrt(1 / gains.seeds + 1 / _FRESH), 1e-12)
    chance = stdtr(gains.freedom, -(gains.mean + margin) / spread)
    chance = np.where(sure | (chance < _LIKELY), 0.0, chance)
    promise = np.where(sure, gains.high, gains.mean + gains.deviation / math.sqrt(gains.seeds))
    rank = np.where(unsteady_cells(gains), 2, excluded)
    return int(np.lexsort((promise, -chance, ~sure, rank))[0])


def visible_gain(gains: Gains) -> float:
    """Return the smallest gain, as a fraction, that this study would have seen in its typical cell in 80 % of cases.

    The typical cell has the median deviation, corrected for being a median of few. Its bound varies with its own
    variance and with the fit of the others, so the mean over the bound is taken as noncentral t with the degrees of
    freedom of a single cell.
    """
    from scipy.special import chdtri, nctdtrinc

    error = float(np.median(gains.deviation)) / math.sqrt(gains.seeds)
    if error == 0:
        return 0.0
    d = gains.seeds - 1
    critical = float(np.median(-gains.luck)) / error
    total = float(d * np.count_nonzero(gains.deviation))
    lucky = math.sqrt(float(chdtri(total, 0.5)) / total)  # median of a standard deviation, in parts of the true one
    return -math.expm1(-error / lucky * float(nctdtrinc(d, 1 - POWER, critical)))


def fresh_interval(y: Array) -> tuple[float, float, float]:
    """Return mean, low and high of log ratios on fresh seeds, (seeds,): 95 % by Student's t; nan with one seed.

    Nothing was chosen by these seeds, and there is a single comparison, so nothing is corrected.
    """
    mean, n = float(y.mean()), len(y)
    if n < 2:
        return mean, math.nan, math.nan
    half = student(RISK / 2, n - 1) * float(y.std(ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half
