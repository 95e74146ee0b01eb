"""The decomposition against functions with known shares, and what it says of noise against simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from study.analysis.statistics.anova import decompose


def grid(*values):
    return np.meshgrid(*values, indexing="ij")


def shares_of(f, names):
    """Shares of a function without noise, given once per cell."""
    return {term.axes: term.share for term in decompose(f[..., None], names).terms}


# Projections of some hundred numbers round in the last digits.
EXACT = {"abs": 1e-13}


def test_additive_function_has_main_effects_only():
    a, b, c = np.array([0.0, 1.0, 5.0]), np.array([-2.0, 2.0]), np.array([1.0, 1.5, 0.0, 7.0])
    x, y, z = grid(a, b, c)
    whole = a.var() + b.var() + c.var()
    found = shares_of(x + y + z, "abc")
    expected = {("a",): a.var() / whole, ("b",): b.var() / whole, ("c",): c.var() / whole}
    for term, share in found.items():
        assert share == pytest.approx(expected.get(term, 0.0), **EXACT)
    assert len(found) == 7


def test_product_function_has_the_shares_of_its_factors():
    """The mean square of a product's effect is a product of variances (axes of the term) and squared means (others)."""
    factors = [np.array([1.0, 2.0, 4.0]), np.array([0.5, -1.0]), np.array([3.0, 1.0, 1.0, 2.0])]
    x, y, z = grid(*factors)
    variances, squares = [f.var() for f in factors], [f.mean() ** 2 for f in factors]
    whole = np.prod([v + s for v, s in zip(variances, squares, strict=True)]) - np.prod(squares)
    found = shares_of(x * y * z, "abc")
    for term, share in found.items():
        parts = [variances[k] if name in term else squares[k] for k, name in enumerate("abc")]
        assert share == pytest.approx(np.prod(parts) / whole, **EXACT)


def test_ishigami_function():
    """Sin x + 7 sin² y + 0.1 z⁴ sin x over one period: equally spaced points integrate the sines exactly.

    So x and y have the continuous function's variances, with the moments of z taken over the points it has here.
    """
    n = 12
    points = -np.pi + 2 * np.pi * (np.arange(n) + 0.5) / n
    x, y, z = grid(points, points, points)
    fourth, eighth = (points**4).mean(), (points**8).mean()
    of_x, of_y = (1 + 0.1 * fourth) ** 2 / 2, 49 / 8
    of_xz = 0.01 * (eighth - fourth**2) / 2
    whole = of_x + of_y + of_xz
    found = shares_of(np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x), "xyz")
    expected = {("x",): of_x / whole, ("y",): of_y / whole, ("x", "z"): of_xz / whole}
    for term, share in found.items():
        assert share == pytest.approx(expected.get(term, 0.0), **EXACT)
    # the midpoints of 12 intervals miss 2 % of z's fourth moment and 8 % of its eighth: the textbook's indices are near
    assert [found["x",], found["y",], found["x", "z"]] == pytest.approx([0.314, 0.442, 0.244], abs=0.02)


def test_an_axis_of_one_value_has_no_term_and_four_axes_have_a_rest():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(3, 1, 2, 2, 2, 4))
    found = decompose(y, "abcde")
    assert {term.axes for term in found.terms if len(term.axes) == 1} == {("a",), ("c",), ("d",), ("e",)}
    rest = found.terms[-1]
    assert (rest.name, rest.axes, rest.degrees) == ("higher order", (), 2)
    assert sum(term.degrees for term in found.terms) == 3 * 2 * 2 * 2 - 1
    assert sum(share.share for share in found.shares) == pytest.approx(1, **EXACT)
    assert sum(term.raw for term in found.terms) == pytest.approx(1, **EXACT)


def test_what_is_taken_off_is_sigma_squared_times_degrees_over_cells_and_seeds():
    """Against the textbook's residual mean square of cell + seed, by regression on dummy variables."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=(3, 4, 5)) + np.arange(3)[:, None, None]
    flat = y.reshape(12, 5)
    design = np.zeros((60, 17))
    for row, (cell, seed) in enumerate(np.ndindex(flat.shape)):
        design[row, [cell, 12 + seed]] = 1
    solution, _, rank, _ = np.linalg.lstsq(design, flat.ravel(), rcond=None)
    variance = np.sum((flat.ravel() - design @ solution) ** 2) / (60 - rank)
    found = decompose(y, "ab")
    assert found.sigma == pytest.approx(np.sqrt(variance), rel=1e-12)
    for term, degrees in zip(found.terms, (2, 3, 6), strict=True):
        off = variance * degrees / (12 * 5) / flat.mean(axis=1).var()
        assert term.share == pytest.approx(term.raw - off, rel=1e-10)
    assert found.noise.share == pytest.approx(variance * 11 / 60 / flat.mean(axis=1).var(), rel=1e-10)


@pytest.mark.parametrize("uneven", [False, True])
def test_pure_noise_is_noise(uneven):
    """Also where some cells are ten times as noisy as others, and all share an effect of the seed."""
    rng = np.random.default_rng(2)
    sigma = np.where(np.arange(5)[:, None, None, None] == 4, 10.0, 1.0) if uneven else 1.0
    found = []
    for _ in range(300):
        y = sigma * rng.normal(size=(5, 4, 3, 3)) + 3 * rng.normal(size=3)
        found.append([share.share for share in decompose(y, "abc").shares])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(300)
    assert (error[:-1] < 0.02).all()
    # Ratios of estimates have a bias of their own, which shrinks with the degrees of freedom; one noisy fifth of the
    # cells has few. Without subtraction the interaction alone would hold 24/59 = 41 %.
    assert (np.abs(mean[:-1]) < 4 * error[:-1] + (0.03 if uneven else 0.003)).all()
    assert mean[-1] == pytest.approx(1, abs=4 * error[-1] + (0.1 if uneven else 0.01))


def test_one_seed_gives_shares_that_hold_the_noise():
    found = decompose(np.random.default_rng(3).normal(size=(5, 6, 4, 1)), "abc")
    assert (found.noise, found.sigma) == (None, None)
    interaction = found["a", "b", "c"]
    assert interaction.share == interaction.raw > 0.3
    assert interaction.leave_one_out == ()


@pytest.mark.parametrize(
    ("seeds", "leave_one_out", "interval"), [(2, 0, False), (3, 3, False), (4, 4, False), (5, 5, True)]
)
def test_intervals_need_five_seeds(seeds, leave_one_out, interval):
    y = np.random.default_rng(4).normal(size=(4, 5, seeds)) + np.arange(5)[:, None]
    for share in decompose(y, "ab").shares:
        assert len(share.leave_one_out) == leave_one_out
        assert (share.low is not None) == (share.high is not None) == interval
        if interval:
            assert share.low < share.share < share.high


def test_leaving_out_a_seed_does_not_shift_the_shares():
    """Two seeds hold more noise than three; the shares without a seed are those of three all the same."""
    rng = np.random.default_rng(5)
    shift = []
    for _ in range(200):
        noise = decompose(rng.normal(size=(6, 6, 3)) + np.arange(6)[:, None], "ab").noise
        shift.append(np.mean(noise.leave_one_out) - noise.share)
    # Unscaled, the noise of two seeds would be 1.5 times that of three, which is 10 % of the variance here.
    assert abs(np.mean(shift)) < 0.003


def test_ninety_five_per_cent_intervals_hold_the_truth_so_often():
    """Effects, an interaction and the noise, with an effect of the seed that all cells share."""
    rng = np.random.default_rng(6)
    a, b = np.linspace(-1, 1, 5), np.sin(np.arange(6))
    f = a[:, None] + 0.8 * b + 0.5 * np.outer(a, b)
    exact = decompose(f[..., None], "ab")
    seeds, sigma, times = 8, 1.0, 400
    noise = sigma**2 * (f.size - 1) / (f.size * seeds)
    truth = np.array([*(term.share * exact.variance for term in exact.terms), noise]) / (exact.variance + noise)
    held = np.zeros(4)
    for _ in range(times):
        y = f[..., None] + rng.normal(0, 0.5, seeds) + rng.normal(0, sigma, (*f.shape, seeds))
        found = decompose(y, "ab").shares
        held += [share.low <= true <= share.high for share, true in zip(found, truth, strict=True)]
    # The jackknife is approximate: between 92 % and 99 %, give or take what 400 draws scatter.
    low, high = binom.ppf(0.001, times, 0.92), binom.ppf(0.999, times, 0.99)
    assert ((low <= held) & (held <= high)).all(), held / times


def test_nothing_that_varies_is_said():
    assert decompose(np.full((3, 4, 2), 2.3), "ab") is None
    only_seeds_differ = np.broadcast_to(np.array([0.1, 0.7, 2.0]), (3, 4, 3))
    assert decompose(only_seeds_differ, "ab") is None
