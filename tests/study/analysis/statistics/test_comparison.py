import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from study.analysis import StudyData, compare_studies, draw_comparison

AXES = {"m": [2, 4], "s": [5, 10]}


@pytest.fixture
def study(make_table):
    def make(name, values, axes=AXES, seeds=(0, 1, 2), probed=False):
        return StudyData(name, *make_table(axes, values, seeds=seeds), list, probed)

    return make


def test_cells_and_seeds_that_both_have_are_paired(study):
    """Seeds differ by far more than the studies do; paired, the quotient is told exactly."""
    first = study("a", lambda m, s: [0.5, 1.0, 2.0])
    second = study("b", lambda m, s: [2.0 * 0.9, 1.0 * 1.1, 7.0], axes={"s": [10, 5, 20], "m": [4, 8]}, seeds=(2, 1, 9))
    compared = compare_studies(first, second)
    assert compared.names == ("a", "b")
    assert compared.seeds == (1, 2)
    assert compared.frame[["m", "s"]].values.tolist() == [[4, 5], [4, 10]]
    row = compared.frame.iloc[0]
    assert (row["first"], row["second"], row["n"]) == (1.5, pytest.approx(1.45), 2)
    assert row["difference"] == pytest.approx(math.sqrt(0.9 * 1.1), rel=1e-12)
    # with two seeds, the standard error is half of their difference: Student's t of 12.7 for the mean of all cells, and
    # twice that for two cells at once
    half = 12.7062 * (math.log(1.1) - math.log(0.9)) / 2
    assert compared.overall == pytest.approx(np.sqrt(0.99) * np.exp([0, -half, half]), rel=1e-4)
    assert math.log(row["high"] / row["difference"]) == pytest.approx(half * 25.4517 / 12.7062, rel=1e-4)


def test_intervals_are_students_for_all_cells_at_once(study):
    base, factor = np.array([0.5, 1, 2, 1, 1]), np.array([0.8, 0.9, 0.85, 0.95, 0.9])
    first = study("a", lambda m, s: base.tolist(), seeds=range(5))
    second = study("b", lambda m, s: (base * factor).tolist(), seeds=range(5))
    compared = compare_studies(first, second)
    logs = np.log(factor)
    error = logs.std(ddof=1) / math.sqrt(5)
    half = t.isf(0.025 / 4, 4) * error  # four cells (Bonferroni), 4 degrees of freedom
    row = compared.frame.iloc[0]
    assert [math.log(row[c]) for c in ("difference", "low", "high")] == pytest.approx(
        [logs.mean(), logs.mean() - half, logs.mean() + half], rel=1e-9
    )
    assert np.log(compared.overall) == pytest.approx(logs.mean() + 2.776445 * error * np.array([0, -1, 1]), rel=1e-5)
    assert compared.counted() == {"better": 4, "worse": 0, "not told apart": 0}
    assert compared.by_luck == 0.05


def test_better_is_the_metrics_own_direction(study):
    quotient = {(2, 5): (0.9, 0.9, 0.9), (2, 10): (1.1, 1.1, 1.1), (4, 5): (0.9, 1.1, 1.0), (4, 10): (0.5, 0.5, 0.5)}
    first, second = study("a", lambda m, s: [1.0] * 3), study("b", lambda m, s: quotient[m, s])
    assert compare_studies(first, second).counted() == {"better": 2, "worse": 1, "not told apart": 1}
    gain = compare_studies(first, second, metric="log_gain_per_epoch")  # 1 - ratio in these tables
    assert gain.counted() == {"better": 2, "worse": 1, "not told apart": 1}
    assert gain.frame["difference"].tolist() == pytest.approx([0.1, -0.1, 0.0, 0.5], abs=1e-12)
    assert gain.neutral == 0


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_same_sign_on_every_seed_is_no_difference(study, seeds):
    """With two or three seeds, noise alone gives one sign in 50 and 25 % of the cells."""
    random = np.random.default_rng(seeds)
    axes = {"m": list(range(10)), "s": list(range(20))}
    first = study("a", lambda m, s: np.exp(0.1 * random.normal(size=seeds)).tolist(), axes, range(seeds))
    second = study("b", lambda m, s: np.exp(0.1 * random.normal(size=seeds)).tolist(), axes, range(seeds))
    # in 95 of 100 draws at least no cell is told apart; this draw is fixed
    assert compare_studies(first, second).counted()["not told apart"] == 200


def test_a_study_in_other_packs_is_the_same_study(study):
    """Sums in another order change some cells by rounding, others by more, and leave most as they are."""
    random = np.random.default_rng(0)
    axes = {"m": list(range(10)), "s": list(range(10))}
    size = {(m, s): 0.0 if random.random() < 0.6 else 10 ** random.uniform(-9, 0) for m in range(10) for s in range(10)}
    first = study("a", lambda m, s: [1.0] * 3, axes)
    second = study("b", lambda m, s: np.exp(size[m, s] * random.normal(size=3)).tolist(), axes)
    assert compare_studies(first, second).counted()["not told apart"] == 100


def test_a_cell_of_two_seeds_among_many_has_an_endless_interval(study):
    """Student's t of 1 degree of freedom at 2.5 % / 200 is 2546: the bound is beyond the largest float."""
    axes = {"m": list(range(10)), "s": list(range(20))}
    first = study("a", lambda m, s: [1.0] * 3, axes)
    second = study("b", lambda m, s: ["failed", 0.5, 2.0] if m == s == 0 else [0.9, 1.0, 1.1], axes)
    row = compare_studies(first, second).frame.iloc[0]
    assert row["n"] == 2
    assert 0 < row["low"] < 1e-300
    assert 1e300 < row["high"] < math.inf


def test_one_seed_tells_nothing_apart(study):
    compared = compare_studies(study("a", lambda m, s: [1.0], seeds=[0]), study("b", lambda m, s: [0.1], seeds=[0]))
    assert compared.counted() == {"better": 0, "worse": 0, "not told apart": 4}
    assert compared.frame[["low", "high"]].isna().all(axis=None)
    assert compared.frame["difference"].tolist() == pytest.approx([0.1] * 4)
    assert (compared.by_luck, math.isnan(compared.overall[1])) == (0, True)
    labels = [text.get_text() for legend in draw_comparison(compared).legends for text in legend.get_texts()]
    assert labels == ["no difference"]


def test_a_seed_that_diverged_counts_as_the_cap_and_one_that_failed_not_at_all(study):
    first = study("a", lambda m, s: [1.0, 1.0, "diverged" if (m, s) == (2, 5) else 1.0])
    second = study("b", lambda m, s: ["failed" if m == 4 else 0.5, 0.8, 1e9 if (m, s) == (2, 5) else 0.8])
    frame = compare_studies(first, second).frame.set_index(["m", "s"])
    assert frame["n"].to_dict() == {(2, 5): 3, (2, 10): 3, (4, 5): 2, (4, 10): 2}
    # of three pairs the last is the cap against the cap
    logs = np.log([0.5, 0.8, 1.0])
    assert frame.loc[(2, 5), "difference"] == pytest.approx(np.cbrt(0.4), rel=1e-12)
    high = logs.mean() + t.isf(0.025 / 4, 2) * logs.std(ddof=1) / math.sqrt(3)
    assert math.log(frame.loc[(2, 5), "high"]) == pytest.approx(high, rel=1e-9)
    # two seeds of the same quotient: no noise can be seen in them
    assert frame.loc[(4, 5), ["low", "high"]].tolist() == pytest.approx([0.8, 0.8], rel=1e-12)
    assert frame.loc[(4, 5), "state_second"] == "partial"
    overall = compare_studies(first, second).overall  # over the two cells of m = 2
    assert overall[0] == pytest.approx((0.4 * 0.5 * 0.8 * 0.8) ** (1 / 6), rel=1e-12)


def test_an_axis_of_one_study_alone_is_held_at_a_value(study):
    first = study(
        "a", lambda m, s, growth: [1.0 if growth == "keep" else 0.5] * 3, axes={**AXES, "growth": ["keep", "clip"]}
    )
    second = study("b", lambda m, s: [2.0] * 3)
    with pytest.raises(ValueError, match="must be held at one value, chosen with at: growth: keep, clip"):
        compare_studies(first, second)
    assert compare_studies(first, second, at={"growth": "clip"}).frame["difference"].tolist() == [4.0] * 4
    assert compare_studies(first, second, at={"growth": "keep", "m": 4}).frame["s"].tolist() == [5, 10]


@pytest.mark.parametrize(
    ("other", "options", "message"),
    [
        ({"axes": {"m": [3], "s": [5]}}, {}, "must share a value of m; they have a: 2, 4; b: 3"),
        ({"seeds": (7, 8, 9)}, {}, "a and b share no seed"),
        ({}, {"metric": "speed"}, "metric must be one of mean_relative_error.*; got 'speed'"),
        ({}, {"at": {"lr": 1}}, "at must name an axis of a or b; got 'lr'"),
    ],
)
def test_what_cannot_be_compared_is_said(study, other, options, message):
    first, second = study("a", lambda m, s: [0.9] * 3), study("b", lambda m, s: [0.9] * 3, **other)
    with pytest.raises(ValueError, match=message):
        compare_studies(first, second, **options)


def test_empty_and_diverged_studies_are_said(study):
    first = study("a", lambda m, s: [0.9] * 3)
    with pytest.raises(ValueError, match="b has no replicates yet"):
        compare_studies(first, StudyData("b", pd.DataFrame(), AXES, [0, 1, 2], list))
    compared = compare_studies(first, study("b", lambda m, s: ["diverged"] * 3))
    with pytest.raises(ValueError, match="no common cell has a finite mean_relative_error in both"):
        draw_comparison(compared)


def test_what_makes_two_studies_hard_to_compare_is_noted(study):
    first, second = study("a", lambda m, s: [0.9] * 3), study("b", lambda m, s: [0.9] * 3, probed=True)
    notes = compare_studies(first, second).notes
    assert any("easiest jumps" in note for note in notes)
    assert any("different questions" in note for note in notes)
    assert compare_studies(first, first, metric="final_loss_ratio").notes == ()


def test_the_figure_shows_every_difference_in_order(study):
    quotient = {(2, 5): 0.9, (2, 10): 1.1, (4, 5): 0.5, (4, 10): 1.0}
    compared = compare_studies(study("a", lambda m, s: [1.0] * 3), study("b", lambda m, s: [quotient[m, s]] * 3))
    figure = draw_comparison(compared)
    points = figure.axes[1].get_lines()[0]
    assert points.get_ydata().tolist() == pytest.approx([0.5, 0.9, 1.0, 1.1], rel=1e-12)
    assert figure.axes[1].get_ylabel() == "b / a"
    assert figure.get_suptitle() == "b against a: mean relative error"
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert labels == ["intervals that hold for all cells at once (at least 95 %)", "no difference"]


def test_a_long_interval_is_cut_at_the_edge_and_the_figure_says_so(study):
    quotient = {(2, 5): [0.9, 1.2], (2, 10): [1.1, 1.0], (4, 5): [0.5, 0.9], (4, 10): [1.0, 1.1]}
    first = study("a", lambda m, s: [1.0] * 2, seeds=[0, 1])
    compared = compare_studies(first, study("b", lambda m, s: quotient[m, s], seeds=[0, 1]))
    assert compared.frame["high"].max() > 1e6
    figure = draw_comparison(compared)
    low, high = figure.axes[1].get_ylim()
    assert low < 0.6
    assert high < 3
    words = [text.get_text() for legend in figure.legends for text in (legend.get_title(), *legend.get_texts())]
    words += [text.get_text() for text in figure.texts]
    assert any("cut at the edges" in text.replace("\n", " ") for text in words)
