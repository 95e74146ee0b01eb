"""Gains against closed forms and against draws of known truth; `tests/simulation` has the tables."""

import math
from dataclasses import fields

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from study.analysis.statistics.gains import (
    Gains,
    fresh_interval,
    gains,
    to_recommend,
    unsteady_cells,
    verdict_of,
    verdict_of_cells,
    visible_gain,
)

LOG = math.log1p(-0.02)
"""A gain of 2 %, the smallest effect that counts."""


def made(mean, high, floor=None, deviation=None, middle=None):
    """Gains with these bounds; of three seeds."""
    mean, high = np.array(mean, dtype=float), np.array(high, dtype=float)
    floor = 2 * mean - high if floor is None else np.array(floor, dtype=float)
    deviation = np.full(len(mean), 0.05) if deviation is None else np.array(deviation, dtype=float)
    middle = mean if middle is None else np.array(middle)
    return Gains(mean, deviation, 2.0, floor, high, floor, mean - high, 3, middle, deviation)


def drawn(cells=40, seeds=3, draw=0):
    return 0.05 * np.random.default_rng(draw).normal(size=(cells, seeds))


@pytest.mark.parametrize("tried", [1, 20])
def test_one_cell_has_students_t(tried):
    y = np.array([[-0.30, -0.22, -0.27, -0.40]])
    result = gains(y, tried=tried, plains=3)
    reference = ttest_1samp(y[0], 0.0)
    # scipy's own intervals, at the corrected levels: exact but for rounding
    upper = reference.confidence_interval(1 - 0.05 / tried)
    assert result.high[0] == pytest.approx(upper.high, rel=1e-9)
    assert result.luck[0] == pytest.approx(y.mean() - upper.high, rel=1e-9)
    assert result.low[0] == pytest.approx(reference.confidence_interval(1 - 0.05 / tried / 3).low, rel=1e-9)
    assert result.floor[0] == pytest.approx(reference.confidence_interval(1 - 0.05 / 3).low, rel=1e-9)
    assert (result.deviation[0], result.freedom, result.seeds) == (pytest.approx(y.std(ddof=1)), 3, 4)


def test_cells_of_one_variance_are_bounded_as_by_the_pooled_variance():
    """The price of not knowing that the variances are equal, and that seeds have no effect, is below 60 %."""
    ratios = []
    for draw in range(30):
        y = drawn(112, 3, draw)
        pooled = math.sqrt(y.var(axis=1, ddof=1).mean() / 3) * t.isf(0.025 / 112, 224)
        ratios.append(np.median(-gains(y, tried=112).luck) / pooled)
    assert 1.1 < np.median(ratios) < 1.6  # measured 1.43; own variances would give 47.3 / 3.56 x 0.83 = 11


def test_a_noisy_cell_is_not_taken_for_a_gain_which_the_pooled_variance_did():
    """The flaw of one pooled variance: every cell's luck was that of the typical cell."""
    y = drawn()
    y[7] = [-0.9, 0.35, -1.1]
    result = gains(y, tried=40)
    pooled = math.sqrt(y.var(axis=1, ddof=1).mean() / 3) * t.isf(0.05 / 40, 80)
    assert result.mean[7] < -pooled
    assert result.high[7] > 0
    assert verdict_of_cells(result) == "unsure"


def test_a_quiet_cell_keeps_its_own_noise():
    random = np.random.default_rng(0)
    sigma = np.exp(random.normal(size=60)) * 0.05
    sigma[4] = 0.002
    y = sigma[:, None] * random.normal(size=(60, 10))
    y[4] -= 0.03
    result = gains(y, tried=60)
    assert result.high[4] < 0
    assert verdict_of_cells(result) == "yes"
    assert to_recommend(result) == 4
    assert result.mean.argmin() != 4  # the lowest mean is a noisy cell's luck


def test_what_shifts_a_cell_shifts_its_bounds_and_nothing_else():
    y = drawn()
    shift = np.random.default_rng(5).normal(size=40)
    before, after = gains(y, tried=50), gains(y + shift[:, None], tried=50)
    for name in ("mean", "low", "high", "floor", "middle"):
        assert getattr(after, name) == pytest.approx(getattr(before, name) + shift, abs=1e-9)  # rounding of y
    assert after.luck == pytest.approx(before.luck, rel=1e-6)  # the last step of Newton's method


def test_an_effect_of_the_seed_widens_every_bound_by_students_t():
    """The effect of a seed is known well from 200 quiet cells: its part is t with n - 1 degrees of freedom."""
    shared = np.array([0.5, -0.2, 0.1])
    y = 0.02 * drawn(200) + shared
    result = gains(y, tried=200)
    seeds_part = t.isf(0.0125, 2) * shared.std(ddof=1) / math.sqrt(3)
    # noise is 0.001, so its part at the risk 0.0125 / 200 is below 0.004 = 2 % of the seeds' part
    assert -result.luck == pytest.approx(np.full(200, seeds_part), rel=0.02)
    lower = t.isf(0.0125 / 4, 2) * shared.std(ddof=1) / math.sqrt(3)
    chosen = gains(y, tried=200, plains=4)
    assert chosen.mean - chosen.low == pytest.approx(np.full(200, lower), rel=0.02)
    assert chosen.high == pytest.approx(result.high, rel=1e-12)
    assert result.deviation == pytest.approx(np.full(200, shared.std(ddof=1)), rel=0.02)


def test_more_risk_more_seeds_and_fewer_cells_tried_make_bounds_shorter():
    y = drawn(40, 6)
    reach = -gains(y, tried=40).luck
    assert (-gains(y, tried=40, risk=0.2).luck < reach).all()
    assert (-gains(y, tried=400).luck > reach).all()
    assert np.median(-gains(y[:, :3], tried=40).luck) > np.median(reach)


def test_cells_that_are_plain_training_have_no_noise():
    """A rule whose jumps are all rejected leaves plain training as it is, on every seed."""
    y = np.vstack([np.zeros((30, 3)), drawn(20)])
    result = gains(y, tried=50)
    for name in ("mean", "deviation", "low", "high", "floor", "luck"):
        assert not getattr(result, name)[:30].any()
    only = gains(y[30:], tried=50)
    assert result.high[30:] == pytest.approx(only.high, rel=1e-12)
    assert verdict_of_cells(gains(np.zeros((30, 3)), tried=30)) == "no"


def test_without_any_noise_every_mean_is_sure():
    y = np.array([[-0.1] * 3, [0.2] * 3])
    result = gains(y, tried=2)
    assert result.low == pytest.approx(result.high, abs=1e-15)
    assert (verdict_of_cells(result), to_recommend(result)) == ("yes", 0)
    assert visible_gain(result) == 0
    # a seed shifts all cells by the same, and there is no other noise; the numbers are exact in binary
    shared = np.array([0.25, -0.25, 0.5, -0.5])
    alike = gains(np.arange(12)[:, None] / 8 + shared, tried=12)
    half = t.isf(0.0125, 3) * shared.std(ddof=1) / 2
    assert alike.high - alike.mean == pytest.approx(np.full(12, half), rel=1e-9)


def test_a_cell_equal_on_all_seeds_by_chance_counts_as_a_typical_cell():
    y = drawn(20)
    y[3] = -0.04
    result = gains(y, tried=20)
    others = np.delete(np.arange(20), 3)
    assert result.luck[3] == pytest.approx(np.median(result.luck[others]))
    assert result.deviation[3] == pytest.approx(np.median(result.deviation[others]))


def test_one_seed_tells_nothing_and_too_few_tried_is_an_error():
    assert gains(np.zeros((5, 1)), tried=5) is None
    with pytest.raises(ValueError, match="tried must be at least the number of complete cells, 5; got 4"):
        gains(np.zeros((5, 3)), tried=4)


@pytest.mark.parametrize("size", [1e-12, 1e6])
def test_any_size_of_noise_is_taken(size):
    y = drawn(30)
    y[::3] *= size
    result = gains(y, tried=30)
    for field in fields(Gains):
        assert np.isfinite(getattr(result, field.name)).all()
    assert (result.high > result.mean).all()
    assert (result.mean > result.low).all()
    assert (result.floor > result.low).all()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.3, -0.1, "yes"),
        (-0.3, 0.1, "unsure"),
        (-0.01, 0.1, "no"),
        (-0.0002, -0.0001, "no"),  # steady, and too small to be worth it
        (LOG, -0.01, "yes"),
        (LOG + 1e-9, -0.01, "no"),
        (math.nan, math.nan, "unsure"),
    ],
)
def test_the_verdict_of_an_interval(low, high, verdict):
    assert verdict_of(low, high) == verdict


def test_the_verdict_of_cells():
    assert verdict_of_cells(made([-0.3, 0.0], [-0.1, 0.3])) == "yes"
    assert verdict_of_cells(made([-0.3, 0.0], [0.1, 0.3])) == "unsure"
    assert verdict_of_cells(made([-0.001, 0.1], [0.009, 0.11])) == "no"
    assert verdict_of_cells(made([-0.01, 0.1], [-0.005, 0.11])) == "no"  # a sure gain of 1 %
    assert verdict_of_cells(made([-0.01, 0.1], [-0.005, 0.11]), smallest_effect=0.005) == "yes"
    # the verdict is "yes" by the second cell, and the second is recommended, whose bound is the higher
    both = made([-0.01, -0.3], [-0.009, -0.001])
    assert (verdict_of_cells(both), to_recommend(both)) == ("yes", 1)


def test_what_a_seed_does_to_all_cells_makes_none_of_them_unsteady():
    """Plain training of a high rate ends at another loss with every seed; the cells themselves are quiet."""
    shared = np.array([1.0, -1.2, 0.2])
    result = gains(drawn(cells=40) + 2.0 + shared, tried=40)
    assert result.deviation.min() > math.log(2) > result.noise.max()
    assert result.unsteady == 0


def test_an_unsteady_cell_stands_in_the_way_of_no_verdict_but_is_counted():
    result = made([-0.001, 1.0], [0.009, 9.0], deviation=[0.05, 2.0])
    assert (verdict_of_cells(result), result.unsteady) == ("no", 1)
    alone = made([1.0], [9.0], deviation=[2.0])
    assert (verdict_of_cells(alone), alone.unsteady) == ("unsure", 1)
    better = made([-0.001, -1.0], [0.009, 9.0], deviation=[0.05, 2.0])
    assert (verdict_of_cells(better), better.unsteady) == ("unsure", 0)
    steady = made([-0.001, 1.0], [0.009, 9.0], deviation=[0.05, 0.69])
    assert unsteady_cells(steady).tolist() == [False, False]
    mostly_better = made([-0.001, 1.0], [0.009, 9.0], deviation=[0.05, 2.0], middle=[-0.001, -0.05])
    assert (verdict_of_cells(mostly_better), mostly_better.unsteady) == ("unsure", 0)
    assert unsteady_cells(made([0, 1], [1, 2], deviation=[0.6, 0.7])).tolist() == [False, True]


@pytest.mark.parametrize(("cells", "seeds", "tolerance"), [(1, 3, 0.04), (40, 3, 0.1), (40, 5, 0.1)])
def test_a_visible_gain_is_seen_in_four_studies_of_five(cells, seeds, tolerance):
    random = np.random.default_rng(1)
    studies = (0.05 * random.normal(size=(cells, seeds)) for _ in range(4000 // cells))
    results = [gains(y, tried=cells) for y in studies]
    gain = -math.log1p(-np.median([visible_gain(result) for result in results]))
    # exact for one cell; 4000 draws know it to 0.006, and the typical study's number to about 0.02. Otherwise the bound
    # varies less than that of a single cell, as is assumed
    seen = np.mean([result.high - gain < 0 for result in results])
    assert seen == pytest.approx(0.8, abs=tolerance)


def test_fresh_seeds_have_students_interval():
    y = np.array([-0.1, -0.2, -0.05, -0.12, -0.09])
    expected = ttest_1samp(y, 0.0).confidence_interval(0.95)
    assert fresh_interval(y) == pytest.approx((y.mean(), expected.low, expected.high), rel=1e-12)
    mean, low, high = fresh_interval(y[:1])
    assert mean == -0.1
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_cell_that_fresh_seeds_are_most_likely_to_confirm_is_recommended():
    # none is sure: a quiet gain of 5 %, a noisy one that may be luck, a quiet loss with the lowest bound
    quiet, lucky, loss = (-0.05, 0.01, 0.01), (-2.0, 9.0, 3.0), (0.02, 0.005, 0.001)
    means, highs, deviations = zip(quiet, lucky, loss, strict=True)
    assert to_recommend(made(means, highs, floor=[-1.0, -9.0, -1.0], deviation=deviations)) == 0
    assert to_recommend(made(means[1:], highs[1:], floor=[-9.0, -1.0], deviation=deviations[1:])) == 0


def test_of_two_sure_gains_the_larger_is_recommended():
    both = made([-0.28, -0.61], [-0.25, -0.44], floor=[-0.4, -0.9], deviation=[0.01, 0.1])
    assert to_recommend(both) == 1


def test_the_chance_of_a_confirmation_is_that_of_fresh_seeds():
    """Two cells gain 10 %, and seeds differ by 10 and 15 %: the noisier one is confirmed less often."""
    random = np.random.default_rng(2)
    confirmed = []
    for sigma in (0.1, 0.15):
        fresh = random.normal(-0.1, sigma, (4000, 5))
        confirmed.append(np.mean([fresh_interval(y)[2] < 0 for y in fresh]))
    assert confirmed[0] > confirmed[1] + 0.1
    assert to_recommend(made([-0.1, -0.1], [0.5, 0.5], deviation=[0.15, 0.1])) == 1


def test_where_no_gain_is_likely_the_least_bad_cell_is_recommended():
    # the second is so noisy that it might gain, but nobody would use it; the third is sure to lose more
    assert to_recommend(made([1.0, 1.0, 1.2], [1.1, 9.0, 1.21], deviation=[0.05, 3.0, 0.005])) == 0
