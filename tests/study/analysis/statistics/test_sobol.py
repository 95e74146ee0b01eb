"""Sobol' indices of functions whose indices are known, through the samples, the table and SALib."""

import math

import numpy as np
import pandas as pd
import pytest

from study.analysis import draw_sobol, sobol_indices
from study.specification.axes import Range
from study.specification.saltelli import saltelli

BOTH = ("mean_relative_error_train", "mean_relative_error_test")


@pytest.fixture
def table_of():
    """The table of a study that has trained a design: ``log_ratio(**cell)`` in every seed, plus ``noise`` (normal)."""

    def make(design, log_ratio, *, seeds=1, noise=0.0):
        draw = np.random.default_rng(7)
        cells = {tuple(cell.values()): cell for cell in design}.values()
        axes = {axis: list(dict.fromkeys(cell[axis] for cell in cells)) for axis in design[0]}
        rows = []
        for cell in cells:
            for seed in range(seeds):
                ratio = math.exp(log_ratio(**cell) + noise * draw.normal())
                rows.append({**cell, "seed": seed, "status": "finished", **dict.fromkeys(BOTH, ratio)})
        return pd.DataFrame(rows), design, axes, list(range(seeds))

    return make


def ishigami(x, y, z):
    """Ishigami & Homma 1990 with a = 7, b = 0.1, made small enough to stay below the cap."""
    return (math.sin(x) + 7 * math.sin(y) ** 2 + 0.1 * z**4 * math.sin(x)) / 10 - 1


CUBE = {axis: Range(-math.pi, math.pi) for axis in "xyz"}


def test_the_indices_of_ishigami_lie_within_their_intervals(table_of):
    found = sobol_indices(*table_of(saltelli(CUBE, 512), ishigami))
    # a^2/8 + b pi^4/5 + b^2 pi^8/18 + 1/2, in its parts
    of_x, of_y, of_xz = (1 + 0.1 * math.pi**4 / 5) ** 2 / 2, 49 / 8, 0.01 * math.pi**8 * 8 / 225
    parts = {"first": (of_x, of_y, 0), "total": (of_x + of_xz, of_y, of_xz), "second": (0, of_xz, 0)}
    for order, expected in parts.items():
        for index, part in zip(found.of(order), expected, strict=True):
            assert index.low <= part / (of_x + of_y + of_xz) <= index.high, index
            assert index.high - index.low < 0.5, index  # SALib's own at 512 samples; the second order's are widest
    assert [index.name for index in found.indices] == ["x", "y", "z", "x", "y", "z", "x × y", "x × z", "y × z"]
    assert (found.samples, found.cells, found.seeds, found.noise, found.cap) == (512, 4096, 1, None, 10.0)
    assert "One seed gives no estimate of noise" in found.notes[0]


def test_noise_is_estimated_and_lifts_totals_by_as_much(table_of):
    """The scatter of seeds, which differs from cell to cell, looks like an interaction of all axes."""
    found = sobol_indices(*table_of(saltelli(CUBE, 512), lambda x, y, z: x / 4, seeds=4, noise=0.5))
    # variances: of x / 4, and of the mean of four
    signal, noise = math.pi**2 / 48, 0.25 / 4
    # 1024 cells' variance is known to 4 % (one standard deviation, if normal)
    assert found.noise == pytest.approx(noise / (signal + noise), rel=0.15)
    for index in found.of("total")[1:]:
        assert index.value == pytest.approx(found.noise, rel=0.25)  # 512 pairs: 6 %
        assert index.low > 0
    assert abs(found.of("first")[1].value) < 0.15  # no axis alone: 512 products of sd sqrt(2 x 0.23 / 512) = 0.03
    assert f"The noise left by 4 seeds is {found.noise:.3f} of the variance. It is not subtracted" in found.notes[0]


def test_the_cap_stands_for_what_is_worse_or_diverged(table_of):
    table, *rest = table_of(saltelli(CUBE, 8), ishigami, seeds=2)
    spoiled, capped = table.copy(), table.copy()
    spoiled.loc[[0, 5], "mean_relative_error_train"] = [1e9, math.inf]
    spoiled.loc[7, ["status", "mean_relative_error_train"]] = ["diverged", math.nan]
    capped.loc[[0, 5, 7], "mean_relative_error_train"] = 10.0
    found, expected = sobol_indices(spoiled, *rest), sobol_indices(capped, *rest)
    assert found.indices == expected.indices  # and the bootstrap is the same at every call
    assert (found.n_capped, found.n_diverged, found.n_cells_at_cap) == (2, 1, 3)
    drawn = draw_sobol(found, title="a study")
    assert "3 cells have a replicate at the cap of 10" in drawn.legends[0].get_title().get_text().replace("\n", " ")


@pytest.mark.parametrize(("status", "words"), [("failed", "1 failed"), ("pruned", "1 pruned"), (None, "1 missing")])
def test_a_hole_leaves_no_indices(table_of, status, words):
    table, *rest = table_of(saltelli(CUBE, 4), ishigami, seeds=2)
    if status is None:
        table = table.drop(index=3)
    else:
        table.loc[3, ["status", "mean_relative_error_train"]] = [status, math.nan]
    with pytest.raises(ValueError, match=rf"1 of 64 replicates have no mean_relative_error \({words}\)"):
        sobol_indices(table, *rest)


def test_nothing_to_share_out_is_said(table_of):
    with pytest.raises(ValueError, match="the same in every sample"):
        sobol_indices(*table_of(saltelli(CUBE, 4), lambda **_: 0.0))
    with pytest.raises(ValueError, match="no replicates yet"):
        sobol_indices(pd.DataFrame(), saltelli(CUBE, 4), CUBE, [0])


def test_one_axis_has_no_pairs_and_whole_numbers_are_shared_cells(table_of):
    design = saltelli({"m": Range(1, 4), "s": [5]}, 16)
    found = sobol_indices(*table_of(design, lambda m, s: m / 4))
    assert (found.axes, found.cells, found.samples) == (("m",), 4, 16)
    assert [index.order for index in found.indices] == ["first", "total"]
    for index in found.indices:
        assert index.low <= 1 <= index.high
    assert len(draw_sobol(found, title="a study").axes) == 1
