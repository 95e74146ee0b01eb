import math

import numpy as np
import pandas as pd
import pytest

from study.analysis import sensitivity

AXES = {"m": [2, 4, 8], "s": [5, 10], "tolerance": [1e-6]}


def ratios(seed_effect=(1.0, 1.01, 0.99)):
    """Ratio = 1.5^log2(m) * 0.9^(s/5) * effect of the seed: additive in the logarithm."""
    return lambda m, s, **_: [1.5 ** math.log2(m) * 0.9 ** (s / 5) / 2 * e for e in seed_effect]


def test_shares_are_those_of_the_logarithm(make_table):
    found = sensitivity(*make_table(AXES, ratios()))
    of_m, of_s = np.var(np.log(1.5) * np.array([1, 2, 3])), np.var(np.log(0.9) * np.array([1, 2]))
    assert found.unavailable is None
    # The seeds' effect is the same in all cells, so sigma is rounding.
    assert found.shares["m"].share == pytest.approx(of_m / (of_m + of_s), abs=1e-12)
    assert found.shares["s"].share == pytest.approx(of_s / (of_m + of_s), abs=1e-12)
    assert found.shares["s", "m"].share == pytest.approx(0, abs=1e-12)
    assert found.axes == {"m": (2, 4, 8), "s": (5, 10)}
    assert (found.cells, found.seeds, found.cap, found.n_capped, found.n_diverged) == (6, 3, 10.0, 0, 0)
    assert found.diverged is None


def test_diverged_and_exploded_replicates_are_the_cap(make_table):
    spoiled = {(8, 10): ("diverged",) * 3, (2, 5): (0.5, 1e12, math.inf)}
    plain = ratios((1, 1, 1))
    table = make_table(AXES, lambda m, s, **_: spoiled.get((m, s)) or plain(m, s))
    capped = make_table(
        AXES, lambda m, s, **_: {(8, 10): (10.0,) * 3, (2, 5): (0.5, 10.0, 10.0)}.get((m, s)) or plain(m, s)
    )
    found, expected = sensitivity(*table), sensitivity(*capped)
    assert [s.share for s in found.shares.shares] == [s.share for s in expected.shares.shares]
    assert (found.n_capped, found.n_diverged, found.n_cells_at_cap) == (2, 3, 2)
    indicator = np.zeros((3, 2))
    indicator[2, 1] = 1
    rows, columns = indicator.mean(axis=1), indicator.mean(axis=0)
    assert found.diverged["m"].raw == pytest.approx(rows.var() / indicator.var(), rel=1e-12)
    assert found.diverged["s"].raw == pytest.approx(columns.var() / indicator.var(), rel=1e-12)
    assert set(found.frame()["of"]) == {"mean_relative_error", "diverged"}


@pytest.mark.parametrize(
    ("hole", "message"),
    [(None, "1 missing"), ("failed", "1 failed"), ("pruned", "1 pruned"), (math.nan, "1 without a")],
)
def test_a_grid_with_a_hole_has_no_indices_and_says_so(make_table, hole, message):
    values = ratios()
    table = make_table(AXES, lambda m, s, **_: [*values(m, s)[:2], hole] if (m, s) == (4, 5) else values(m, s))
    found = sensitivity(*table)
    assert found.shares is None
    assert found.curves == ()
    assert "1 of 18 replicates have no mean_relative_error" in found.unavailable
    assert message in found.unavailable
    assert sensitivity(*table, at={"s": 10}).unavailable is None  # the hole is elsewhere


def test_the_cells_of_a_search_are_no_grid_and_are_found_to_be_none_at_once(make_table):
    """Every cell of a search may have values of its own: their combinations are too many to look through."""
    table, axes, seeds = make_table({"m": [2, 4]}, lambda m: [0.9, 0.8, 0.7])
    many = {**{f"other{k}": list(range(1000)) for k in range(6)}, **axes}
    found = sensitivity(table.assign(**{f"other{k}": 7 for k in range(6)}), many, seeds)
    assert f"{6 * 10**18 - 6} of {6 * 10**18} replicates have no mean_relative_error" in found.unavailable


def test_studies_without_anything_to_share_out_say_so(make_table):
    assert "12 of 12 diverged" in sensitivity(*make_table({"m": [2, 4, 8, 9]}, lambda m: ["diverged"] * 3)).unavailable
    assert "same in every cell" in sensitivity(*make_table({"m": [2, 4]}, lambda m: [0.9] * 3)).unavailable
    zero = make_table({"m": [2, 4]}, lambda m: [0.0, 0.9, 0.9])
    assert "not positive in 2 replicates" in sensitivity(*zero).unavailable
    with pytest.raises(ValueError, match="no replicates yet"):
        sensitivity(pd.DataFrame(), AXES, [0])
    with pytest.raises(ValueError, match="needs an axis with two values or more; m and s have one each"):
        sensitivity(*make_table({"m": [2], "s": [5]}, lambda m, s: [0.9] * 3))
    with pytest.raises(ValueError, match=r"metric must be one of mean_relative_error.*; got 'loss'"):
        sensitivity(*make_table(AXES, ratios()), metric="loss")


@pytest.mark.parametrize(
    ("seeds", "words"), [(1, "One seed gives no estimate"), (2, "Two seeds"), (3, "3 seeds are too few for intervals")]
)
def test_few_seeds_are_said(make_table, seeds, words):
    found = sensitivity(*make_table(AXES, ratios((1.0, 1.1, 0.95)[:seeds]), seeds=range(seeds)))
    assert any(words in note for note in found.notes)
    assert (found.shares.noise is None) == (seeds == 1)
    assert (found.curves[0].low is None) == (seeds == 1)


def test_curves_are_means_over_the_other_axes(make_table):
    effects = np.array([0.9, 1.0, 1.1, 1.2, 1.05])
    found = sensitivity(*make_table(AXES, ratios(effects), seeds=range(5)))
    of_m, of_s = found.curves
    assert (of_m.axis, of_m.values, of_s.values) == ("m", (2, 4, 8), (5, 10))
    level = np.log(effects)
    expected = np.log([1.5, 1.5**2, 1.5**3]) + np.log(0.9) * 1.5 - np.log(2) + level.mean()
    assert np.log(of_m.mean) == pytest.approx(expected, rel=1e-12)
    # two-sided 95 % of Student's t with 4 degrees of freedom, from a table
    half = 2.776445 * level.std(ddof=1) / math.sqrt(5)
    assert np.log(of_m.high / of_m.mean) == pytest.approx([half] * 3, rel=1e-6)
    assert np.log(of_m.low / of_m.mean) == pytest.approx([-half] * 3, rel=1e-6)
    few = sensitivity(*make_table(AXES, ratios((0.9, 1.0, 1.1)))).curves[0]
    assert few.low / few.mean == pytest.approx([0.9 / np.cbrt(0.9 * 1.1)] * 3, rel=1e-12)


def test_a_metric_that_is_no_ratio_is_taken_as_it_is(make_table):
    table, axes, seeds = make_table(AXES, lambda m, s, **_: [m / 100, m / 100, "diverged" if m == 8 else m / 100])
    table["log_gain_per_epoch_train"] = [
        -math.inf if s == "diverged" else v
        for s, v in zip(table["status"], table["log_gain_per_epoch_train"], strict=True)
    ]
    found = sensitivity(table, axes, seeds, metric="log_gain_per_epoch")
    worst = 1 - 0.08  # the gain of the fixture is 1 - ratio
    assert (found.cap, found.n_capped, found.n_diverged) == (worst, 0, 2)
    assert found.curves[0].mean == pytest.approx([0.98, 0.96, 0.92], rel=1e-12)


def test_a_metric_per_jump_across_trainings_carries_a_warning(make_table):
    table = make_table({"m": [2, 4], "training.lr": [1e-4, 1e-3]}, lambda **p: [p["m"] * p["training.lr"]] * 3)
    assert any("easiest jumps" in note for note in sensitivity(*table).notes)
    assert sensitivity(*table, at={"training.lr": 1e-3}).at == {"training.lr": 1e-3}
    assert not any("easiest" in note for note in sensitivity(*table, at={"training.lr": 1e-3}).notes)
