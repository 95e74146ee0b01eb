import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import NoChoice, best

INF = math.inf
AXES = {"m": [2, 4], "s": [5, 10], "tolerance": [1e-6]}


def cells(values):
    """Values of the four cells of AXES, by (m, s)."""
    return lambda m, s, **_: values[m, s]


def test_minimum_is_the_lowest_median(make_table):
    # By mean, by minimum and by first seed another cell would win.
    table = make_table(
        AXES,
        cells(
            {(2, 5): (0.9, 0.8, 0.7), (2, 10): (0.5, 0.9, 0.9), (4, 5): (0.76, 0.75, 1.6), (4, 10): (0.85, 0.85, 0.6)}
        ),
        overhead=lambda m, s, tolerance: 1 + m / 100 + s / 1000,
        final_loss_ratio=lambda m, s, tolerance: m * s / 10,
    )
    choice = best(*table, metric="mean_relative_error", rule="minimum")
    assert choice.parameters == {"m": 4, "s": 5, "tolerance": 1e-6}
    assert (choice.value, choice.value_test, choice.seeds) == (0.76, 0.77, 3)
    assert choice.spread == pytest.approx(np.std([0.76, 0.75, 1.6], ddof=1), rel=1e-14)
    assert choice.overhead == pytest.approx(1.045, rel=1e-15)
    assert (choice.final_loss_ratio, choice.of_cells) == (2.0, 4)
    assert (choice.standard_error, choice.qualifying) == (None, None)


@pytest.mark.parametrize("spoiler", ["diverged", "failed", "pruned", None, INF])
@pytest.mark.parametrize("rule", ["minimum", "one-standard-error"])
def test_a_cell_with_a_seed_that_did_not_finish_is_never_best(make_table, spoiler, rule):
    values = {
        (2, 5): (0.1, 0.1, spoiler),
        (2, 10): (0.8, 0.81, 0.8),
        (4, 5): (0.9, 0.9, 0.91),
        (4, 10): (1.2, 1.2, 1.2),
    }
    choice = best(*make_table(AXES, cells(values)), rule=rule)
    assert choice.parameters == {"m": 2, "s": 10, "tolerance": 1e-6}
    assert choice.of_cells == 3


def test_ties_go_to_the_cheaper_cell_then_to_the_first(make_table):
    same = cells(dict.fromkeys([(2, 5), (2, 10), (4, 5), (4, 10)], (0.8, 0.8, 0.8)))
    assert best(*make_table(AXES, same)).parameters == {"m": 2, "s": 5, "tolerance": 1e-6}
    table = make_table(AXES, same, overhead=lambda m, **_: 1.1 if m == 2 else 1.05)
    assert best(*table).parameters == {"m": 4, "s": 5, "tolerance": 1e-6}


def test_a_best_cell_above_one_is_still_the_best_and_its_interval_lies_above_one(make_table):
    values = {(2, 5): (1.2, 1.2), (2, 10): (1.1, 1.1), (4, 5): (1.5, 1.5), (4, 10): (2.0, 2.0)}
    choice = best(*make_table(AXES, cells(values), seeds=(0, 1)))
    assert choice.value == 1.1
    # without noise, the interval is a point
    assert (choice.low, choice.high) == (pytest.approx(1.1, rel=1e-14), pytest.approx(1.1, rel=1e-14))
    assert choice.low > 1


@pytest.mark.parametrize(("rule", "cell"), [("minimum", (4, 5)), ("one-standard-error", (2, 5))])
def test_the_interval_is_students_with_the_risk_divided_by_the_cells_tried(make_table, rule, cell):
    """Also by those that cannot be chosen: each of them was a chance to be lucky."""
    values = {(2, 5): (0.9, 0.8, 0.7), (2, 10): (0.5, 0.9, "diverged"), (4, 5): (0.76, 0.75, 1.6), (4, 10): (3, 2, 4)}
    choice = best(*make_table(AXES, cells(values), overhead=lambda m, **_: m), rule=rule)
    assert choice.parameters == {"m": cell[0], "s": cell[1], "tolerance": 1e-6}
    assert choice.of_cells == 3
    logs = np.log(values[cell])
    # two sides of 5 %, four cells tried
    reach = stats.t.ppf(1 - 0.05 / 2 / 4, 2) * logs.std(ddof=1) / math.sqrt(3)
    # the same formula from another library, in doubles
    assert choice.low == pytest.approx(math.exp(logs.mean() - reach), rel=1e-10)
    assert choice.high == pytest.approx(math.exp(logs.mean() + reach), rel=1e-10)


def test_an_interval_that_cannot_be_known_is_none_and_a_wide_one_is_finite(make_table):
    def interval(values, seeds):
        choice = best(*make_table(AXES, cells(values), seeds=seeds))
        return choice.low, choice.high

    good = {(2, 5): (0.8, 0.7), (2, 10): (0.9, 0.9), (4, 5): (0.9, 0.9), (4, 10): (0.9, 0.9)}
    assert interval({cell: ratios[:1] for cell, ratios in good.items()}, seeds=(0,)) == (None, None)
    assert interval({**good, (4, 10): (0.0, 5.0)}, seeds=(0, 1)) == (None, None)  # it has no logarithm
    low, high = interval({**good, (2, 5): (1e-300, 0.7)}, seeds=(0, 1))
    assert low == 0.0
    assert high == math.exp(700)  # and not infinity, which no reader of a file expects


def test_one_standard_error_equals_least_squares_of_the_two_way_model(make_table):
    """Residuals, degrees of freedom and threshold against a regression on dummy variables with numpy.linalg.lstsq."""
    random = np.random.default_rng(3)
    m_values, s_values, seeds = [2, 4, 8], [5, 10, 20, 40], [0, 1, 2, 3]
    effect = {(m, s): -0.04 * (1 + m / 20) * (s / 20) * math.exp(1 - s / 20) for m in m_values for s in s_values}
    effect[2, 40], effect[4, 40] = 0.3, 0.4  # two cells worse than 1, much noisier: they must not enter sigma
    noise = {cell: random.normal(0, 0.3 if value > 0 else 0.02, 4) for cell, value in effect.items()}
    of_seed = random.normal(0, 0.005, 4)
    values = {cell: np.exp(effect[cell] + of_seed + noise[cell]) for cell in effect}
    axes = {"m": m_values, "s": s_values}
    table = make_table(axes, lambda m, s: values[m, s], seeds=seeds, overhead=lambda m, s: 1 + 0.01 * m + 0.1 / s)

    better = [cell for cell in values if np.median(values[cell]) < 1]
    assert len(better) == 10
    y = np.log([values[cell] for cell in better])
    design = np.zeros((y.size, len(better) + len(seeds)))
    for row, (i, j) in enumerate(np.ndindex(y.shape)):
        design[row, [i, len(better) + j]] = 1
    solution, _, rank, _ = np.linalg.lstsq(design, y.ravel(), rcond=None)
    variance = ((y.ravel() - design @ solution) ** 2).sum() / (y.size - rank)
    error = math.sqrt(variance * 2 / len(seeds))
    means = {cell: np.log(v).mean() for cell, v in values.items()}
    near = [cell for cell in values if means[cell] <= min(means.values()) + error]
    assert 1 < len(near) < len(better)  # otherwise the rule would not be exercised
    cheapest = min(near, key=lambda cell: (1 + 0.01 * cell[0] + 0.1 / cell[1], means[cell]))

    choice = best(*table, rule="one-standard-error")
    # The two computations round differently; the residual is a difference of numbers a hundred times its size.
    assert choice.standard_error == pytest.approx(error, rel=1e-11)
    assert choice.qualifying == len(near)
    assert choice.parameters == {"m": cheapest[0], "s": cheapest[1]}
    assert choice.parameters != best(*table, rule="minimum").parameters


def test_equal_cost_among_the_near_goes_to_the_lowest_metric(make_table):
    # sigma is some 0.1 here, so the three cells below 1 all qualify.
    values = {(2, 5): (0.8, 0.9, 0.7), (2, 10): (0.9, 0.7, 0.78), (4, 5): (0.75, 0.7, 0.9), (4, 10): (3.0, 3.0, 3.0)}
    costs = {(2, 5): 1.2, (2, 10): 1.1, (4, 5): 1.1 + 1e-13, (4, 10): 1.0}  # 1e-13 is rounding, not a cost
    table = make_table(AXES, cells(values), overhead=lambda m, s, tolerance: costs[m, s])
    choice = best(*table, rule="one-standard-error")
    assert choice.qualifying == 3
    assert choice.parameters == {"m": 4, "s": 5, "tolerance": 1e-6}


def test_one_standard_error_says_why_not(make_table):
    good = {(2, 5): (0.8, 0.8), (2, 10): (0.9, 0.9), (4, 5): (0.9, 0.9), (4, 10): (0.9, 0.9)}
    with pytest.raises(NoChoice, match=r"at least 3 seeds.*; the study has 2"):
        best(*make_table(AXES, cells(good), seeds=(0, 1)), rule="one-standard-error")
    one = {(2, 5): (0.8,) * 3, (2, 10): (1.9,) * 3, (4, 5): (1.9,) * 3, (4, 10): (1.9,) * 3}
    with pytest.raises(NoChoice, match="needs two or more; there is one"):
        best(*make_table(AXES, cells(one)), rule="one-standard-error")
    zero = {(2, 5): (0.0,) * 3, (2, 10): (0.9,) * 3, (4, 5): (0.9,) * 3, (4, 10): (0.9,) * 3}
    with pytest.raises(NoChoice, match="not positive"):
        best(*make_table(AXES, cells(zero)), rule="one-standard-error")


@pytest.mark.parametrize("rule", ["minimum", "one-standard-error"])
def test_without_a_complete_cell_there_is_no_choice(make_table, rule):
    table, axes, seeds = make_table(AXES, lambda **_: (0.9, "diverged", 0.9))
    with pytest.raises(NoChoice, match=r"on all 3 seeds .4 cells, 4 of them with a diverged seed"):
        best(table, axes, seeds, rule=rule)
    with pytest.raises(NoChoice, match="no replicates yet"):
        best(pd.DataFrame(), axes, seeds, rule=rule)


def test_a_metric_per_jump_is_ranked_within_one_training_only(make_table):
    axes = {"m": [2, 4], "s": [5], "training.lr": [1e-4, 1e-3]}
    table = make_table(
        axes,
        lambda **p: [0.5 + p["m"] / 100 if p["training.lr"] == 1e-3 else 0.9] * 3,
        final_loss_ratio=lambda **p: p["m"] * p["training.lr"],
    )
    with pytest.raises(NoChoice, match=r"choose one value with at: training\.lr: 0\.0001, 0\.001"):
        best(*table)
    assert best(*table, at={"training.lr": 1e-4}).parameters == {"m": 2, "s": 5, "training.lr": 1e-4}
    # The final loss is compared with a baseline of the same training, so it may be ranked over all of them.
    assert best(*table, metric="final_loss_ratio").parameters == {"m": 2, "s": 5, "training.lr": 1e-4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "overhead"}, "metric must be one of mean_relative_error, final_loss_ratio; got 'overhead'"),
        ({"rule": "maximum"}, "rule must be one of minimum, one-standard-error; got 'maximum'"),
        ({"at": {"lr": 1}}, "at must name an axis of the study"),
    ],
)
def test_bad_arguments_are_named(make_table, arguments, message):
    with pytest.raises(ValueError, match=message) as raised:
        best(*make_table(AXES, lambda **_: [0.9] * 3), **arguments)
    assert not isinstance(raised.value, NoChoice)  # best_document would hide it in the file
