"""Functional analysis of variance on a full grid that has the same seeds in every cell.

| symbol | meaning | shape |
|---|---|---|
| y | one number per cell and seed | (n_1, ..., n_K, R) |
| f_T | effect of the axes T: the deviation from the mean over each axis of T, the mean over every other axis | |
| V_T | mean of f_T^2 over the C cells; the sum over all T is V, the variance of the cells' means | |
| d_T | degrees of freedom of T: product of n_k - 1 over its axes; they sum to C - 1 | |
| sigma^2 | residual variance of the model cell + seed, (C - 1)(R - 1) degrees of freedom | |

Noise adds sigma^2 d_T / (C R) to the expectation of V_T. Most of it goes to the term with the most degrees of freedom,
which is the interaction of all axes. It is subtracted from every V_T. This is unbiased even if cells differ in their
noise, because every cell of a full grid has the same weight in every term. The amount that is subtracted in total,
sigma^2 (C - 1) / (C R), becomes a share of its own: the noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MIN_SEEDS_FOR_INTERVALS = 5
CONFIDENCE = 0.95
_MAX_AXES_OF_A_TERM = 3


@dataclass(frozen=True)
class Share:
    """Share of one term in the variance of the cells' means, with its uncertainty.

    Attributes:
        name: Name of the term, such as ``m × s``.
        axes: Axes of the term; empty for the noise and for the rest of higher order.
        share: Unbiased estimate. The share of a term without effect is below zero as often as above.
        raw: Share before noise was subtracted.
        degrees: Degrees of freedom d_T.
        leave_one_out: The share without each of the seeds in turn, with the noise scaled to that of all seeds; empty
            under three seeds.
        low: Lower end of an interval of about 95 %, by jackknife over seeds with Student's t; None under five seeds.
            It holds for 94 to 99 % of the terms, but for 83 to 88 % of the noise's shares if noise has heavy tails
            (`docs/statistics.md`).
        high: Upper end of the same interval.
    """

    name: str
    axes: tuple[str, ...]
    share: float
    raw: float
    degrees: int
    leave_one_out: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Decomposition:
    """Shares of the variance of the cells' means; together with the noise they sum to 1.

    Attributes:
        terms: One share for each axis that varies, each pair and each triple, and one for all higher orders.
        noise: Share of the noise. None with one seed: noise then looks like an interaction, and the terms contain it.
        variance: Variance of the cells' means.
        sigma: Residual standard deviation of a replicate in the model cell + seed; None with one seed.
        cells: Number of cells.
        seeds: Number of seeds.
    """

    terms: tuple[Share, ...]
    noise: Share | None
    variance: float
    sigma: float | None
    cells: int
    seeds: int

    @property
    def shares(self) -> tuple[Share, ...]:
        """The terms, followed by the noise if it is known."""
        return self.terms if self.noise is None else (*self.terms, self.noise)

    def __getitem__(self, axes: str | tuple[str, ...]) -> Share:
        """Return the share of one axis, or of the interaction of several axes given in any order."""
        wanted = {axes} if isinstance(axes, str) else set(axes)
        for term in self.terms:
            if term.axes and set(term.axes) == wanted:
                return term
        raise KeyError(axes)


@dataclass(frozen=True)
class _Layout:
    """The terms of a grid, as tuples of array axes, and their degrees of freedom."""

    shape: tuple[int, ...]
    terms: tuple[tuple[int, ...], ...]
    degrees: NDArray[np.float64] = field(repr=False)
    """Degrees of freedom, (terms + 1,); the last entry is the rest of higher order."""

    @property
    def cells(self) -> int:
        return math.prod(self.shape)


def decompose(y: NDArray[np.float64], axes: Sequence[str]) -> Decomposition | None:
    """Decompose the variance of the cells' means over the axes.

    Args:
        y: Finite numbers, (n_1, ..., n_K, R).
        axes: Names of the first K array axes. An axis of length one has no effect.

    Returns:
        The shares; None if the cells' means differ by rounding only.
    """
    layout = _layout(y.shape[:-1])
    seeds = y.shape[-1]
    variance = float(y.mean(axis=-1).var())
    if variance <= 1e-24 * float(np.mean(y**2)):
        return None
    raw = _mean_squares(y.mean(axis=-1), layout) / variance
    shares = _shares(y, layout, seeds)
    leave_one_out: NDArray[np.float64] = np.empty((0, len(shares)))
    if seeds >= 3:
        leave_one_out = np.array([_shares(np.delete(y, r, axis=-1), layout, seeds) for r in range(seeds)])
    low, high = _jackknife_interval(shares, leave_one_out)

    def _share(name: str, k: int, raw_share: float, degrees: float, term: tuple[int, ...] = ()) -> Share:
        return Share(
            name=name,
            axes=tuple(axes[i] for i in term),
            share=float(shares[k]),
            raw=raw_share,
            degrees=round(degrees),
            leave_one_out=tuple(leave_one_out[:, k].tolist()),
            low=None if low is None else float(low[k]),
            high=None if high is None else float(high[k]),
        )

    terms = [
        _share(" × ".join(axes[i] for i in term), k, float(raw[k]), layout.degrees[k], term)
        for k, term in enumerate(layout.terms)
    ]
    if layout.degrees[-1] > 0:
        terms.append(_share("higher order", len(terms), float(raw[-1]), layout.degrees[-1]))
    noise, sigma = None, None
    if seeds > 1:
        noise = _share("noise", -1, 0.0, 0.0)
        sigma = math.sqrt(_residual_variance(y))
    return Decomposition(tuple(terms), noise, variance, sigma, layout.cells, seeds)


def student_interval(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % interval of the mean over the last axis by Student's t; values are (..., R), R at least 2.

    It is that of one mean alone, chosen beforehand.
    """
    from scipy.stats import t

    n = values.shape[-1]
    half = t.ppf(0.5 + CONFIDENCE / 2, n - 1) * values.std(axis=-1, ddof=1) / math.sqrt(n)
    mean = values.mean(axis=-1)
    return mean - half, mean + half


def _layout(shape: tuple[int, ...]) -> _Layout:
    varying = [k for k, n in enumerate(shape) if n > 1]
    orders = range(1, min(_MAX_AXES_OF_A_TERM, len(varying)) + 1)
    terms = tuple(term for order in orders for term in combinations(varying, order))
    degrees = [math.prod(shape[k] - 1 for k in term) for term in terms]
    return _Layout(shape, terms, np.array([*degrees, math.prod(shape) - 1 - sum(degrees)], dtype=np.float64))


def _mean_squares(means: NDArray[np.float64], layout: _Layout) -> NDArray[np.float64]:
    """Return V_T of every term, (terms + 1,); the last entry is the rest of higher order."""
    squares = []
    for term in layout.terms:
        effect = means
        for k in range(means.ndim):
            mean = effect.mean(axis=k, keepdims=True)
            effect = effect - mean if k in term else mean
        squares.append(float(np.mean(effect**2)))
    rest = float(means.var()) - sum(squares) if layout.degrees[-1] > 0 else 0.0
    return np.array([*squares, rest])


def _shares(y: NDArray[np.float64], layout: _Layout, seeds: int) -> NDArray[np.float64]:
    """Return the shares of the terms, of the rest and of the noise in a mean over ``seeds`` seeds, (terms + 2,).

    y may hold fewer seeds. The noise is still scaled to ``seeds``, so leaving out a seed does not shift the shares.
    """
    used = y.shape[-1]
    signal = _mean_squares(y.mean(axis=-1), layout)
    noise = 0.0
    if used > 1:
        variance = _residual_variance(y)
        signal = signal - variance * layout.degrees / (layout.cells * used)
        noise = variance * (layout.cells - 1) / (layout.cells * seeds)
    parts = np.array([*signal, noise])
    total = float(parts.sum())
    return parts / total if total > 0 else np.full_like(parts, np.nan)


def _residual_variance(y: NDArray[np.float64]) -> float:
    """Return sigma^2, the residual variance of the model cell + seed."""
    flat = y.reshape(-1, y.shape[-1])
    residual = flat - flat.mean(axis=1, keepdims=True) - flat.mean(axis=0, keepdims=True) + flat.mean()
    return float(np.sum(residual**2)) / ((flat.shape[0] - 1) * (flat.shape[1] - 1))


def _jackknife_interval(
    shares: NDArray[np.float64], leave_one_out: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None]:
    """Return the jackknife interval around the shares of all seeds.

    Its centre is not the mean of the pseudo-values: that would remove the noise which is to be shown.
    """
    from scipy.stats import t

    n = len(leave_one_out)
    if n < MIN_SEEDS_FOR_INTERVALS or not np.isfinite(leave_one_out).all():
        return None, None
    error = np.sqrt((n - 1) / n * np.sum((leave_one_out - leave_one_out.mean(axis=0)) ** 2, axis=0))
    half = t.ppf(0.5 + CONFIDENCE / 2, n - 1) * error
    return shares - half, shares + half
