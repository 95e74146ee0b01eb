"""The figures beside the heatmaps, on made-up studies: what they show, and what they say where they show nothing."""

import math
from dataclasses import replace
from itertools import count, product

import matplotlib
import numpy as np
import pandas as pd
import pytest

from study.analysis import FIGURES, FigureOptions, StudyData, draw_all, options_for
from study.analysis.figures.curves import cost_axis
from study.analysis.figures.style import RC, axis_label
from study.analysis.statistics.heatmap_data import heatmap_data, spread_data

AXES = {"m": [2, 4], "s": [5, 10, 20], "tolerance": [1e-6]}
EPOCHS = 8


def row(kind, cell, seed, *, status="finished", stacked=1, per_jump=50.0):
    """A replicate as the record gives it: 8 epochs of 100 operations and 1 second, a jump every m epochs."""
    m = cell.get("m")
    at = [] if m is None else list(range(m, EPOCHS + 1, m))
    epochs = list(range(EPOCHS + 1))
    curve = [(1 + seed) * 0.5**e for e in epochs]
    return {
        "kind": kind,
        "cell": cell,
        "seed": seed,
        "status": status,
        "epoch": EPOCHS,
        "steps": EPOCHS,
        "stacked": stacked,
        "groups": ["a", "b"] if at else [],
        "jump_epoch": at,
        "jump_train_before": [1.0, math.nan, 1.0, 1.0][: len(at)],
        "jump_train_after": [0.5, math.nan, 2.5, math.nan][: len(at)],
        "jump_accepted": [k == 0 for k in range(len(at))],
        "jump_outcome": ["accepted", "rejected_residual", "rejected_loss", "not_finite"][: len(at)],
        "jump_s": [5] * len(at),
        "jump_rank": [[1 + k, 2] for k in range(len(at))],
        "jump_spectral_radius": [[0.9, 1.1 + k] for k in range(len(at))],
        **{f"curve_{split}_epoch": epochs for split in ("train", "test")},
        **{f"curve_{split}": curve for split in ("train", "test")},
        "final_epoch": float(EPOCHS),
        **{f"final_loss_{split}": curve[-1] for split in ("train", "test")},
        "flops_training": 100.0 * EPOCHS,
        "flops_jumps": per_jump * len(at),
        "seconds_training": 1.0 * EPOCHS,
        "seconds_jumps": 0.25 * len(at),
    }


@pytest.fixture
def study(make_table):
    """Metric and final loss ratio have their best at different cells; every replicate has its rows."""

    def make(
        values=lambda m, s, **_: [0.9 - m / 100 + s / 1000 + k / 10000 for k in range(3)], axes=AXES, **row_options
    ):
        table, axes, seeds = make_table(
            axes,
            values,
            final_loss_ratio=lambda m=2, s=5, **_: 1.4 - m / 10 - s / 100,
            overhead=lambda m=2, **_: 1 + m / 100,
        )
        table["final_epoch"] = float(EPOCHS)
        table["final_loss_train"] *= (1 + table["seed"]) * 0.5**EPOCHS  # times the loss of the baseline
        cells = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        rows = [row("baseline", {}, seed) for seed in seeds]
        rows += [row("cell", cell, seed, **row_options) for cell in cells for seed in seeds]
        spectrum = pd.DataFrame({"epoch": [2, 2, 4], "real": [0.9, 0.9, 3.0], "imag": [0.1, -0.1, 0.0]})
        return StudyData("small", table, axes, seeds, lambda: rows, spectrum=lambda cell, seed: spectrum)

    return make


def draw(name, data, **options):
    return FIGURES[name](data, FigureOptions(**options))


def test_eigenvalues_are_drawn_only_where_they_may_be_made(study):
    data = study()
    caption = draw("eigenvalues", data).figure.get_supxlabel().replace("\n", " ")
    assert "1 of 3 eigenvalues lie outside the picture" in caption
    with pytest.raises(ValueError, match=r"not recorded; .dmd-study figures --only eigenvalues. trains a cell anew"):
        draw("eigenvalues", StudyData("small", data.table, data.axes, data.seeds, data.rows))


def words(figure):
    legend = figure.legends[0]
    return [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]


def test_every_figure_is_drawn_from_a_full_study(study):
    drawn = dict(draw_all(study(), FigureOptions()))
    assert list(drawn) == ["heatmap", "spread", "slices", "sensitivity", "curves", "jumps", "plane", "eigenvalues"]
    for name, picture in drawn.items():
        assert not isinstance(picture, ValueError), (name, picture)
        assert picture.stem == name
        assert picture.figure.get_suptitle().startswith("small: ")
        assert len(picture.frame) > 0


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_leaves_the_page(study, name):
    figure = draw(name, study()).figure
    with matplotlib.rc_context(RC):  # as it is saved
        figure.draw_without_rendering()
    page = figure.bbox
    shown = [*figure.legends, *(axes for axes in figure.axes)]
    shown += [figure._suptitle]
    for artist in shown:
        box = artist.get_window_extent() if artist in figure.legends else artist.get_tightbbox()
        assert page.x0 - 1 <= box.x0, artist
        assert page.x1 + 1 >= box.x1, artist
        assert page.y0 - 1 <= box.y0, artist
        assert page.y1 + 1 >= box.y1, artist


def test_an_empty_and_an_all_diverged_study_are_said_in_words(study, make_table):
    nothing = StudyData("small", pd.DataFrame(), AXES, [0, 1, 2], list)
    for name, reason in draw_all(nothing, FigureOptions()):
        assert isinstance(reason, ValueError), name
        assert "no replicates yet" in str(reason), name
    for name, reason in draw_all(study(lambda **_: ["diverged"] * 3), FigureOptions()):
        assert isinstance(reason, ValueError), name
        assert any(words in str(reason) for words in ("diverged", "no cell has")), (name, reason)


def test_unknown_metrics_and_axes_are_named_with_those_there_are(study):
    for name in ("heatmap", "spread", "slices", "sensitivity"):
        with pytest.raises(
            ValueError, match=r"metric must be one of mean_relative_error.*final_loss_ratio.*; got 'speed'"
        ):
            draw(name, study(), metric="speed")
    for name in FIGURES:
        with pytest.raises(ValueError, match=r"at must name an axis of the study \(m, s, tolerance\); got 'lr'"):
            draw(name, study(), at={"lr": 1e-3})
    with pytest.raises(ValueError, match="slices need an axis with two values or more; m has one"):
        draw("slices", study(lambda **_: [0.9] * 3, axes={"m": [2]}))


def test_slices_run_through_the_best_cell(study):
    picture = draw("slices", study())
    frame = picture.frame
    along_s = frame[(frame["axis"] == "s") & (frame["split"] == "train")]
    assert along_s["m"].tolist() == [4, 4, 4]  # of the recommended cell, m = 4 and s = 20
    assert along_s["centre"].tolist() == pytest.approx([0.9 - 0.04 + s / 1000 + 0.0001 for s in (5, 10, 20)], rel=1e-12)
    assert along_s["low"].tolist() == pytest.approx([0.86 + s / 1000 for s in (5, 10, 20)], rel=1e-12)
    assert "recommended cell: m = 4, s = 20, tolerance = 1e-06" in words(picture.figure)
    assert "lowest to highest" in words(picture.figure)[0]
    elsewhere = draw("slices", study(), at={"s": 5})
    assert "lowest value: m = 4, s = 5, tolerance = 1e-06" in words(elsewhere.figure)


def test_slices_have_intervals_from_five_seeds_on(make_table):
    values = [0.8, 0.9, 1.0, 0.85, 0.95]
    table, axes, seeds = make_table({"m": [2, 4]}, lambda m: [v + (m == 4) for v in values], seeds=range(5))
    frame = draw("slices", StudyData("small", table, axes, seeds, list)).frame
    first = frame[frame["split"] == "train"].iloc[0]
    logs = np.log(values)
    half = 2.776445 * logs.std(ddof=1) / math.sqrt(5)  # two-sided 95 % of Student's t with 4 degrees of freedom
    assert math.log(first["low"]) == pytest.approx(logs.mean() - half, rel=1e-5)
    assert math.log(first["high"]) == pytest.approx(logs.mean() + half, rel=1e-5)


def test_a_metric_per_jump_needs_one_training_chosen(make_table):
    axes = {"m": [2, 4], "training.lr": [1e-4, 1e-3]}
    table, axes, seeds = make_table(axes, lambda **p: [0.9 - p["m"] / 100] * 3)
    data = StudyData("small", table, axes, seeds, list)
    with pytest.raises(ValueError, match=r"choose one value with at: training\.lr: 0\.0001, 0\.001"):
        draw("slices", data)
    frame = draw("slices", data, at={"training.lr": 1e-3}).frame
    assert frame["axis"].unique().tolist() == ["m"]


def slices_of(make_table, along_m, along_s):
    """Slices of a metric whose best cell is the first of both axes."""
    axes = {"m": list(range(len(along_m))), "s": list(range(len(along_s)))}
    table, axes, seeds = make_table(axes, lambda m, s: [along_m[m] * along_s[s]] * 3)
    table["mean_relative_error_test"] = table["mean_relative_error_train"]
    return draw("slices", StudyData("small", table, axes, seeds, list)).figure


@pytest.mark.parametrize(
    ("along_m", "along_s", "apart"),
    [
        ([0.5, 0.6, 0.8], [1.0, 1.1, 1.15], [False, True]),  # log 1.15 is less than a third of log 1.6
        ([0.5, 0.6, 0.8], [1.0, 1.1, 1.2], [False, False]),
        ([0.5, 0.505, 0.51], [1.0, 1.5, 3.0], [True, False]),
        ([0.5, 0.502, 0.504], [1.0, 1.5, 3.0], [False, False]),  # less than one per cent is no effect to enlarge
        ([0.5, 0.502, 0.501], [1.0, 1.001, 1.002], [False, False]),
    ],
)
def test_a_small_effect_has_a_scale_of_its_own(make_table, along_m, along_s, apart):
    figure = slices_of(make_table, along_m, along_s)
    panels = figure.axes
    assert [panel.get_title(loc="left") == "scale of its own" for panel in panels] == apart
    assert ("unless they say otherwise" in words(figure)[0].replace("\n", " ")) == any(apart)
    for panel, alone, values in zip(panels, apart, (along_m, along_s), strict=True):
        low, high = panel.get_ylim()
        points = [0.5 * v / values[0] for v in values]
        assert low < min(points) < max(points) < high
        if alone:
            assert math.log(high / low) == pytest.approx(1.12 * math.log(max(points) / min(points)), rel=1e-9)
    shared = {panel.get_ylim() for panel, alone in zip(panels, apart, strict=True) if not alone}
    assert len(shared) == 1
    labelled = [panel.yaxis.get_tick_params()["labelleft"] for panel in panels]
    assert labelled == ([True, False] if not any(apart) else [True, True])


def test_points_outside_the_scale_are_arrows_with_their_values(make_table):
    figure = slices_of(make_table, [0.5, 0.7], [1.0, 400.0, 5e5])
    panel = figure.axes[1]
    arrows = [line for line in panel.get_lines() if line.get_marker() == "^"]
    assert [round(float(line.get_xdata()[0])) for line in arrows] == [1, 2, 1, 2]  # of the training and the test set
    assert {float(line.get_ydata()[0]) for line in arrows} == {0.98}
    assert [text.get_text() for text in panel.texts] == ["200", "2e5"] * 2
    assert panel.get_ylim()[1] < 200
    assert "outside the scale, with its value" in words(figure)
    assert not any(line.get_marker() == "^" for line in figure.axes[0].get_lines())
    inside = slices_of(make_table, [0.5, 0.7], [1.0, 40.0])
    assert "outside the scale, with its value" not in words(inside)


def test_slices_of_several_trainings_show_a_metric_that_compares_them(make_table):
    axes = {"training.lr": [1e-4, 1e-3], "network.hidden": [(4,), (6, 6)]}
    table, axes, seeds = make_table(
        axes, lambda **_: [0.9] * 3, final_loss_ratio=lambda **p: 0.9 - 100 * p["training.lr"]
    )
    data = StudyData("small", table, axes, seeds, list)
    picture = FIGURES["slices"](data, options_for(data))
    assert picture.stem == "slices_final_loss_ratio"
    assert picture.frame["axis"].unique().tolist() == ["training.lr", "network.hidden"]
    labels = [label.get_text() for label in picture.figure.axes[1].get_xticklabels()]
    assert labels == ["[4]", "[6, 6]"]
    with pytest.raises(ValueError, match="comparable only within one problem, network and training"):
        FIGURES["slices"](data, options_for(data, metric="mean_relative_error"))
    unknown = replace(data, table=table.assign(final_loss_ratio_train=math.nan))  # as in a study of probes
    with pytest.raises(ValueError, match="comparable only within"):
        FIGURES["slices"](unknown, options_for(unknown))


@pytest.mark.parametrize(
    ("axes", "shape", "panels"),
    [
        ({"training.lr": [1e-3, 1e-2, 0.1]}, (1, 3), [{}]),
        ({"tolerance": [1e-10, 1e-3]}, (1, 2), [{}]),
        ({"network.hidden": [(4,), (6, 6)], "form": ["state", "displacement"]}, (2, 2), [{}]),
        ({"m": [4], "s": [5], "training.batch": ["full", 2, 8]}, (1, 3), [{}]),
        (
            {"a": [1, 2], "b": [1, 2, 3], "form": ["state", "displacement"], "c": [True, False]},
            (2, 3),
            [{"form": form, "c": c} for form in ("state", "displacement") for c in (True, False)],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_any_axes_have_all_figures(study, axes, shape, panels):
    number = count()
    data = study(lambda **_: [0.9 + next(number) / 100 for _ in range(3)], axes=axes)
    options = options_for(data)
    drawn = dict(draw_all(data, options))
    left_out = [name for name, picture in drawn.items() if isinstance(picture, ValueError)]
    assert left_out == ([] if "m" in axes else ["jumps"])  # the made-up replicates jump every m epochs
    heatmaps = heatmap_data(data.table, axes, data.seeds, x=options.x, y=options.y, facet=options.facet)
    assert heatmaps.panels[0].values.shape == shape
    assert [panel.facets for panel in heatmaps.panels[::2]] == panels
    figure = drawn["heatmap"].figure
    assert len(figure.axes) == 2 * len(panels) + 1
    assert figure.axes[0].get_ylabel() == (axis_label(options.y) if options.y else "")


def test_too_many_panels_and_none_are_left_out_with_the_way_to_go_on(study):
    axes = {name: [1, 2, 3, 4, 5] for name in "abcd"}
    reason = dict(draw_all(study(lambda **_: [0.9] * 3, axes=axes), FigureOptions(x="a", y="b", facet=None)))["heatmap"]
    assert "shows a and b, with up to 16 rows of panels for the other axes, which have 5 x 5 values" in str(reason)
    assert "choose values with at: c: 1, 2, 3, 4, 5; d:" in str(reason)
    single = study(axes={"m": [2], "s": [5]})
    for name in ("heatmap", "spread", "slices", "sensitivity"):
        with pytest.raises(ValueError, match="an axis with two values or more; m and s have one each"):
            FIGURES[name](single, options_for(single))
    full = study()
    with pytest.raises(ValueError, match="a heatmap needs an axis with two values or more"):
        FIGURES["heatmap"](full, options_for(full, at={"m": 2, "s": 5}))


def test_labels_that_would_touch_are_turned(study):
    words = ["projected", "least_squares", "literal", "displacement", "state", "exact", "clip", "drop"]
    data = study(lambda **_: [0.9] * 3, axes={"rule": words})
    for panel in (FIGURES[name](data, options_for(data)).figure.axes[0] for name in ("heatmap", "slices")):
        assert {label.get_rotation() for label in panel.get_xticklabels()} == {40}
    data = study(lambda **_: [0.9] * 3, axes={"rule": words[-2:]})
    assert {t.get_rotation() for t in FIGURES["heatmap"](data, options_for(data)).figure.axes[0].get_xticklabels()} == {
        0
    }


def test_curves_show_plain_training_the_recommended_cell_and_the_lowest_error_per_jump(study):
    picture = draw("curves", study())
    assert picture.frame["line"].unique().tolist() == ["baseline", "recommended cell", "lowest error per jump"]
    best = picture.frame[picture.frame["line"] == "recommended cell"]
    assert best[["m", "s"]].drop_duplicates().values.tolist() == [[4, 20]]
    labels = [axes.get_xlabel() for axes in picture.figure.axes]
    assert [label.split("\n")[0] for label in labels if label] == ["epochs", "step equivalents", "seconds"]
    chosen = draw("curves", study(), at={"m": 2, "s": 5, "tolerance": 1e-6}).frame
    assert chosen["line"].unique().tolist() == ["baseline", "chosen"]
    elsewhere = draw("curves", study(), at={"s": 5}).frame
    assert elsewhere["line"].unique().tolist() == ["baseline", "lowest final loss ratio"]


def test_curves_show_the_best_plain_training_that_no_cell_has(study):
    data = study()
    better = [row("baseline", {"training.lr": 0.1}, seed) for seed in data.seeds]
    for each in better:
        each["curve_train"] = [loss / 10 for loss in each["curve_train"]]
        each["final_loss_train"] /= 10
    frame = draw("curves", replace(data, rows=lambda: [*data.details, *better])).frame
    assert frame["line"].unique().tolist()[:2] == ["best plain training", "baseline"]
    assert len(frame[(frame["line"] == "best plain training") & (frame["split"] == "train")]) == 3 * (EPOCHS + 1)
    assert len(frame[(frame["line"] == "baseline") & (frame["split"] == "train")]) == 3 * (EPOCHS + 1)


def test_wall_time_is_shown_only_where_replicates_were_timed_alone(study):
    picture = draw("curves", study(stacked=4))
    assert "seconds" not in [axes.get_xlabel().split("\n")[0] for axes in picture.figure.axes]
    assert "No wall time" in words(picture.figure)[0]
    assert picture.frame.loc[picture.frame["line"] != "baseline", "seconds"].isna().all()


def test_the_cost_of_a_jump_falls_where_it_happened():
    one = row("cell", {"m": 4}, 0)  # jumps of 50 operations, half a step's, after epochs 4 and 8
    epochs = np.arange(9.0)
    assert cost_axis(one, epochs, "epoch").tolist() == list(range(9))
    assert cost_axis(one, epochs, "step_equivalents").tolist() == [0, 1, 2, 3, 4.5, 5.5, 6.5, 7.5, 9]
    assert cost_axis(one, epochs, "seconds").tolist() == [0, 1, 2, 3, 4.25, 5.25, 6.25, 7.25, 8.5]
    minibatch = {**one, "steps": 5 * EPOCHS}
    assert cost_axis(minibatch, epochs, "step_equivalents").tolist() == [
        5 * x for x in [0, 1, 2, 3, 4.5, 5.5, 6.5, 7.5, 9]
    ]


def test_a_diverged_seed_ends_in_a_cross(study):
    data = study()
    rows = list(data.rows())
    ended = next(r for r in rows if r["kind"] == "cell" and (r["cell"]["m"], r["cell"]["s"], r["seed"]) == (4, 20, 1))
    ended["status"], ended["curve_train"] = "diverged", [1.0, 0.5, 4.0, *[math.inf] * 6]
    picture = draw("curves", StudyData("small", data.table, data.axes, data.seeds, lambda: rows))
    crosses = [line for line in picture.figure.axes[0].get_lines() if line.get_marker() == "x"]
    assert [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in crosses] == [([2.0], [4.0])]
    assert "Cross: a seed diverged there" in words(picture.figure)[0]


def test_jumps_are_shown_as_proposed_accepted_or_not(study):
    picture = draw("jumps", study(), at={"m": 2, "s": 5, "tolerance": 1e-6})
    frame = picture.frame
    one = frame[(frame["seed"] == 0) & (frame["group"] == "b")]
    assert one["epoch"].tolist() == [2, 4, 6, 8]
    # taken; rejected unseen; judged and rejected, the last with a loss that is not a number
    assert one["outcome"].tolist() == ["accepted", "rejected_residual", "rejected_loss", "not_finite"]
    assert one["accepted"].tolist() == [True, False, False, False]
    assert one["proposed_ratio"].tolist() == pytest.approx([0.5, math.nan, 2.5, math.inf], nan_ok=True)
    assert one["spectral_radius"].tolist() == [1.1, 2.1, 3.1, 4.1]
    assert frame[frame["group"] == "a"]["rank"].tolist() == [1, 2, 3, 4] * 3
    reasons = ("residual too large", "loss not low enough", "not finite")
    assert {"accepted", *(f"rejected: {why}" for why in reasons), "group a"} <= set(words(picture.figure))
    drawn = [line for line in picture.figure.axes[0].get_lines() if len(line.get_xdata())]
    places = {(line.get_marker(), line.get_xdata()[0], line.get_ydata()[0]) for line in drawn}
    # one shape each; what has no ratio lies on the lower edge, what is not finite on the upper one
    assert {("o", 2, 0.5), ("s", 4, 0.03), ("D", 6, 2.5), ("^", 8, 0.98)} <= places


def test_groups_have_the_names_of_their_layers_and_older_ones_their_paths(study):
    data, at = study(), {"m": 2, "s": 5, "tolerance": 1e-6}
    rows = [{**each, "groups": ["Linear 6→20", "Linear 20→1"] if each["groups"] else []} for each in data.details]
    figure = draw("jumps", replace(data, rows=lambda: rows), at=at).figure
    assert {"Linear 6→20", "Linear 20→1"} <= set(words(figure))
    old = [{**each, "groups": ["0.weight", "model"] if each["groups"] else []} for each in data.details]
    assert {"group 0.weight", "group model"} <= set(words(draw("jumps", replace(data, rows=lambda: old), at=at).figure))


def test_the_steps_of_the_best_candidates_are_shown_where_they_differ(study):
    at = {"m": 2, "s": 5, "tolerance": 1e-6}
    assert len(draw("jumps", study(), at=at).figure.axes) == 3
    data = study()
    rows = [{**each, "jump_s": [5, 10, 20, 10][: len(each["jump_epoch"])]} for each in data.details]
    axes = draw("jumps", replace(data, rows=lambda: rows), at=at).figure.axes
    assert [each.get_ylabel() for each in axes][1] == "steps leapt"
    points = {(x, y) for line in axes[1].get_lines() for x, y in zip(*line.get_data(), strict=True)}
    assert points == {(2, 5), (6, 20), (8, 10)}  # the jump after epoch 4 was not evaluated


def test_older_records_tell_accepted_jumps_alone(study):
    data = study()
    rows = [{**each, "jump_outcome": None, "jump_s": None} for each in data.details]
    picture = draw("jumps", replace(data, rows=lambda: rows), at={"m": 2, "s": 5, "tolerance": 1e-6})
    assert {"accepted", "not accepted, reason not recorded", "loss not finite"} <= set(words(picture.figure))
    assert len(picture.figure.axes) == 3


def test_a_cell_that_never_jumped_has_no_anatomy(study):
    with pytest.raises(ValueError, match="has jumped: there is nothing to draw"):
        draw("jumps", study(axes={"m": [100, 200], "s": [5, 10]}))


def test_the_front_begins_at_plain_training(make_table):
    ratio = {2: 1.2, 4: 0.8, 6: 0.9, 8: 0.7, 10: 0.6}
    cost = {2: 1.001, 4: 1.02, 6: 1.03, 8: 1.04, 10: 1.05}
    table, axes, seeds = make_table(
        {"m": list(ratio)},
        lambda m: [0.9, 0.9, "diverged" if m == 10 else 0.9],
        final_loss_ratio=lambda m: ratio[m],
        overhead=lambda m: cost[m],
    )
    picture = draw("plane", StudyData("small", table, axes, seeds, list))
    frame = picture.frame.set_index("m")
    # m = 2 costs little but is worse than plain training, m = 6 is dearer and worse than 4, a seed of m = 10 diverged
    assert frame.index[frame["pareto"]].tolist() == [4, 8]
    front = next(line for line in picture.figure.axes[0].get_lines() if len(line.get_xdata()) == 3)
    assert np.asarray(front.get_xydata()).tolist() == [[1, 1], [1.02, 0.8], [1.04, 0.7]]
    assert "1: m = 4\n2: m = 8" in words(picture.figure)[0]


def test_spread_is_the_standard_deviation_in_per_cent_of_the_mean(make_table):
    values = {2: [0.9, 1.0, 1.1], 4: [0.9, "diverged", 1.1], 8: [2.0, 2.2, 2.4]}
    table, axes, seeds = make_table({"m": [2, 4, 8], "s": [5, 10]}, lambda m, s: values[m])
    data = spread_data(heatmap_data(table, axes, seeds))
    train = data.panels[0]
    assert train.values[[0, 2], 0].tolist() == pytest.approx([10, 100 * 0.2 / 2.2], rel=1e-12)
    assert [states[0] for states in train.states] == ["ok", "infinite", "ok"]
    with pytest.raises(ValueError, match="a spread needs two seeds"):
        spread_data(heatmap_data(*make_table({"m": [2, 4], "s": [5]}, lambda m, s: [0.9], seeds=[0])))


def test_cells_within_one_standard_error_are_marked_in_both_panels(make_table):
    level = {(2, 5): 0.90, (2, 10): 0.902, (4, 5): 0.95, (4, 10): 0.99}
    noise = {(2, 5): (0, 4, -4), (2, 10): (3, -3, 0), (4, 5): (-4, 2, 2), (4, 10): (1, 1, -2)}
    table = make_table({"m": [2, 4], "s": [5, 10]}, lambda m, s: [level[m, s] + k / 1000 for k in noise[m, s]])
    data = heatmap_data(*table)
    assert [panel.lowest for panel in data.panels] == [(0, 0), (0, 0)]
    # sigma is some 0.004, so the difference of two means of three has a standard error of 0.003: 0.902 is within
    assert [panel.near for panel in data.panels] == [((0, 0), (0, 1))] * 2
    assert data.frame().groupby("split")["within_one_standard_error"].sum().tolist() == [2, 2]
    assert "within one standard error of the lowest" in words(draw("heatmap", StudyData("small", *table, list)).figure)
