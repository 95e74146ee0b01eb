"""A fast part of the simulation: levels where they are exact, and the worlds in which the former test failed."""

import math

import numpy as np
import pytest

from study.analysis.statistics.gains import fresh_interval, gains, student
from tests.simulation import audit
from tests.simulation.former import pooled_yes
from tests.simulation.trials import try_studies
from tests.simulation.worlds import WORLDS

WORLD = {world.name: world for world in WORLDS}
DRAWS = 4000


def failures_of_bounds(cells: int, seeds: int, risk: float) -> float:
    """Part of the studies in which any bound is wrong, with independent cells and seeds."""
    random = np.random.default_rng(cells)
    wrong = 0
    for _ in range(DRAWS):
        y = WORLD["unequal"].noise(WORLD["unequal"].deviations(cells, random), seeds, random)
        result = gains(y, tried=cells, risk=risk)
        wrong += bool(((result.low > 0) | (result.high < 0)).any())
    return wrong / DRAWS


def is_five_percent(rate: float, expected: float = 0.05) -> bool:
    """Compare with 5 %, within three standard deviations of the draws."""
    return abs(rate - expected) < 3 * math.sqrt(0.05 * 0.95 / DRAWS)


@pytest.mark.parametrize("cells", [1, 5])
@pytest.mark.parametrize("seeds", [2, 5])
def test_the_level_is_exact_where_no_variance_is_shared(cells, seeds):
    # of independent cells, each wrong with 5 % / cells
    expected = 1 - (1 - 0.05 / cells) ** cells
    assert is_five_percent(failures_of_bounds(cells, seeds, 0.05), expected)


def test_this_would_see_a_level_of_ten_percent():
    assert not is_five_percent(failures_of_bounds(5, 5, 0.10))


def test_a_fresh_interval_holds_in_95_of_100_cases():
    random = np.random.default_rng(0)
    bounds = np.array([fresh_interval(random.normal(size=5)) for _ in range(DRAWS)])
    assert is_five_percent(np.mean((bounds[:, 1] > 0) | (bounds[:, 2] < 0)))


def test_the_default_risk_is_five_percent():
    y = np.array([[0.3, 0.1, 0.2]])
    error = y.std(ddof=1) / math.sqrt(3)
    assert gains(y, tried=1).high[0] - 0.2 == pytest.approx(student(0.025, 2) * error, rel=1e-9)
    assert student(0.025, 2) == pytest.approx(4.30265, rel=1e-5)  # from a table


@pytest.mark.parametrize("name", ["unequal", "wild", "a tenth noisy"])
def test_luck_is_no_gain_where_cells_differ_in_their_noise_but_was_one(name):
    """112 cells, 3 seeds: the former test errs in 20 to 30 % of 60 studies, this one in 0 to 3 %."""
    random = np.random.default_rng(1)
    rates = try_studies(WORLD[name], 112, 3, 60, random)
    limit = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 60)
    assert rates["false yes"] < limit
    assert 1 - rates["all bounds hold"] < limit
    assert rates["false yes, pooled"] > 0.1
    # "no" for a cell that gains 2 %, while all others lose: 2.5 % at most
    assert rates["false no, 2 % in a cell, others lose"] < limit


def test_a_seed_effect_is_no_gain():
    random = np.random.default_rng(2)
    for seeds in (2, 3):
        rates = try_studies(WORLD["seed effect"], 112, seeds, 60, random)
        assert rates["false yes"] < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 60)


def test_a_gain_is_seen_where_there_is_one():
    rates = try_studies(WORLD["equal"], 112, 10, 20, np.random.default_rng(3))
    # measured 100 % and 89 % in docs/statistics.md
    assert rates["yes, 10 % in quiet cells"] > 0.9
    assert rates["yes, 5 % in quiet cells"] > 0.6
    assert rates["no, all lose"] > 0.9


def test_the_lowest_of_many_cells_is_named_apart():
    """An interval of one cell alone holds for any cell, and not for the one that was chosen for its luck."""
    any_cell, lowest = audit.cover_cell(WORLD["equal"], 5, 200, np.random.default_rng(4))
    assert any_cell == pytest.approx(0.95, abs=0.01)  # of 22,400 cells; three standard deviations are 0.005
    assert lowest < 0.7  # measured 53 %


def test_pooled_yes_has_its_level_where_variances_are_equal():
    """The copy of the former test errs as it promised in the world that it was made for."""
    random = np.random.default_rng(5)
    errors = [pooled_yes(WORLD["equal"].noise(WORLD["equal"].deviations(20, random), 3, random)) for _ in range(1000)]
    assert 0.01 < np.mean(errors) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_truths_of_blow_ups_are_those_of_the_draws():
    world = WORLD["blow-ups"]
    y = world.noise(np.zeros(400_000), 1, np.random.default_rng(6))
    # three standard errors: of a mean with the standard deviation 0.66, 0.0032; of the variance about 2 %
    assert y.mean() == pytest.approx(world.blow_up_mean, abs=0.0032)
    assert y.var() == pytest.approx(world.blow_up_variance, rel=0.04)
