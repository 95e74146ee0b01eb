"""Functional analysis of variance on a full grid, replicated with the same seeds in every cell.

| symbol | meaning | shape |
|---|---|---|
| y | one number per cell and seed | (n_1, ..., n_K, R) |
| f_T | effect of the axes T: over an axis of T the deviation from the mean, over every other axis the mean | |
| V_T | mean of f_T^2 over the C cells; the sum over all T is V, the variance of the cells' means | |
| d_T | degrees of freedom of T: product of n_k - 1 over its axes; they sum to C - 1 | |
| sigma^2 | residual variance of cell + seed, (C - 1)(R - 1) degrees of freedom | |

Noise adds sigma^2 d_T / (C R) to the expectation of V_T: most of it to the term with the most degrees of freedom, which
is the interaction of all axes. Taking it off is unbiased also where cells differ in their noise, since on a full grid
every cell weighs the same in every term. What is taken off, sigma^2 (C - 1) / (C R) in all, is a share of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

FEWEST_SEEDS_FOR_INTERVALS = 5
CONFIDENCE = 0.95
_MOST_AXES_OF_A_TERM = 3


@dataclass(frozen=True)
class Share:
    """Part of the variance of the cells' means, with how far it can be trusted.

    ``axes``: those of the term; empty for noise, and for the rest of higher order. ``share``: an unbiased estimate, so
    that of a term without effect falls below zero as often as above. ``low``, ``high``: 95 % interval, jackknife over
    seeds with Student's t; None under five seeds. ``leave_one_out``: the share without one seed each, scaled to the
    noise of all; none under three seeds. ``raw`` and ``degrees``: the share before noise was taken off, and d_T.
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
    """Shares of the variance of the cells' means; with ``noise`` they sum to 1.

    ``terms``: one per axis that varies, per pair, per triple, and the rest of higher order as one. ``noise``: None
    with one seed, which cannot tell it from interactions: then the shares hold it. ``variance``: of the cells' means.
    ``sigma``: standard deviation of a replicate about cell + seed.
    """

    terms: tuple[Share, ...]
    noise: Share | None
    variance: float
    sigma: float | None
    cells: int
    seeds: int

    @property
    def shares(self) -> tuple[Share, ...]:
        """All terms, then the noise."""
        return self.terms if self.noise is None else (*self.terms, self.noise)

    def __getitem__(self, axes: str | tuple[str, ...]) -> Share:
        """The share of one axis, or of the interaction of several in any order."""
        wanted = {axes} if isinstance(axes, str) else set(axes)
        for term in self.terms:
            if term.axes and set(term.axes) == wanted:
                return term
        raise KeyError(axes)


@dataclass(frozen=True)
class _Layout:
    """The terms of a grid: which array axes each holds, and its degrees of freedom."""

    shape: tuple[int, ...]
    terms: tuple[tuple[int, ...], ...]
    degrees: NDArray[np.float64] = field(repr=False)
    """(terms + 1,): the last is the rest of higher order."""

    @property
    def cells(self) -> int:
        return math.prod(self.shape)


def decompose(y: NDArray[np.float64], axes: Sequence[str]) -> Decomposition | None:
    """Decompose the variance of the cells' means over the axes.

    ``y``: (n_1, ..., n_K, R), finite. ``axes``: names of its first K array axes; those of length one have no effect.
    Returns None where the cells' means do not differ by more than rounding.
    """
    layout = _layout(y.shape[:-1])
    seeds = y.shape[-1]
    variance = float(y.mean(axis=-1).var())
    if variance <= 1e-24 * float(np.mean(y**2)):
        return None
    raw = _mean_squares(y.mean(axis=-1), layout) / variance
    shares = _shares(y, layout, seeds)
    without: NDArray[np.float64] = np.empty((0, len(shares)))
    if seeds >= 3:
        without = np.array([_shares(np.delete(y, r, axis=-1), layout, seeds) for r in range(seeds)])
    low, high = _interval(shares, without)

    def share(name: str, k: int, raw_share: float, degrees: float, members: tuple[int, ...] = ()) -> Share:
        return Share(
            name=name,
            axes=tuple(axes[i] for i in members),
            share=float(shares[k]),
            raw=raw_share,
            degrees=round(degrees),
            leave_one_out=tuple(without[:, k].tolist()),
            low=None if low is None else float(low[k]),
            high=None if high is None else float(high[k]),
        )

    terms = [
        share(" × ".join(axes[i] for i in members), k, float(raw[k]), layout.degrees[k], members)
        for k, members in enumerate(layout.terms)
    ]
    if layout.degrees[-1] > 0:
        terms.append(share("higher order", len(terms), float(raw[-1]), layout.degrees[-1]))
    noise, sigma = None, None
    if seeds > 1:
        noise = share("noise", -1, 0.0, 0.0)
        sigma = math.sqrt(_residual_variance(y))
    return Decomposition(tuple(terms), noise, variance, sigma, layout.cells, seeds)


def student_interval(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % interval of the mean over the last axis by Student's t; values are (..., R), R at least 2."""
    from scipy.stats import t

    n = values.shape[-1]
    half = t.ppf(0.5 + CONFIDENCE / 2, n - 1) * values.std(axis=-1, ddof=1) / math.sqrt(n)
    mean = values.mean(axis=-1)
    return mean - half, mean + half


def _layout(shape: tuple[int, ...]) -> _Layout:
    varying = [k for k, n in enumerate(shape) if n > 1]
    orders = range(1, min(_MOST_AXES_OF_A_TERM, len(varying)) + 1)
    terms = tuple(term for order in orders for term in combinations(varying, order))
    degrees = [math.prod(shape[k] - 1 for k in term) for term in terms]
    return _Layout(shape, terms, np.array([*degrees, math.prod(shape) - 1 - sum(degrees)], dtype=np.float64))


def _mean_squares(means: NDArray[np.float64], layout: _Layout) -> NDArray[np.float64]:
    """V_T of every term, (terms + 1,); the last is the rest of higher order."""
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
    """Shares of the terms, of the rest and of the noise that so many seeds leave, (terms + 2,).

    Fewer seeds than that in y estimate the same shares, so that leaving one out does not shift them.
    """
    used = y.shape[-1]
    signal = _mean_squares(y.mean(axis=-1), layout)
    noise = 0.0
    if used > 1:
        variance = _residual_variance(y)
        signal = signal - variance * layout.degrees / (layout.cells * used)
        noise = variance * (layout.cells - 1) / (layout.cells * seeds)
    parts = np.array([*signal, noise])
    whole = float(parts.sum())
    return parts / whole if whole > 0 else np.full_like(parts, np.nan)


def _residual_variance(y: NDArray[np.float64]) -> float:
    """sigma^2 of cell + seed."""
    flat = y.reshape(-1, y.shape[-1])
    residual = flat - flat.mean(axis=1, keepdims=True) - flat.mean(axis=0, keepdims=True) + flat.mean()
    return float(np.sum(residual**2)) / ((flat.shape[0] - 1) * (flat.shape[1] - 1))


def _interval(
    shares: NDArray[np.float64], without: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | tuple[None, None]:
    """Jackknife about the shares of all seeds: pseudo-values would remove the noise that is to be shown."""
    from scipy.stats import t

    n = len(without)
    if n < FEWEST_SEEDS_FOR_INTERVALS or not np.isfinite(without).all():
        return None, None
    error = np.sqrt((n - 1) / n * np.sum((without - without.mean(axis=0)) ** 2, axis=0))
    half = t.ppf(0.5 + CONFIDENCE / 2, n - 1) * error
    return shares - half, shares + half
