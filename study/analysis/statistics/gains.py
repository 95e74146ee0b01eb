"""Gains of many cells over plain training, each with its own noise: bounds that hold for all cells at once.

Few seeds tell little about one cell's noise, but many cells tell how noises are spread. So every cell has a moderated
variance (Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3, 3: "limma"). Smyth takes one
estimate of the prior's d0 and s0^2. An estimate of d0 that is too high by chance makes every interval too short, and far
tails most of all. So d0 and s0^2 are integrated over their posterior here, and a bound is a quantile of a mixture of
Student's t. Exact limits: of cells with one and the same variance, the pooled t; of one cell, Student's t.

| symbol | meaning | shape |
|---|---|---|
| y_ij = a_i + b_j + e_ij | log of the final loss ratio: mean of the cell, effect of the seed, noise | (cells, seeds) |
| n, d | number of seeds; degrees of freedom of a cell, n - 1 | |
| b_j | estimated by the median over cells of y_ij - mean_j y_ij, so that noisy cells do not matter | (seeds,) |
| s_i^2 | sample variance of y_ij - b_j | (cells,) |
| sigma_i^2 | true variance; prior: d0 s0^2 / chi^2 with d0 degrees of freedom | (cells,) |
| tau^2 = trigamma(d0 / 2) | prior variance of log sigma_i^2; a node of the grid over d0 stands for its part of tau | |
| h | node of the grid over (d0, s0^2), with its posterior weight w_h | (nodes,) |
| (d0 s0^2 + d s_i^2) / (d0 + d) | moderated variance under h: mean_j e_ij is Student's t with d0 + d under h | (cells, nodes) |

All cells share the baseline, and with it b_j. That is a single unknown, however many the cells are, so half of the risk
goes to the mean of b_j, by Student's t with d degrees of freedom, and the other half to the cells' e_ij. The two bounds
add up. Under ten cells that vary, b_j and e_ij cannot be separated: each cell then has Student's t by its own variance,
which contains both.

A claim that some cell gains must hold for the luckiest of them: its risk is divided by the number of cells tried
(Bonferroni, which holds under any dependence). A claim that no cell gains needs no such correction: it is wrong only if
the cell that does gain is itself excluded (intersection-union test, Berger 1982, Technometrics 24, 295-300).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["yes", "no", "unsure"]

RISK = 0.05
SMALLEST_EFFECT = 0.02
POWER = 0.8
_UNSTEADY = math.log(2)
_MIN_CELLS = 10  # below, the seed's effect and the spread of variances cannot be estimated
_PRIOR_FREEDOMS = (0.3, 0.5, 0.8, 1.3, 2.0, 3.2, 5.0, 8.0, 14.0, 30.0, 100.0, 1e6)  # the last stands for infinity

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gains:
    """Mean log ratio of every complete cell, with its bounds. Arrays are (cells,).

    Attributes:
        mean: Mean over seeds of the log ratio to plain training.
        deviation: Moderated standard deviation of one replicate, including the effect of its seed.
        freedom: Degrees of freedom of a moderated variance: those of a cell, and the posterior median of the prior's.
        low: Lower bound of the mean; together with ``high`` it holds for all cells at once with at least 95 %.
        high: Upper bound of the mean, for all cells at once.
        floor: Lower bound of the mean for one cell alone (97.5 %): see the head of this file on "no".
        luck: Log ratio that luck alone could reach in this cell. A mean below it is a gain.
        seeds: Number of seeds.
    """

    mean: Array
    deviation: Array
    freedom: float
    low: Array
    high: Array
    floor: Array
    luck: Array
    seeds: int

    @property
    def unsteady(self) -> int:
        """Number of cells that no number of seeds could tell: see `unsteady_cells`."""
        return int(unsteady_cells(self).sum())


def gains(y: Array, *, tried: int, plains: int = 1, risk: float = RISK) -> Gains | None:
    """Compute the mean log ratio of every cell and its bounds; None with fewer than two seeds.

    A cell whose ratio is exactly 1 on every seed took no jump: it is plain training, and its bounds are 0.

    Args:
        y: Logarithms of (final loss of the cell / of the best plain training, same seed), (cells, seeds), finite.
        tried: Number of cells tried, including those that are not complete; at least the number of rows of y.
        plains: Number of plain trainings that the best one was chosen from. The best looks better than it is, by luck,
            so this widens the lower bounds.
        risk: Risk that any of the bounds is wrong.
    """
    cells, n = y.shape
    if tried < cells:
        raise ValueError(f"tried must be at least the number of complete cells, {cells}; got {tried}")
    if n < 2:
        return None
    from scipy.stats import t

    d = n - 1
    mean = y.mean(axis=1)
    varies = np.ptp(y, axis=1) > 0
    error = np.zeros(cells)  # of the mean
    reach, reach_low, reach_alone = np.zeros(cells), np.zeros(cells), np.zeros(cells)
    freedom = float(d)
    if varies.sum() < _MIN_CELLS:
        error = np.where(varies, y.std(axis=1, ddof=1), 0.0) / math.sqrt(n)
        side = risk / 2
        reach, reach_low, reach_alone = (
            error * float(t.isf(part, d)) for part in (side / tried, side / tried / plains, side / plains)
        )
    else:
        side = risk / 4  # half for the seeds' effect, half for the cells
        centred = y[varies] - mean[varies, None]
        effect = np.median(centred, axis=0)
        seed_error = float(effect.std(ddof=1)) / math.sqrt(n)
        spread = _Spread.fit((centred - effect).var(axis=1, ddof=1), d)
        error[varies] = np.sqrt(spread.variance / n + seed_error**2)
        seed_reach = seed_error * float(t.isf(side, d))
        low_seed_reach = seed_error * float(t.isf(side / plains, d))
        together, alone = (spread.bound(part) / math.sqrt(n) for part in (side / tried, side))
        reach[varies] = seed_reach + together
        reach_low[varies] = low_seed_reach + together
        reach_alone[varies] = low_seed_reach + alone
        freedom = min(d + spread.prior_freedom, float(d * varies.sum()))
        dead = ~varies & (mean != 0)  # equal on all seeds by chance, or beyond rounding
        error[dead] = float(np.median(error[varies]))
        for bound in (reach, reach_low, reach_alone):
            bound[dead] = float(np.median(bound[varies]))
    return Gains(
        mean, error * math.sqrt(n), freedom, mean - reach_low, mean + reach, mean - reach_alone, -reach, n
    )


def unsteady_cells(gains: Gains) -> NDArray[np.bool_]:
    """Return True for every cell whose final loss varies between seeds by more than a factor of two, and is no better.

    A mean of such a cell is not known to 2 % before thousands of seeds, and nobody would use the cell: its mean is
    above plain training's. So it does not stand in the way of a "no". `Gains.unsteady` counts them.
    """
    return (gains.deviation > _UNSTEADY) & (gains.mean > 0)


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
    in every cell that is not unsteady; else "unsure".
    """
    excluded = gains.floor > math.log1p(-smallest_effect)
    if ((gains.high < 0) & ~excluded).any():
        return "yes"
    return "no" if (excluded | unsteady_cells(gains)).all() else "unsure"


def surest(gains: Gains, smallest_effect: float = SMALLEST_EFFECT) -> int:
    """Return the index of the cell to recommend: the lowest upper bound, not the lowest mean, which is often luck.

    A cell in which a gain of ``smallest_effect`` is excluded comes after all others.
    """
    excluded = gains.floor > math.log1p(-smallest_effect)
    return int(np.lexsort((gains.high, excluded))[0])


def visible_gain(gains: Gains) -> float:
    """Return the smallest gain, as a fraction, that this study would have seen in its typical cell in 80 % of cases.

    The typical cell has the median deviation. Its bound varies with its own variance, so the mean over the bound is
    noncentral t.
    """
    from scipy.special import nctdtrinc

    error = float(np.median(gains.deviation)) / math.sqrt(gains.seeds)
    if error == 0:
        return 0.0
    critical = float(np.median(-gains.luck)) / error
    return -math.expm1(-error * float(nctdtrinc(gains.freedom, 1 - POWER, critical)))


def fresh_interval(y: Array) -> tuple[float, float, float]:
    """Return mean, low and high of log ratios on fresh seeds, (seeds,): 95 % by Student's t; nan with one seed.

    Nothing was chosen by these seeds, and there is a single comparison, so nothing is corrected.
    """
    from scipy.stats import t

    mean, n = float(y.mean()), len(y)
    if n < 2:
        return mean, math.nan, math.nan
    half = float(t.isf(RISK / 2, n - 1)) * float(y.std(ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class _Spread:
    """Posterior of the cells' variances: mixture over nodes h of scaled inverse chi^2.

    Attributes:
        weights: Posterior weights w_h, (nodes,).
        freedoms: Degrees of freedom d0 + d, (nodes,).
        variances: Moderated variances, (cells, nodes).
        d: Degrees of freedom of a cell.
    """

    weights: Array
    freedoms: Array
    variances: Array
    d: int

    @classmethod
    def fit(cls, s2: Array, d: int) -> "_Spread":
        """Integrate over s0^2 (flat in its logarithm, by Gauss-Hermite about the mode) and d0 (half-Cauchy in tau)."""
        from scipy.special import gammaln, polygamma

        unit = float(np.median(s2[s2 > 0]))
        s2 = s2 / unit
        d0 = np.array(_PRIOR_FREEDOMS)
        tau = np.sqrt(polygamma(1, d0 / 2))
        prior = np.log(np.abs(np.gradient(tau)) / (1 + tau**2))
        u = np.full(len(d0), math.log(float(s2.mean())))  # log s0^2

        def slope(u: Array) -> tuple[Array, Array]:
            part = 1 / (1 + d * s2[:, None] / (d0 * np.exp(u)))
            total = d0 + d
            return (d0 * len(s2) - total * part.sum(0)) / 2, -(total * (part * (1 - part)).sum(0)) / 2

        for _ in range(60):
            first, second = slope(u)
            step = np.clip(-first / np.minimum(second, -1e-9), -1, 1)
            u = u + step
            if np.abs(step).max() < 1e-8:
                break
        width = 1 / np.sqrt(-slope(u)[1])
        nodes, node_weights = np.polynomial.hermite_e.hermegauss(5)
        u = (u[:, None] + width[:, None] * nodes).ravel()
        d0 = np.repeat(d0, len(nodes))
        scaled = d * s2[:, None] / (d0 * np.exp(u))
        log_likelihood = len(s2) * (gammaln((d0 + d) / 2) - gammaln(d0 / 2) - d / 2 * (np.log(d0 / 2) + u))
        log_likelihood -= ((d0 + d) / 2 * np.log1p(scaled)).sum(axis=0)
        log_weight = log_likelihood + np.repeat(prior + np.log(width), len(nodes))
        log_weight += np.tile(np.log(node_weights) + nodes**2 / 2, len(width))
        weights = np.exp(log_weight - log_weight.max())
        kept = weights > 1e-9 * weights.sum()
        d0, u, weights = d0[kept], u[kept], weights[kept] / weights[kept].sum()
        variances = unit * (d0 * np.exp(u) + d * s2[:, None]) / (d0 + d)
        return cls(weights, d0 + d, variances, d)

    @property
    def variance(self) -> Array:
        """Moderated variances, averaged over the nodes by their weights."""
        return self.variances @ self.weights

    @property
    def prior_freedom(self) -> float:
        """Posterior median of d0."""
        order = np.argsort(self.freedoms)
        return float(self.freedoms[order][np.searchsorted(self.weights[order].cumsum(), 0.5)]) - self.d

    def bound(self, risk: float) -> Array:
        """Return the value that one draw of e exceeds with this risk, by Newton's method in logarithms."""
        from scipy.special import betaln, stdtr, stdtrit

        freedom = float(self.weights @ np.minimum(self.freedoms, 100.0))
        x = np.log(-float(stdtrit(freedom, risk)) * np.sqrt(self.variance))
        scale = np.sqrt(self.variances)
        constant = -betaln(self.freedoms / 2, 0.5) - 0.5 * np.log(self.freedoms)
        for _ in range(50):
            z = np.exp(x)[:, None] / scale
            tail = stdtr(self.freedoms, -z) @ self.weights
            density = np.exp(constant - (self.freedoms + 1) / 2 * np.log1p(z**2 / self.freedoms)) * z
            step = np.clip((np.log(tail) - math.log(risk)) * tail / (density @ self.weights), -1, 1)
            x = x + step
            if np.abs(step).max() < 1e-6:
                break
        return np.exp(x)
