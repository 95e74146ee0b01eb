"""Every figure that a user can get shows itself as the last line of a notebook's cell."""

import ast
import base64
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from problems.pollutant import figures as pollutant
from problems.pollutant.transport import Transport
from study import run
from study.analysis import (
    FIGURES,
    StudyData,
    compare_studies,
    draw_comparison,
    draw_drivers,
    draw_heatmaps,
    draw_sensitivity,
    draw_sobol,
    heatmap_data,
    options_for,
    sensitivity,
    sobol_indices,
)
from study.method_comparison.draw_standings import draw_standings
from study.method_comparison.standings import STEPS, TIME
from study.specification.axes import Range
from study.specification.saltelli import saltelli
from tests.study.method_comparison.test_standings import plainly, stands

ROOT = Path(__file__).parents[2]
BOTH = ("mean_relative_error_train", "mean_relative_error_test")
PNG = b"\x89PNG\r\n\x1a\n"


def shown(value):
    """Ask a value for its picture as a notebook does: of its class, without arguments; text if it has none."""
    for name in ("_repr_png_", "_repr_html_"):
        if (method := getattr(type(value), name, None)) is not None:
            return method(value)
    return repr(value)


@pytest.fixture
def data(make_table):
    table, axes, seeds = make_table(
        {"m": [2, 4], "s": [5, 10]}, lambda m, s: [0.9 - m / 100 + s / 1000 + k / 10000 for k in range(3)]
    )
    return StudyData("small", table, axes, seeds, list)


def assert_picture(figure):
    picture = shown(figure)
    assert picture.startswith(PNG)
    assert len(picture) > 5000  # more than an empty page


def test_all_figures_of_a_record(small, tmp_path):
    with run(small(), tmp_path, executor="inline") as record:
        drawn = record.figures()
        assert set(drawn) == set(FIGURES) - {"eigenvalues"}
        for figure in drawn.values():
            assert_picture(figure)
        assert_picture(record.heatmap())
        pictures = re.findall(r'<img alt="(\w+)" src="data:image/png;base64,([^"]+)">', shown(drawn))
        assert [name for name, _ in pictures] == list(drawn)
        assert all(base64.b64decode(text).startswith(PNG) for _, text in pictures)
        assert shown(record.report()).startswith("<iframe ")


def test_figures_of_statistics(data, make_table):
    assert_picture(draw_heatmaps(heatmap_data(data.table, data.axes, data.seeds, facet=None)))
    assert_picture(draw_sensitivity(sensitivity(data.table, data.axes, data.seeds), title="small"))
    assert_picture(draw_drivers(data, options_for(data))[1].figure)
    worse = StudyData("worse", data.table.assign(mean_relative_error_train=1.1), data.axes, data.seeds, list)
    assert_picture(draw_comparison(compare_studies(data, worse)))
    spectrum = pd.DataFrame({"epoch": [2, 2], "real": [0.9, 0.9], "imag": [0.1, -0.1]})
    watched = replace(data, spectrum=lambda cell, seed: spectrum)
    assert_picture(FIGURES["eigenvalues"](watched, options_for(watched)).figure)


def test_figures_of_sobol_indices():
    design = saltelli({"a": Range(0.0, 1.0), "b": Range(0.0, 1.0)}, 32)
    rows = [{**cell, "seed": 0, "status": "finished", **dict.fromkeys(BOTH, 0.5 + cell["a"])} for cell in design]
    table = pd.DataFrame(rows).drop_duplicates()
    axes = {axis: list(dict.fromkeys(table[axis])) for axis in ("a", "b")}
    assert_picture(draw_sobol(sobol_indices(table, design, axes, [0]), title="small"))


def test_figures_of_problems():
    transport = Transport(24, 10)
    for draw in (pollutant.one_at_a_time, pollutant.mesh_and_wind, pollutant.concentrations):
        assert_picture(draw(transport))


def test_figures_of_a_comparison_of_methods():
    ratios = {(unit, split): (0.5, 0.6) for unit in (STEPS, TIME) for split in ("train", "test")}
    standing = replace(stands([{**each, "kind": "cell"} for each in plainly()]), ratios=ratios)
    assert_picture(draw_standings("methods", {"quadratic": "condition 7"}, [standing]))


def test_nothing_makes_a_figure_that_shows_nothing():
    """A plain matplotlib figure of no window is only its name in a notebook."""
    plain = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("accel", "problems", "dashboards", "study")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Figure", "subplots")
    ]
    assert plain == []
