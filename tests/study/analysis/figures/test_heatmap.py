import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from study.analysis import draw_heatmaps, heatmap_data, save_figure
from study.analysis.figures.style import colour_map, number_label
from study.replicates.metric_catalogue import METRICS

M, S = [2, 4, 8], [5, 10, 20, 40]


def values(m, s, tolerance):
    """One cell of each kind, the others finished."""
    if (m, s) == (2, 40):
        return ["diverged"] * 3
    if (m, s) == (4, 40):
        return [None] * 3
    if (m, s) == (8, 40):
        return ["failed"] * 3
    if (m, s) == (2, 5):
        return [0.7, "diverged", 0.8]
    return [1.2 - m * s / 200] * 3


@pytest.fixture
def data(make_table):
    table = make_table({"m": M, "s": S, "tolerance": [1e-6, 1e-3]}, values)
    cell = {"m": 4, "s": 5, "tolerance": 1e-6}
    return heatmap_data(*table, recommended=cell, recommended_as="best cell, but plain training wins")


@pytest.fixture
def figure(data):
    return draw_heatmaps(data)


def panels(figure):
    """Axes of the panels, without the colour bar's."""
    return figure.axes[:-1]


def legend_words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_panels_are_labelled_and_laid_out_as_in_the_paper(figure):
    axes = panels(figure)
    assert [a.get_title(loc="left") for a in axes] == [
        r"Training set, tolerance $\sigma_k/\sigma_0$ > 1e-06",
        r"Test set, tolerance $\sigma_k/\sigma_0$ > 1e-06",
        r"Training set, tolerance $\sigma_k/\sigma_0$ > 0.001",
        r"Test set, tolerance $\sigma_k/\sigma_0$ > 0.001",
    ]
    figure.draw_without_rendering()
    boxes = [a.get_position() for a in axes]
    assert boxes[0].x1 < boxes[1].x0  # train left of test
    assert boxes[0].y0 > boxes[2].y1  # one row per tolerance
    assert axes[0].get_ylabel() == "snapshots per jump $m$"
    assert axes[2].get_xlabel() == "horizon $s$ (steps)"


def test_title_names_the_metric_after_the_study(data):
    assert draw_heatmaps(data).get_suptitle() == "Mean relative error"
    assert draw_heatmaps(data, title="quick").get_suptitle() == "quick: mean relative error"


def test_m_rises_upwards_and_s_to_the_right(figure):
    for axes in panels(figure):
        assert axes.get_ylim() == (0, len(M))
        assert axes.get_xlim() == (0, len(S))
        assert [(t, label.get_text()) for t, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)] == [
            (0.5, "2"),
            (1.5, "4"),
            (2.5, "8"),
        ]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "10", "20", "40"]


def test_cells_are_drawn_where_their_ticks_are(figure, data):
    for axes, panel in zip(panels(figure), data.panels, strict=True):
        mesh = axes.collections[0]
        drawn = np.ma.filled(mesh.get_array().reshape(len(M), len(S)), math.nan)
        np.testing.assert_array_equal(drawn, np.where(np.isfinite(panel.values), panel.values, math.nan))
        words = {text.get_position(): text.get_text() for text in axes.texts}
        assert words[1.5, 2.5] == number_label(panel.values[2, 1])


def test_all_panels_share_one_scale_centred_at_one(figure, data):
    norms = [axes.collections[0].norm for axes in panels(figure)]
    for norm in norms:
        assert isinstance(norm, LogNorm)
        assert (norm.vmin, norm.vmax) == data.limits
        # The middle of the map is the neutral colour; one rounding of the logarithms.
        assert norm(1.0) == pytest.approx(0.5, abs=1e-12)
    bar = figure.axes[-1]
    assert bar.get_ylim() == pytest.approx(data.limits)
    assert "below 1: better, above 1: worse" in bar.get_ylabel().replace("\n", " ")


@pytest.mark.parametrize(
    ("metric", "values", "extend"),
    [
        ("mean_relative_error", (0.7, 0.8, 1.3, 1.2), "neither"),
        ("mean_relative_error", (0.7, 0.8, 1.3, 90.0), "max"),
        ("log_gain_per_epoch", (0.7, 0.8, 1.3, 1.2), "neither"),
        ("log_gain_per_epoch", (0.7, 0.8, 1.3, 90.0), "min"),
    ],
)
def test_an_arrow_on_the_colour_bar_where_values_lie_beyond(make_table, metric, values, extend):
    table = make_table({"m": [2, 4], "s": [5, 10]}, lambda m, s: [values[m // 2 - 1 + s // 5 * 2 - 2]] * 3)
    figure = draw_heatmaps(heatmap_data(*table, metric=metric))
    assert panels(figure)[0].collections[0].colorbar.extend == extend


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.94321, "0.943"),
        (12.34, "12.3"),
        (747.4, "747"),
        (52345.0, "5e4"),
        (-0.00441, "-.0044"),
        (2.04e-5, "2e-5"),
        (0.0, "0.000"),
        (math.nan, ""),
    ],
)
def test_numbers_in_cells_are_short(value, label):
    assert number_label(value) == label


def test_better_is_blue_and_darkest_in_grey():
    lower, higher = colour_map(METRICS["mean_relative_error"]), colour_map(METRICS["log_gain_per_epoch"])
    for better, worse in ((lower(0.0), lower(1.0)), (higher(1.0), higher(0.0))):
        assert better[2] > better[0]
        assert worse[0] > worse[2]
        assert np.dot(better[:3], [0.3, 0.59, 0.11]) < np.dot(worse[:3], [0.3, 0.59, 0.11]) - 0.2
    assert min(lower(0.5)[:3]) > 0.9


def test_lowest_cell_of_each_panel_is_outlined_and_the_recommended_cell_is_starred(figure, data):
    for axes, panel in zip(panels(figure), data.panels, strict=True):
        assert (panel.lowest, panel.recommended) == ((2, 2), (1, 0) if panel.facets == {"tolerance": 1e-6} else None)
        outlines = [p for p in axes.patches if isinstance(p, Rectangle) and not p.get_fill()]
        assert {p.get_xy() for p in outlines} == {(2, 2)}
        stars = [line for line in axes.lines if line.get_marker() == "*"]
        places = [(math.floor(star.get_xdata()[0]), math.floor(star.get_ydata()[0])) for star in stars]
        assert places == ([(0, 1)] if panel.recommended else [])


def test_cells_without_a_number_are_hatched_by_their_state(figure):
    for axes in panels(figure):
        hatched = {p.get_xy(): p.get_hatch() for p in axes.patches if p.get_hatch()}
        assert set(hatched) == {(3, 0), (3, 1), (3, 2)}
        assert len(set(hatched.values())) == 3
        assert (0.95, 0.06, "2/3") in [(*t.get_position(), t.get_text()) for t in axes.texts]
    words = legend_words(figure)
    assert words == [
        "best cell, but plain training wins",
        "lowest value of a panel, by the training set",
        "seeds with a value / all seeds",
        "diverged (half of its seeds or more)",
        "failed",
        "not run yet",
    ]
    assert figure.legends[0].get_title().get_text() == "Each cell: median over 3 seeds."


def test_an_infinite_metric_is_explained(make_table):
    table, axes, seeds = make_table({"m": M, "s": S}, lambda m, s: [math.inf if s == 40 else 0.9], seeds=(0,))
    table["steps_to_baseline_loss"] = table["mean_relative_error_train"]
    assert "finished, value not finite" in legend_words(draw_heatmaps(heatmap_data(table, axes, seeds)))
    steps = heatmap_data(table, axes, seeds, metric="steps_to_baseline_loss")
    assert "finished, loss not reached" in legend_words(draw_heatmaps(steps))


def test_legend_names_only_what_is_in_the_picture(make_table):
    table = make_table({"m": M, "s": S}, lambda m, s: [m / s], seeds=(0,))
    figure = draw_heatmaps(heatmap_data(*table))
    assert legend_words(figure) == ["lowest value of a panel, by the training set"]
    assert figure.legends[0].get_title().get_text() == "Each cell: 1 seed."


def test_the_colour_bar_says_above_one_where_higher_is_better(make_table):
    table, axes, seeds = make_table({"m": M, "s": S}, lambda m, s: [m / s], seeds=(0,))
    table["model_speedup"] = table["mean_relative_error_train"]
    figure = draw_heatmaps(heatmap_data(table, axes, seeds, metric="model_speedup"))
    assert "above 1: better, below 1: worse" in figure.axes[-1].get_ylabel().replace("\n", " ")


def test_a_line_divides_better_from_worse(make_table):
    figure = draw_heatmaps(
        heatmap_data(*make_table({"m": [2, 4], "s": [5, 10]}, lambda m, s: [0.9 if s == 5 else 1.1] * 3))
    )
    for axes in panels(figure):
        segments = [segment.tolist() for segment in axes.collections[1].get_segments()]
        assert segments == [[[1, 0], [1, 1]], [[1, 1], [1, 2]]]


def test_a_large_grid_has_fewer_labels_and_no_numbers(make_table):
    axes = {"m": list(range(2, 21)), "s": list(range(5, 101, 5)), "tolerance": [1e-10]}
    figure = draw_heatmaps(heatmap_data(*make_table(axes, lambda m, s, tolerance: [1 - m * s / 4000], seeds=(0,))))
    panel = panels(figure)[0]
    levels = [float(text.get_text()) for text in panel.texts]
    assert levels  # of the level lines, in place of numbers in cells
    assert set(levels) < set(figure.axes[-1].yaxis.get_majorticklocs().round(6))
    assert [label.get_text() for label in panel.get_xticklabels()] == [str(s) for s in range(10, 101, 10)]
    assert [label.get_text() for label in panel.get_yticklabels()] == [str(m) for m in range(2, 21, 2)]
    # No label runs into the next.
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in panel.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_a_grid_of_very_many_cells_stays_a_page_of_some_size(make_table, tmp_path):
    """Of noise, the worst of them: a path for every cell and a label for every bump would take a minute to draw."""
    draw = np.random.default_rng(0)
    axes = {"m": list(range(2, 102)), "s": list(range(1, 101))}
    table = make_table(axes, lambda m, s: [0.5 + draw.random()], seeds=(0,))
    figure = draw_heatmaps(heatmap_data(*table))
    assert max(figure.get_size_inches()) < 25
    assert [len(panel.texts) for panel in panels(figure)] == [0, 0]
    save_figure(figure, tmp_path, "large")
    written = (tmp_path / "large.svg").read_text()
    assert written.count("<path") < 1000  # of 20,000 cells
    assert written.count("<image") == 3  # of each panel, with the line between its cells, and of the colour bar


def test_a_level_that_is_a_few_lines_is_labelled_beside_one_that_is_noise(make_table):
    draw = np.random.default_rng(0)
    axes = {"m": list(range(2, 42)), "s": list(range(1, 41))}
    table = make_table(axes, lambda m, s: [0.5 if m < 20 else 1.25 + 0.02 * draw.normal()], seeds=(0,))
    panel = panels(draw_heatmaps(heatmap_data(*table)))[0]
    levels = {float(text.get_text()) for text in panel.texts}
    assert 0.75 in levels
    assert 1.25 not in levels


@pytest.mark.parametrize("metric", ["mean_relative_error", "log_gain_per_epoch", "overhead", "seconds"])
def test_nothing_leaves_the_page(make_table, metric):
    table = make_table({"m": M, "s": S, "tolerance": [1e-6]}, values)
    figure = draw_heatmaps(heatmap_data(*table, metric=metric))
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_chosen_values_of_other_axes_are_in_the_caption(make_table):
    table = make_table({"m": M, "s": S, "training.lr": [1e-4, 1e-3]}, lambda **_: [0.9] * 3)
    figure = draw_heatmaps(heatmap_data(*table, at={"training.lr": 1e-3}))
    assert "learning rate = 0.001" in figure.legends[0].get_title().get_text()


def test_files_are_written_whole_and_the_numbers_beside_them(figure, data, tmp_path):
    folder = tmp_path / "figures"
    paths = save_figure(figure, folder, "heatmap", frame=data.frame())
    assert sorted(path.name for path in folder.iterdir()) == [
        "heatmap.csv",
        "heatmap.pdf",
        "heatmap.png",
        "heatmap.svg",
    ]
    assert {path.name for path in paths} == {path.name for path in folder.iterdir()}
    assert (folder / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "heatmap.pdf").read_bytes().startswith(b"%PDF")
    read = pd.read_csv(folder / "heatmap.csv")
    pd.testing.assert_frame_equal(read, data.frame(), check_dtype=False, check_exact=True)


def test_a_failed_write_leaves_the_old_file(figure, data, tmp_path, monkeypatch):
    save_figure(figure, tmp_path, "heatmap")
    before = (tmp_path / "heatmap.png").read_bytes()

    def full(path, **_):
        path.write_bytes(b"torn")
        raise OSError("no space left")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(OSError, match="no space left"):
        save_figure(figure, tmp_path, "heatmap")
    assert (tmp_path / "heatmap.png").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["heatmap.pdf", "heatmap.png", "heatmap.svg"]


def test_a_figure_is_laid_out_once_for_all_its_files(figure, tmp_path, monkeypatch):
    layout, laid_out = figure.get_layout_engine(), []
    real = layout.execute
    monkeypatch.setattr(layout, "execute", lambda figure: (laid_out.append(figure), real(figure)))
    save_figure(figure, tmp_path, "heatmap")
    assert laid_out == [figure]
    assert figure.get_layout_engine() is layout  # whoever changes and saves it again has it laid out anew


def test_the_same_data_give_the_same_bytes(data, tmp_path):
    for name in ("one", "two"):
        save_figure(draw_heatmaps(data), tmp_path / name, "heatmap", frame=data.frame())
    for kind in ("svg", "pdf", "png", "csv"):
        assert (tmp_path / "one" / f"heatmap.{kind}").read_bytes() == (
            tmp_path / "two" / f"heatmap.{kind}"
        ).read_bytes()


def test_analysis_needs_no_scheduler_and_no_window():
    code = (
        "import sys, study.analysis, matplotlib.pyplot as plt;"
        "print(plt.get_fignums(), [name for name in ('ray', 'optuna', 'torch', 'skfem') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == "[] []"
