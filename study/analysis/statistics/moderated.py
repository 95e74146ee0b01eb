"""Moderated variances: those of many cells, each known from a few seeds only, are estimated together.

Few seeds tell little about one cell's noise, but many cells tell how noises are spread (Smyth 2004, Statistical
Applications in Genetics and Molecular Biology 3, 3: "limma"). Smyth takes one estimate of the prior's d0 and s0^2. An
estimate of d0 that is too high by chance makes every interval too short, and one that must hold for many cells most of
all. So d0 and s0^2 are integrated over their posterior here, and a bound is a quantile of a mixture of Student's t.

| symbol | meaning | shape |
|---|---|---|
| s_i^2, d | sample variance of a cell, its degrees of freedom | (cells,) |
| sigma_i^2 | true variance; prior: d0 s0^2 / chi^2 with d0 degrees of freedom | (cells,) |
| d0, s0^2 | degrees of freedom and scale of the prior; d0 is infinite if all cells have one variance, s0^2 | |
| tau | standard deviation of log sigma_i^2 in the prior: tau^2 = trigamma(d0 / 2) | |
| h, w_h | node of a grid over (d0, s0^2), its posterior weight | (nodes,) |
| (d0 s0^2 + d s_i^2) / (d0 + d) | moderated variance under h, with d0 + d degrees of freedom | (cells, nodes) |

Priors of d0 and s0^2: half-Cauchy in tau, flat in log s0^2. The spread of true variances is not exactly that prior, so
many cells must not make d0 certain: no more than 50 of them count. In `docs/statistics.md` stands how well this holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR_FREEDOMS = (*np.geomspace(0.25, 16.0, 16).tolist(), 30.0, 100.0, 1e6)
"""Nodes of d0; the last stands for infinity."""

CELLS_THAT_COUNT = 50

_NODES_OF_SCALE = 5
_MOST_SOLVED = 48
_CLOSE = 1e-6  # of a bound, in parts of it
_WIDEST = 3.0  # of log s0^2, where variances lie so far apart that none of them is near the mode
_LEAST_WEIGHT = 1e-9  # far below any risk that is divided by the number of cells


@dataclass(frozen=True)
class Moderated:
    """Posterior of the cells' variances.

    Attributes:
        weights: Weight w_h of every node, (nodes,).
        freedoms: Degrees of freedom d0 + d, (nodes,).
        variances: Moderated variances, (cells, nodes).
    """

    weights: Array
    freedoms: Array
    variances: Array

    @property
    def variance(self) -> Array:
        """Moderated variance of every cell, averaged over the nodes."""
        return self.variances @ self.weights

    @property
    def freedom(self) -> float:
        """Posterior median of d0 + d."""
        order = np.argsort(self.freedoms)
        below = int(np.searchsorted(self.weights[order].cumsum(), 0.5))
        return float(self.freedoms[order][min(below, len(order) - 1)])

    def bound(self, risk: float) -> Array:
        """Return the value that a draw of variance sigma_i^2 exceeds with this risk, (cells,).

        Bounds rise with the moderated variance, almost like its root. So many cells are interpolated between some.
        """
        log_variance = np.log(self.variance)
        ranks = np.argsort(log_variance)
        if len(ranks) > _MOST_SOLVED:
            ranks = ranks[np.unique(_evenly(len(ranks), log_variance[ranks]))]
        return np.exp(np.interp(log_variance, log_variance[ranks], self._solved(ranks, risk)))

    def _solved(self, cells: NDArray[np.intp], risk: float) -> Array:
        """Return the logarithms of these cells' bounds, by Newton's method."""
        from scipy.special import betaln, stdtr, stdtrit

        kept = self.weights > 0.01 * risk / len(self.weights)  # the others change the risk by 1 % of itself at most
        weights, freedoms, scale = self.weights[kept], self.freedoms[kept], np.sqrt(self.variances[np.ix_(cells, kept)])
        log_constant = -betaln(freedoms / 2, 0.5) - 0.5 * np.log(freedoms)
        typical = float(weights @ np.minimum(freedoms, 100.0))
        x = np.log(-float(stdtrit(typical, risk)) * np.sqrt(self.variance[cells]))
        for _ in range(100):
            z = np.exp(x)[:, None] / scale
            tail = np.maximum(stdtr(freedoms, -z) @ weights, 1e-300)
            log_density = log_constant - (freedoms + 1) / 2 * np.log1p(z**2 / freedoms)
            slope = np.maximum((np.exp(log_density) * z) @ weights / tail, 1e-3)
            step = np.clip((np.log(tail) - math.log(risk)) / slope, -1, 1)
            x = x + step
            if np.abs(step).max() < _CLOSE:
                break
        return x


def _evenly(count: int, rising: Array) -> NDArray[np.intp]:
    """Return places in a rising array, evenly by rank and evenly by value, with both ends."""
    half = _MOST_SOLVED // 2
    by_value = np.searchsorted(rising, np.linspace(rising[0], rising[-1], half))
    return np.concatenate([np.linspace(0, count - 1, half).astype(np.intp), np.minimum(by_value, count - 1)])


def moderate(
    s2: Array, d: int, *, freedoms: Sequence[float] = PRIOR_FREEDOMS, cells_that_count: float = CELLS_THAT_COUNT
) -> Moderated:
    """Compute the posterior of variances, from sample variances.

    Args:
        s2: Sample variances of the cells, (cells,); at least one is above 0.
        d: Degrees of freedom of each.
        freedoms: Nodes of d0, rising. With a single node, d0 is known.
        cells_that_count: Number of cells above which more of them do not make d0 more certain.
    """
    from scipy.special import gammaln, polygamma

    unit = float(np.median(s2[s2 > 0]))
    ratio = d * s2[:, None] / unit  # d s_i^2, in units of its median
    d0 = np.asarray(freedoms, dtype=np.float64)
    tau = np.sqrt(polygamma(1, d0 / 2))
    log_prior = np.log(np.abs(np.gradient(tau)) / (1 + tau**2)) if len(d0) > 1 else np.zeros(1)
    mode, width = _modes(ratio, d0, d)
    points, point_weights = np.polynomial.hermite_e.hermegauss(_NODES_OF_SCALE)
    u = (mode[:, None] + width[:, None] * points).ravel()
    d0 = np.repeat(d0, _NODES_OF_SCALE)
    log_weight = len(s2) * (gammaln((d0 + d) / 2) - gammaln(d0 / 2) - d / 2 * (np.log(d0 / 2) + u))
    log_weight -= (d0 + d) / 2 * np.log1p(ratio / (d0 * np.exp(u))).sum(axis=0)
    log_weight *= min(1.0, cells_that_count / len(s2))
    log_weight += np.repeat(log_prior + np.log(width), _NODES_OF_SCALE)
    log_weight += np.tile(np.log(point_weights) + points**2 / 2, len(width))
    weights = np.exp(log_weight - log_weight.max())
    kept = weights > _LEAST_WEIGHT * weights.sum()
    d0, u, weights = d0[kept], u[kept], weights[kept]
    return Moderated(weights / weights.sum(), d0 + d, unit * (d0 * np.exp(u) + ratio) / (d0 + d))


def _modes(ratio: Array, d0: Array, d: int) -> tuple[Array, Array]:
    """Return for each d0 the mode of log s0^2 and its standard deviation; the likelihood has a single mode."""
    u = np.full(len(d0), math.log(float(ratio.mean()) / d))
    curvature = np.ones(len(d0))
    for _ in range(200):
        part = 1 / (1 + ratio / (d0 * np.exp(u)))
        slope = (d0 * len(ratio) - (d0 + d) * part.sum(axis=0)) / 2
        curvature = np.maximum((d0 + d) / 2 * (part * (1 - part)).sum(axis=0), 1e-9)
        step = np.clip(slope / curvature, -1, 1)
        u = u + step
        if np.abs(step).max() < 1e-8:
            break
    return u, np.minimum(1 / np.sqrt(curvature), _WIDEST)
