"""Moderated variances against closed forms, and against brute-force integration."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, f, t
from scipy.stats import norm as normal

from study.analysis.statistics.moderated import PRIOR_FREEDOMS, moderate


def test_cells_of_one_variance_have_the_pooled_t():
    """With d0 infinite, the scale s0^2 is integrated out, which is what pooling does."""
    s2 = 0.01 * np.array([0.1, 0.4, 0.7, 1.0, 1.3, 2.5, 0.2, 0.9, 1.6, 1.3])
    noise = moderate(s2, 2, freedoms=(1e6,))
    pooled = math.sqrt(s2.mean())
    for risk in (0.025, 1e-3, 1e-4):
        # five Gauss-Hermite nodes for the scale of 20 degrees of freedom: 2 % at the far end, where t and z differ 20 %
        assert noise.bound(risk) == pytest.approx(np.full(10, pooled * t.isf(risk, 20)), rel=0.02)
    assert normal.isf(1e-4) < 0.85 * t.isf(1e-4, 20)


def test_a_known_prior_gives_smyths_variance():
    """Equation of Smyth 2004, section 3: (d0 s0^2 + d s^2) / (d0 + d)."""
    d0, d, s0_2 = 4.0, 2, 0.3
    grid = (np.arange(4000) + 0.5) / 4000
    s2 = s0_2 * f.ppf(grid, d, d0)  # the marginal distribution of s^2 under this prior: s0^2 is then known to 2 %
    noise = moderate(s2, d, freedoms=(d0,), cells_that_count=math.inf)
    expected = (d0 * s0_2 + d * s2) / (d0 + d)
    assert noise.variance == pytest.approx(expected, rel=0.02)
    assert noise.freedom == d0 + d
    assert noise.bound(1e-4) == pytest.approx(np.sqrt(expected) * t.isf(1e-4, d0 + d), rel=0.02)


@pytest.mark.parametrize("true_d0", [1.0, 4.0, 1e6])
def test_d0_is_estimated(true_d0):
    """The prior's d0 is known to 10 % where 4000 cells count; a step of the grid is 30 %."""
    grid = (np.arange(4000) + 0.5) / 4000
    s2 = f.ppf(grid, 4, true_d0) if true_d0 < 1e6 else chi2.ppf(grid, 4) / 4
    noise = moderate(s2, 4, cells_that_count=math.inf)
    if true_d0 == 1e6:
        assert noise.freedom > 100
    else:
        assert (noise.freedom - 4) / true_d0 == pytest.approx(1, rel=0.3)


def brute_force(s2, d, cell, x):
    """P(e > x) in one cell, by sums over dense grids of log sigma^2, log s0^2 and d0, with normal tails."""
    from scipy.special import polygamma

    step = 0.05
    log_sigma2 = np.arange(-16, 16, step)
    sigma2 = np.exp(log_sigma2)
    likelihood = chi2.pdf(d * s2[:, None] / sigma2, d) * d / sigma2  # (cells, sigma)
    d0s = np.array(PRIOR_FREEDOMS[:-3])
    tau = np.sqrt(polygamma(1, d0s / 2))
    shares = np.abs(np.gradient(np.sqrt(polygamma(1, np.array(PRIOR_FREEDOMS) / 2))))[:-3] / (1 + tau**2)
    weights, tails = [], []
    for d0, share in zip(d0s, shares, strict=True):
        for u in np.arange(-4, 4, 0.1):
            prior = chi2.pdf(d0 * math.exp(u) / sigma2, d0) * d0 * math.exp(u) / sigma2 * step
            marginal = likelihood @ prior
            weights.append(share * marginal.prod())
            tails.append((likelihood[cell] * prior) @ normal.sf(x / np.sqrt(sigma2)) / marginal[cell])
    return np.average(tails, weights=weights)


def test_bounds_are_those_of_brute_force():
    s2 = np.array([0.02, 0.1, 0.4, 0.7, 1.0, 1.3, 2.5, 0.2, 30.0, 5.0, 0.003, 1.3])
    noise = moderate(s2, 2, freedoms=PRIOR_FREEDOMS)
    for cell in (0, 8):
        for risk in (0.025, 1e-3):
            # large d0, which brute force leaves out, have less than 2 % of the weight; quadrature over s0^2: 2 %
            assert brute_force(s2, 2, cell, noise.bound(risk)[cell]) == pytest.approx(risk, rel=0.05)


def test_variances_of_any_size_and_exact_zeros_are_taken():
    s2 = np.array([0.0, 0.0, 1e-30, 1e-12, 1e-3, 1.0, 1e6, 1e12, 1e-3, 1e-4])
    bound = moderate(s2, 2).bound(1e-5)
    assert np.isfinite(bound).all()
    assert (bound > 0).all()
    assert bound[7] > bound[6] > bound[5] > bound[4]


def test_a_unit_changes_nothing_but_the_unit():
    s2 = np.random.default_rng(0).chisquare(2, 30)
    # numbers of the same data in another unit differ by rounding, and by Newton's last step of 1e-6
    assert moderate(1e-8 * s2, 2).bound(1e-3) == pytest.approx(1e-4 * moderate(s2, 2).bound(1e-3), rel=1e-5)


def test_many_cells_are_bounded_as_few_are():
    random = np.random.default_rng(0)
    s2 = np.exp(2 * random.normal(size=300)) * random.chisquare(2, 300)
    noise = moderate(s2, 2)
    exact = np.concatenate([replace(noise, variances=part).bound(1e-4) for part in np.split(noise.variances, 10)])
    # between two of 48 places, lines in logarithms are that near; measured 6e-4
    assert noise.bound(1e-4) == pytest.approx(exact, rel=2e-3)
