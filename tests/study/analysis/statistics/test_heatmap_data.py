import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.analysis import heatmap_data

NAN, INF = math.nan, math.inf
AXES = {"m": [2, 4], "s": [5, 10, 20], "tolerance": [1e-6]}
# One cell of each kind; the seeds are in an order in which none of mean, first, last or middle is the median.
KINDS = {
    (2, 5): (0.6, "diverged", 0.5),
    (2, 10): (0.9, 0.7, 0.8),
    (2, 20): ("diverged", 0.4, "diverged"),
    (4, 5): (0.95, None, 0.75),
    (4, 10): (None, None, None),
    (4, 20): ("failed", None, "failed"),
}


@pytest.fixture
def kinds(make_table):
    return make_table(AXES, lambda m, s, tolerance: KINDS[m, s])


def test_every_kind_of_cell_is_shown_as_what_it_is(kinds):
    data = heatmap_data(*kinds)
    panel = data.panels[0]
    assert (panel.facets, panel.split) == ({"tolerance": 1e-6}, "train")
    # The median of (0.5, 0.6, inf) is 0.6; an absent seed is not counted as the worst one.
    np.testing.assert_allclose(panel.values, [[0.6, 0.8, INF], [0.85, NAN, NAN]], rtol=1e-15)
    assert panel.states == [["partial", "ok", "diverged"], ["partial", "missing", "failed"]]
    assert panel.n_ok.tolist() == [[2, 3, 1], [2, 0, 0]]
    assert data.n_expected == 3


def test_mean_and_spread_only_where_every_seed_finished(kinds):
    frame = heatmap_data(*kinds).frame().query("split == 'train'")
    complete = frame[frame.state == "ok"]
    assert len(complete) == 1
    # One rounding of the mean and the root each.
    assert complete["mean"].item() == pytest.approx(0.8, rel=1e-15)
    assert complete["spread"].item() == pytest.approx(0.1, rel=1e-14)
    assert frame[frame.state != "ok"][["mean", "spread"]].isna().all(axis=None)


def test_the_spread_of_values_near_the_largest_there_are_is_infinite_without_a_word(make_table):
    frame = heatmap_data(*make_table(AXES, lambda m, s, tolerance: [1e200, 1.0, 1.0])).frame()
    assert set(frame.query("split == 'train'")["spread"]) == {INF}


def test_best_cell_is_complete_even_where_others_have_a_lower_median(kinds):
    assert heatmap_data(*kinds).panels[0].lowest == (0, 1)


def test_no_best_cell_in_a_study_without_a_complete_one(make_table):
    data = heatmap_data(*make_table(AXES, lambda **_: (0.9, 0.8, None)))
    assert [panel.lowest for panel in data.panels] == [None, None]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(13)))
def test_order_of_rows_does_not_matter(kinds, order):
    table, axes, seeds = kinds
    assert len(table) == 13
    shuffled = heatmap_data(table.iloc[order], axes, seeds).frame()
    pd.testing.assert_frame_equal(shuffled, heatmap_data(table, axes, seeds).frame())


def test_rows_of_other_cells_and_seeds_are_left_alone(make_table):
    wide, _, _ = make_table(
        {"m": [2, 4, 6], "s": [5, 10, 20], "tolerance": [1e-6, 1e-3]},
        lambda m, s, tolerance: [m + s / 100, m + s / 100, m + s / 100, 1e9],
        seeds=(0, 1, 2, 3),
    )
    values = heatmap_data(wide, AXES, [0, 1, 2]).panels[0].values
    np.testing.assert_allclose(values, [[2.05, 2.1, 2.2], [4.05, 4.1, 4.2]], rtol=1e-15)


def test_facets_come_in_rows_train_before_test_and_y_rises(make_table):
    axes = {"tolerance": [1e-3, 1e-6], "s": [20, 5], "m": [4, 2]}
    data = heatmap_data(*make_table(axes, lambda m, s, tolerance: [m + s / 100 + tolerance] * 3))
    assert [(p.facets["tolerance"], p.split) for p in data.panels] == [
        (1e-6, "train"),
        (1e-6, "test"),
        (1e-3, "train"),
        (1e-3, "test"),
    ]
    assert (data.x_values, data.y_values) == ([5, 20], [2, 4])
    # The test metric is made 0.01 larger: addition rounds once.
    expected = np.array([[2.05, 2.2], [4.05, 4.2]])
    for panel, shift in zip(data.panels, (1e-6, 0.010001, 1e-3, 0.011), strict=True):
        np.testing.assert_allclose(panel.values, expected + shift, rtol=1e-14)


def test_metric_without_a_pair_has_one_panel_per_facet(make_table):
    data = heatmap_data(
        *make_table(AXES, lambda **_: [0.9] * 3, overhead=lambda m, **_: 1 + m / 100), metric="overhead"
    )
    assert [panel.split for panel in data.panels] == [None]
    assert data.panels[0].values.tolist() == [[1.02] * 3, [1.04] * 3]
    assert data.limits == (1.02, 1.04)


def test_where_higher_is_better_the_best_is_highest_and_diverged_is_lowest(make_table):
    table = make_table(AXES, lambda m, s, tolerance: ["diverged"] * 3 if s == 20 else [1 - m * s / 1000] * 3)
    data = heatmap_data(*table, metric="log_gain_per_epoch")
    # The gain is made as 1 - (1 - ms/1000): cancellation leaves the absolute accuracy of numbers of size 1.
    np.testing.assert_allclose(data.panels[0].values, [[0.01, 0.02, -INF], [0.02, 0.04, -INF]], atol=1e-15)
    assert data.panels[0].lowest == (1, 1)
    assert data.limits == pytest.approx((-0.04, 0.04), abs=1e-15)


def test_losses_do_not_hide_gains_on_a_scale_about_zero(make_table):
    data = heatmap_data(
        *make_table(AXES, lambda m, s, tolerance: [1.9 if s == 20 else 0.99] * 3), metric="log_gain_per_epoch"
    )
    assert data.limits == pytest.approx((-0.02, 0.02), abs=1e-15)  # gains of 0.01, losses of 0.9


def test_a_finished_replicate_with_an_infinite_metric_is_not_called_diverged(make_table):
    data = heatmap_data(*make_table(AXES, lambda m, s, tolerance: [INF, INF, 0.9] if s == 5 else [0.9, INF, 0.8]))
    assert data.panels[0].states == [["infinite", "partial", "partial"]] * 2
    assert data.panels[0].lowest is None


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ((0.5, 0.8, 1.25), 2.0),  # the improvement reaches furthest
        ((0.8, 0.9, 1.5), 1.5),  # worse by more, but the improvement still has half of the scale: 0.8 ** -2 > 1.5
        ((0.8, 0.9, 700.0), 0.8**-2),  # a blow-up does not hide the improvement
        ((0.9999, 1.0, 1.0001), 1.01),  # noise does not look like a result
        ((0.999, 1.0, 700.0), 1.1),
        ((1.5, 2.0, 4.0), 4.0),  # nothing improves: the scale shows how much is lost, up to a decade
        ((1.5, 2.0, 700.0), 10.0),
    ],
)
def test_colour_limits_are_symmetric_about_one_on_the_log_scale(make_table, values, limit):
    table, axes, seeds = make_table({"m": [2], "s": [5, 10, 20]}, lambda m, s: [values[[5, 10, 20].index(s)]] * 3)
    table["mean_relative_error_test"] = table["mean_relative_error_train"]
    # exp(log(x)): a few roundings
    assert heatmap_data(table, axes, seeds).limits == pytest.approx((1 / limit, limit), rel=1e-14)


def test_colour_limits_are_shared_by_all_panels(make_table):
    axes = {**AXES, "tolerance": [1e-6, 1e-3]}
    data = heatmap_data(
        *make_table(axes, lambda m, s, tolerance: [0.5 if (m, s, tolerance) == (4, 20, 1e-3) else 0.9] * 3)
    )
    assert data.limits == pytest.approx((0.5, 2.0), rel=1e-14)


def test_other_axes_have_rows_of_panels_unless_a_value_is_chosen(make_table):
    axes = {**AXES, "training.lr": [1e-4, 1e-3]}
    table = make_table(axes, lambda **p: [p["training.lr"]] * 3)
    data = heatmap_data(*table)
    assert data.facets == ("tolerance", "training.lr")
    assert [p.facets["training.lr"] for p in data.panels[::2]] == [1e-4, 1e-3]
    assert [set(p.values.flat) for p in data.panels[::2]] == [{1e-4}, {1e-3}]
    data = heatmap_data(*table, at={"training.lr": 1e-3})
    assert set(data.panels[0].values.flat) == {1e-3}
    assert data.at == {"training.lr": 1e-3}
    with pytest.raises(ValueError, match=r"at\['training.lr'\] must be one of 0.0001, 0.001; got 0.5"):
        heatmap_data(*table, at={"training.lr": 0.5})
    with pytest.raises(ValueError, match=r"at must name an axis of the study .*; got 'lr'"):
        heatmap_data(*table, at={"lr": 1e-3})


def test_axes_can_be_swapped_for_others(make_table):
    table = make_table({**AXES, "training.lr": [1e-4, 1e-3]}, lambda **p: [p["m"] * p["training.lr"]] * 3)
    data = heatmap_data(*table, x="training.lr", y="m", facet="s")
    assert [p.facets for p in data.panels] == [{"s": s} for s in (5, 5, 10, 10, 20, 20)]
    assert data.panels[0].values.tolist() == [[2e-4, 2e-3], [4e-4, 4e-3]]


def test_values_of_an_axis_may_be_words_lists_or_none(make_table):
    axes = {"m": [2, 4], "s": ["b", "a"], "network.hidden": [[6], [6, 6]], "relaxation": [None, 0.5]}
    table, axes, seeds = make_table(axes, lambda **p: [len(p["network.hidden"]) + (p["s"] == "a") / 2] * 3)
    data = heatmap_data(table, axes, seeds, facet="network.hidden", at={"relaxation": None})
    assert data.x_values == ["b", "a"]  # words keep the study's order
    assert [p.values.tolist() for p in data.panels[::2]] == [[[1, 1.5]] * 2, [[2, 2.5]] * 2]


def test_a_study_of_one_tolerance_needs_no_facet(make_table):
    data = heatmap_data(*make_table({"m": [2, 4], "s": [5, 10]}, lambda m, s: [m / s] * 3))
    assert data.facets == ()
    assert data.panels[0].values.tolist() == [[0.4, 0.2], [0.8, 0.4]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "loss"}, "metric must be one of mean_relative_error, .*overhead.*; got 'loss'"),
        ({"metric": "acceptance"}, "metric must be one of .*; got 'acceptance'"),  # real, but not in this table
        ({"x": "steps"}, r"must be axes of the study \(m, s, tolerance\); got 'steps'"),
        ({"facet": "lr"}, r"must be axes of the study \(m, s, tolerance\); got 'lr'"),
        ({"x": "m"}, "x, y and facet must differ; got m, m, tolerance"),
        ({"at": {"m": 2}}, "at must not hold m"),
    ],
)
def test_bad_arguments_are_named(kinds, arguments, message):
    with pytest.raises(ValueError, match=message):
        heatmap_data(*kinds, **arguments)


def test_tables_without_a_picture_say_why(make_table, kinds):
    table, axes, seeds = kinds
    with pytest.raises(ValueError, match="a heatmap needs an axis with two values or more; s and m have one each"):
        heatmap_data(table, {"m": [2], "s": [5], "tolerance": [1e-6]}, seeds)
    with pytest.raises(ValueError, match="no replicates yet"):
        heatmap_data(pd.DataFrame(), axes, seeds)
    with pytest.raises(ValueError, match=r"no cell has a finite mean_relative_error.*12 diverged"):
        heatmap_data(*make_table(AXES, lambda **_: ["diverged"] * 3))
    with pytest.raises(ValueError, match="it lacks tolerance"):
        heatmap_data(table.drop(columns="tolerance"), axes, seeds)
    with pytest.raises(ValueError, match=r"two for \{'m': 2, 's': 5, 'tolerance': 1e-06, 'seed': 0\}"):
        heatmap_data(pd.concat([table, table.head(1)]), axes, seeds)
    with pytest.raises(ValueError, match="status must be one of finished, diverged, failed, pruned; got running"):
        heatmap_data(table.assign(status="running"), axes, seeds)


def test_frame_holds_every_cell_of_every_panel(kinds):
    frame = heatmap_data(*kinds).frame()
    assert len(frame) == 2 * 6
    assert not frame.duplicated(["m", "s", "tolerance", "split"]).any()
    row = frame.set_index(["split", "m", "s"]).loc[("train", 2, 5)]
    assert (row["centre"], row["n_ok"], row["n_diverged"], row["n_expected"]) == (0.6, 2, 1, 3)
    lowest = frame[frame.best_of_panel][["split", "m", "s"]].values.tolist()
    assert lowest == [["train", 2, 10], ["test", 2, 10]]
    assert not frame.recommended.any()


def test_the_recommended_cell_is_marked_in_its_panels_only(make_table):
    axes = {"m": [2, 4], "s": [5, 10], "tolerance": [1e-6, 1e-3]}
    table = make_table(axes, lambda **_: [0.9] * 3)
    cell = {"m": 4, "s": 5, "tolerance": 1e-3}
    frame = heatmap_data(*table, recommended=cell).frame()
    marked = frame[frame.recommended]
    assert marked["split"].tolist() == ["train", "test"]
    assert marked[list(cell)].drop_duplicates().to_dict("records") == [cell]
    # another value of an axis that is held still is another cell
    held = heatmap_data(*table, facet=None, at={"tolerance": 1e-6}, recommended=cell)
    assert [panel.recommended for panel in held.panels] == [None, None]


def test_a_facet_of_too_many_values_is_refused(make_table):
    axes = {"m": [2, 4], "s": [5], "tolerance": [10.0**-k for k in range(1, 18)]}
    with pytest.raises(ValueError, match="up to 16 rows of panels for the other axes, which have 17 values"):
        heatmap_data(*make_table(axes, lambda **_: [0.9] * 3))
    assert len(heatmap_data(*make_table(axes, lambda **_: [0.9] * 3), at={"tolerance": 1e-3}).panels) == 2


def test_a_cell_without_a_row_stays_a_cell_of_the_grid(make_table):
    axes = {"m": [2, 4], "s": [5, 10], "tolerance": [1e-6]}
    data = heatmap_data(*make_table(axes, lambda m, s, **_: [None] * 3 if (m, s) == (4, 5) else [0.9] * 3))
    assert [[cell.state for cell in row] for row in data.panels[0].cells] == [["ok", "ok"], ["missing", "ok"]]
