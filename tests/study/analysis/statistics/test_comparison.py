import math

import numpy as np
import pandas as pd
import pytest

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
    found = compare_studies(first, second)
    assert found.names == ("a", "b")
    assert found.seeds == (1, 2)
    assert found.frame[["m", "s"]].values.tolist() == [[4, 5], [4, 10]]
    row = found.frame.iloc[0]
    assert (row["first"], row["second"], row["n"]) == (1.5, pytest.approx(1.45), 2)
    assert row["difference"] == pytest.approx(math.sqrt(0.9 * 1.1), rel=1e-12)
    assert (row["low"], row["high"]) == pytest.approx((0.9, 1.1), rel=1e-12)
    assert found.overall == pytest.approx((math.sqrt(0.99), 0.9, 1.1), rel=1e-12)


def test_from_five_seeds_on_intervals_are_students(study):
    base, factor = np.array([0.5, 1, 2, 1, 1]), np.array([0.8, 0.9, 0.85, 0.95, 0.9])
    first = study("a", lambda m, s: base.tolist(), seeds=range(5))
    second = study("b", lambda m, s: (base * factor).tolist(), seeds=range(5))
    found = compare_studies(first, second)
    logs = np.log(factor)
    half = 2.776445 * logs.std(ddof=1) / math.sqrt(5)  # two-sided 95 % of Student's t with 4 degrees of freedom
    row = found.frame.iloc[0]
    assert [math.log(row[c]) for c in ("difference", "low", "high")] == pytest.approx(
        [logs.mean(), logs.mean() - half, logs.mean() + half], rel=1e-5
    )
    assert found.counted() == {"better": 4, "worse": 0, "not told apart": 0}


def test_better_is_the_metrics_own_direction(study):
    quotient = {(2, 5): (0.9, 0.8, 0.9), (2, 10): (1.1, 1.2, 1.1), (4, 5): (0.9, 1.1, 1.0), (4, 10): (0.5, 0.5, 0.5)}
    first, second = study("a", lambda m, s: [1.0] * 3), study("b", lambda m, s: quotient[m, s])
    assert compare_studies(first, second).counted() == {"better": 2, "worse": 1, "not told apart": 1}
    gain = compare_studies(first, second, metric="log_gain_per_epoch")  # 1 - ratio in these tables
    assert gain.counted() == {"better": 2, "worse": 1, "not told apart": 1}
    assert gain.frame["difference"].tolist() == pytest.approx([0.4 / 3, -0.4 / 3, 0.0, 0.5], abs=1e-12)
    assert gain.neutral == 0


def test_a_seed_that_diverged_counts_as_the_cap_and_one_that_failed_not_at_all(study):
    first = study("a", lambda m, s: [1.0, 1.0, "diverged" if (m, s) == (2, 5) else 1.0])
    second = study("b", lambda m, s: ["failed" if m == 4 else 0.5, 0.8, 1e9 if (m, s) == (2, 5) else 0.8])
    frame = compare_studies(first, second).frame.set_index(["m", "s"])
    assert frame["n"].to_dict() == {(2, 5): 3, (2, 10): 3, (4, 5): 2, (4, 10): 2}
    # of three pairs the last is the cap against the cap
    assert frame.loc[(2, 5), ["difference", "low", "high"]].tolist() == pytest.approx([np.cbrt(0.4), 0.5, 1], rel=1e-12)
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
    found = compare_studies(first, study("b", lambda m, s: ["diverged"] * 3))
    with pytest.raises(ValueError, match="no common cell has a finite mean_relative_error in both"):
        draw_comparison(found)


def test_what_makes_two_studies_hard_to_compare_is_noted(study):
    first, second = study("a", lambda m, s: [0.9] * 3), study("b", lambda m, s: [0.9] * 3, probed=True)
    notes = compare_studies(first, second).notes
    assert any("easiest jumps" in note for note in notes)
    assert any("different questions" in note for note in notes)
    assert compare_studies(first, first, metric="final_loss_ratio").notes == ()


def test_the_figure_shows_every_difference_in_order(study):
    quotient = {(2, 5): 0.9, (2, 10): 1.1, (4, 5): 0.5, (4, 10): 1.0}
    found = compare_studies(study("a", lambda m, s: [1.0] * 3), study("b", lambda m, s: [quotient[m, s]] * 3))
    figure = draw_comparison(found)
    points = figure.axes[1].get_lines()[0]
    assert points.get_ydata().tolist() == pytest.approx([0.5, 0.9, 1.0, 1.1], rel=1e-12)
    assert figure.axes[1].get_ylabel() == "b / a"
    assert figure.get_suptitle() == "b against a: mean relative error"
