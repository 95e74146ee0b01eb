"""What a report shows is what the record holds: values, states, curves, costs, failures."""

import math

import numpy as np
import pytest

from study.analysis.pages.report import MAX_FAILURES
from study.analysis.pages.thinned_curves import CURVE_BYTES, json_number, points_per_curve, thin
from study.analysis.statistics.cells import Replicates
from tests.dashboards._made_up import AXES, SEEDS, MadeUp


@pytest.fixture(scope="module")
def made_up():
    return MadeUp()


@pytest.fixture(scope="module")
def report(made_up):
    return made_up.report()


def metric(report, column):
    (found,) = (one for one in report.explorer["metrics"] if one["column"] == column)
    return found


@pytest.mark.parametrize("column", ["final_loss_ratio_train", "fraction_improved_test", "overhead"])
def test_every_cell_has_its_value(made_up, report, column):
    found = metric(report, column)
    cells = list(Replicates(made_up.table, {**AXES, "tolerance": [1e-6, 1e-3]}, SEEDS).summaries(column))
    # shown in five digits
    np.testing.assert_allclose(found["centre"], [cell.centre for cell in cells], rtol=1e-4)
    np.testing.assert_allclose(found["spread"], [cell.spread for cell in cells], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(found["values"], [cell.values for cell in cells], rtol=1e-4)
    assert set(found["states"]) == {"o"}


def test_the_recommended_cell_and_the_lowest_value_are_chosen_by_training_alone(report):
    lowest = metric(report, "final_loss_ratio_train")["lowest"]
    # m = 8 is the second of 3, s = 10 the second of 4, either of 2 tolerances: the first
    assert lowest == 1 * 8 + 1 * 2
    # a hundredth more noise than at any other cell is 1 % of 0.6, the only one this far below 1
    assert report.explorer["recommended"] == report.explorer["first"] == lowest
    assert report.explorer["recommended_as"] == "recommended cell"
    assert metric(report, "final_loss_ratio_test")["lowest"] is None
    assert [axis["key"] for axis in report.explorer["axes"]] == ["m", "s", "tolerance"]
    assert (report.explorer["x"], report.explorer["y"]) == ("s", "m")


def test_a_ratio_per_jump_has_no_best_across_trainings():
    report = MadeUp({"m": [2, 8], "training.lr": [1e-3, 1e-4]}).report()
    assert metric(report, "mean_relative_error_train")["lowest"] is None
    assert metric(report, "final_loss_ratio_train")["lowest"] is not None


def test_states_and_failures_are_told():
    def status(cell, seed):
        if cell["m"] == 2:
            return "diverged"
        if cell["m"] == 14 and cell["s"] == 5:
            return "failed" if seed == 0 else "missing"
        return "finished"

    report = MadeUp(status=status, reason="CUDA out of memory").report()
    found = metric(report, "final_loss_ratio_train")
    assert found["states"][:8] == "d" * 8
    assert found["centre"][0] == "inf"
    assert found["states"][16] == "f"
    assert found["centre"][16] is None
    assert report.explorer["statuses"][16] == "f--"
    assert report.explorer["cells"][16][1] is None
    assert report.failures_note == "Replicates that did not finish: 24 diverged, 2 failed. Not run yet: 4."
    assert ("m = 14, s = 5, tolerance = 1e-06", "0", "failed", "60", "CUDA out of memory") in report.failures.rows
    assert report.sensitivity == []
    assert "6 of 72 replicates have no final_loss_ratio" in report.sensitivity_note


def test_many_failures_are_counted_but_not_all_listed():
    report = MadeUp(seeds=range(9), status=lambda cell, seed: "diverged").report()
    assert len(report.failures.rows) == MAX_FAILURES
    assert f"216 diverged (the first {MAX_FAILURES} are listed)" in report.failures_note
    assert report.answer[0].startswith("No: every one of 24 cells diverged")
    assert metric(report, "final_loss_ratio_train")["lowest"] is None
    assert report.explorer["recommended"] is None


def test_costs_are_in_step_equivalents(made_up, report):
    rows = {row[0]: row[1:] for row in report.cost.rows}
    # each replicate: 60 steps for 6e6 operations; jumps 6e4 and evaluations 3e5 are 0.6 and 3 steps
    assert rows["training, 72 cells"][0] == "4320"
    assert rows["jumps, 72 cells"][0] == "43.2"
    assert rows["evaluating losses, 3 baselines"][0] == "9"
    assert rows["training, 72 cells"][2] == "36"
    # a copy is counted in seconds only, and an old record has none
    assert rows["copying snapshots, 72 cells"] == ("-", "-", "0")
    assert "copying snapshots, 3 baselines" not in rows


def test_curves_are_those_of_the_replicate_and_its_baseline():
    record = MadeUp({"m": [2, 8], "training.lr": [1e-3, 1e-4]}, seeds=[3, 5], epochs=20)
    report = record.report()
    # the grid is shown in rising order: m, then lr
    run = report.explorer["cells"][1][1]
    cell = {"m": 2, "training.lr": 1e-3}
    (row,) = (r for r in record.details if r["kind"] == "cell" and r["cell"] == cell and r["seed"] == 5)
    np.testing.assert_allclose(run["train"][1], row["curve_train"], rtol=1e-4)
    np.testing.assert_allclose(run["jumps"][2], row["jump_test_after"], rtol=1e-4)
    assert run["jumps"][0] == list(range(2, 21, 2))
    baselines = [r for r in record.details if r["kind"] == "baseline"]
    own = baselines.index(next(r for r in baselines if r["cell"] == {"training.lr": 1e-3} and r["seed"] == 5))
    assert run["baseline"] == own
    np.testing.assert_allclose(report.explorer["baselines"][own]["train"][1], baselines[own]["curve_train"], rtol=1e-4)


def test_a_grid_of_one_axis_or_one_cell_is_shown():
    assert MadeUp({"s": [5, 10]}).report().explorer["x"] == "s"
    assert MadeUp({"m": [8]}).report().sensitivity_note.startswith("No shares: ")


def test_progress_is_told_for_every_replicate(made_up):
    told = []
    made_up.report(done=lambda done, total: told.append((done, total)))
    assert told == [(n, 75) for n in range(1, 76)]


def test_thinning_keeps_ends_and_peaks():
    y = np.random.default_rng(0).uniform(1, 2, 3000)
    y[1234], y[2345], y[17] = 9.0, 0.5, math.inf
    kept = thin(y, 100)
    assert len(kept) <= 100
    assert {0, 2999, 1234, 2345, 17} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    assert thin(y[:100], 100).tolist() == list(range(100))
    assert thin(y[:0], 100).tolist() == []


def test_curves_of_many_replicates_are_thinned_to_what_a_page_holds():
    assert points_per_curve(1) == 400
    assert 381 * 3 * points_per_curve(381) * 12 <= CURVE_BYTES
    assert points_per_curve(10**6) == 16


def test_numbers_are_shown_as_json_can_hold_them():
    numbers = [json_number(v) for v in (math.nan, math.inf, -math.inf, 1.23456789, 0.0)]
    assert numbers == [None, "inf", "-inf", 1.2346, 0.0]


def test_a_search_says_why_it_has_no_shares_and_a_grid_with_holes_what_it_lacks():
    record = MadeUp(
        {"m": [2, 8], "s": [5, 10]},
        status=lambda cell, seed: "missing" if cell["m"] > cell["s"] else "finished",
        reason="",
    )
    record.spec["design"] = "grid"
    assert "have no final_loss_ratio" in record.report().sensitivity_note
    record.spec["design"] = "search"
    assert record.report().sensitivity_note.startswith("No shares: a search")


def test_a_search_over_ranges_is_shown_cell_by_cell():
    drawn = {(8, 10, 1.5e-6), (2, 5, 3.25e-4), (14, 40, 1e-6)}
    axes = {"m": [2, 8, 14], "s": [5, 10, 40], "tolerance": [1e-6, 1.5e-6, 3.25e-4]}
    record = MadeUp(
        axes, status=lambda cell, seed: "finished" if tuple(cell.values()) in drawn else "missing", reason=""
    )
    # as many values as a search over ranges has, of which these were run
    many = {**axes, "tolerance": [*axes["tolerance"], *(1e-7 * k for k in range(11, 2500))]}
    record.spec["axes"] = {**many, "tolerance": {"from": 1e-6, "to": 1e-3, "log": True}}
    report = record.report(axes=many, replicates=9)
    (axis,) = report.explorer["axes"]
    assert axis["values"][1] == "m = 8, s = 10, tolerance = 1.5e-06"
    assert report.explorer["first"] == 1
    np.testing.assert_allclose(metric(report, "final_loss_ratio_train")["centre"][1], 0.6, rtol=1e-4)
    assert "with m = 8, s = 10, tolerance = 1.5e-06, training ends 40 % lower" in report.answer[0]
    assert report.explorer["recommended"] == 1
    assert ("axis tolerance", "1e-06 to 0.001") in report.provenance.rows
    assert report.sensitivity_note.startswith("No shares: a search")
    assert report.failures_note.endswith("Not run yet: 0.")
    assert [run["baseline"] for run in report.explorer["cells"][1]] == [0, 1, 2]
