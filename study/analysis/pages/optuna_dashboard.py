"""Content that the Optuna dashboard shows with a study's trials: a note, heatmaps, shares and captions of panels."""

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from dashboards import Heatmap, Shown
from study.analysis.figures.style import STATE_LOOK, colour_map, colour_norm
from study.analysis.pages.drivers import MainShares, main_shares
from study.analysis.pages.explorer import axes_shown, plain_label, written_values
from study.analysis.pages.report import MAX_CELLS
from study.analysis.statistics.cells import (
    Axes,
    CellSummary,
    Replicates,
    describe_cell,
    list_values,
    rising,
    value_key,
)
from study.analysis.statistics.heatmap_data import colour_limits
from study.replicates.metric_catalogue import METRICS, Metric

MAX_HEATMAPS = 12
"""Largest number of heatmaps of one metric. A study of many axes has more; the report shows all."""

_COLOURS = 17
_PLAIN_AXES = ("problem.", "network.", "training.")
_SEED = "initial weights, order of mini-batches and noise"
_ATTRIBUTES = (
    ("status", "finished, diverged (a loss or weight stopped being finite), failed, or pruned"),
    ("epoch", "last epoch, if it did not finish"),
    ("reason", "reason why it failed"),
    ("seconds", "device-seconds of its pack, shared equally by the replicates in it"),
    ("pack", "file in packs/ that holds its curves and jumps"),
)
_LINEAR = "Drawn from single trials and linear in the value, so a few huge values may hide all others."
_SCALES = (
    "**Scales.** A few values can be very large. History, Intermediate values and Slice open with a logarithmic scale; "
    "`Log y scale` switches it off. Contour and EDF are linear in the value and cannot be changed. The study's "
    "heatmaps have colours with limits, logarithmic for ratios and losses: look at these first."
)
_CURVES = (
    "**Timeline** shows when each replicate was trained, by the clock of its worker, and **Intermediate values** up to "
    "10 points of its training loss by epoch. Trials in state Fail have theirs on their own pages. A record of an "
    "older version lacks the times: its trials then start and end when they were recorded. The report has the full "
    "curves."
)


def note_of(
    name: str, spec: Mapping[str, Any], objective: str, *, shares: str = "", recommended: str | None = None
) -> str:
    """Write a study's note in Markdown: the meaning of its parameters, value, attributes, states and panels.

    Args:
        name: Name of the study.
        spec: Spec as plain data.
        objective: Name of the trials' value.
        shares: Sentences on the panel Hyperparameter Importance.
        recommended: Sentence that names the recommended cell, or plain training; None if there is none yet.
    """
    method, problem, training = spec["method"], spec["problem"], spec["training"]
    axes = [("parameter", "meaning", "values")]
    axes += [(axis, plain_label(axis), written_values(values)) for axis, values in spec["axes"].items()]
    axes += [("seed", _SEED, list_values(spec["seeds"]))]
    metric = _metric_of(objective)
    attributes = [("attribute", "meaning")]
    attributes += [
        (column, known.meaning)
        for known in METRICS.values()
        for column in (known.column("train"), known.name)
        if column in ("geometric_mean_relative_error_train", "final_loss_train", "overhead")
    ]
    return _joined(
        f"# {_literal(name)}",
        _recommendation(recommended),
        f"{_literal(str(method.get('name')))} on {_literal(str(problem.get('name')))}, trained with "
        f"{_literal(str(training.get('optimizer')))}. A trial is one replicate: one cell with one seed. "
        f"The baselines, which are trained without jumps, are in the study {_literal(name)}/baseline.",
        "**[The report](/report)** has the answer, the recommended cell, the heatmaps with their spread over seeds, "
        "curves and costs (`dmd-study report` writes it). The heatmaps here show medians over seeds on the training "
        "set, in the order of the report.",
        f"The value of a trial is `{objective}`: {metric.meaning if metric else objective}; lower is better"
        + (", and below 1 a jump helps." if metric and metric.scale == "ratio" else ".")
        + " Values are comparable only within one problem, network and training.",
        "## Panels of this dashboard",
        f"**Best Trial** is the lowest `{objective}` that a cell has with **one seed**. It is not the recommended "
        "cell, which the report names and `dmd-study best` writes. That one is chosen over all seeds, because the "
        "luckiest of many seeds looks better than its cell is.",
        shares,
        _SCALES,
        _CURVES,
        "## Columns of the trials",
        "The parameters are the axes of the study and the seed:",
        _table(axes),
        "The attributes say more about each trial:",
        _table([*attributes, *_ATTRIBUTES]),
        "For trials in state Fail, `status` says how they ended. They have no value, and the dashboard's own plots "
        "leave them out. This page shows the study and changes nothing in it.",
    )


def baseline_note_of(name: str, spec: Mapping[str, Any], objective: str, *, recommended: str | None = None) -> str:
    """Write the note of the study that holds a study's baselines, in Markdown.

    Args:
        name: Name of the study that the baselines belong to.
        spec: Spec as plain data.
        objective: Name of the baselines' value.
        recommended: Sentence that names the recommended cell, or plain training; None if there is none yet.
    """
    shared = {axis: values for axis, values in spec["axes"].items() if axis.startswith(_PLAIN_AXES)}
    alone: Mapping[str, Any] = spec.get("baseline") or {}
    rows = [("parameter", "meaning", "values")]
    for axis in {**shared, **alone}:
        values = [f"{written_values(shared[axis])}"] if axis in shared else []
        values += [f"{written_values(alone[axis])} (baselines alone)"] if axis in alone else []
        rows.append((axis, plain_label(axis), "; ".join(values)))
    rows.append(("seed", f"{_SEED}: the same as in the cells", list_values(spec["seeds"])))
    if alone:
        more = "The spec's section `baseline` has more values, which baselines alone are trained with: "
        more += ", ".join(f"`{axis}`: {_literal(written_values(values))}" for axis, values in alone.items()) + ". "
    else:
        more = (
            "A spec may have a section `baseline`, such as `baseline: {training.lr: [0.001, 0.01]}`: values that "
            "baselines alone are trained with. "
        )
    return _joined(
        f"# {_literal(name)}/baseline",
        _recommendation(recommended),
        f"The baselines of the study {_literal(name)}: {_literal(str(spec['problem'].get('name')))}, trained with "
        f"{_literal(str(spec['training'].get('optimizer')))} and nothing else. A baseline is plain training, without "
        "jumps or any other method. It has the seed, initial weights, batches, network and number of epochs of the "
        "cells that are compared with it. A trial is one baseline.",
        f"The value of a trial is `{objective}`, the training loss after the last epoch; lower is better. The cells "
        "are compared with it: the final loss ratio of a cell is its final loss divided by that of the baseline with "
        "the same seed, and below 1 the method helps.",
        more + "They show how far plain training gets if it is tuned as well as the method is.",
        "**[The report](/report)** has the comparison with the cells.",
        "## Panels of this dashboard",
        "**Best Trial** is the lowest loss that a baseline has with **one seed**.",
        "**Hyperparameter Importance** has no numbers here: the study decomposes the variance between its cells, not "
        "that between baselines.",
        _SCALES,
        _CURVES,
        "## Columns of the trials",
        "The parameters are the axes that change plain training; those of the method do not, so a baseline stands for "
        "all cells that differ in the method only.",
        _table(rows),
        "The attributes say more about each trial:",
        _table([("attribute", "meaning"), *_ATTRIBUTES]),
    )


def shown_of(
    name: str,
    spec: Mapping[str, Any],
    objective: str,
    table: pd.DataFrame,
    axes: Axes,
    *,
    headline: str = "mean_relative_error",
    sampled: Sequence[Mapping[str, Any]] | None = None,
    recommended: str | None = None,
) -> Shown:
    """Return what the dashboard shows of a study beside its trials: note, heatmaps, shares and captions.

    A study whose axes have more than `MAX_CELLS` combinations, such as a search over ranges, has no heatmaps.

    Args:
        name: Name of the study.
        spec: Spec as plain data.
        objective: Name of the trials' value.
        table: Table of replicates, as in `heatmap_data`; it may be empty.
        axes: Axis key -> the study's values.
        headline: Metric whose shares are shown.
        sampled: Cells of a study whose cells are samples, as in `sobol_indices`; None for a grid or a search.
        recommended: Sentence that names the recommended cell, or plain training; None if there is none yet.
    """
    axes = {key: rising(values) for key, values in axes.items()}
    heatmaps: list[Heatmap] = []
    if not table.empty and math.prod(map(len, axes.values())) <= MAX_CELLS:
        replicates = Replicates(table, axes, spec["seeds"])
        for metric in _metrics_shown(spec, headline):
            heatmaps += _heatmaps(METRICS[metric], replicates, axes)
    shares = main_shares(table, axes, spec["seeds"], headline, sampled, searched=spec.get("design") == "search")
    note = note_of(name, spec, objective, shares=shares.note, recommended=recommended)
    return _shown(note, objective, shares, _best_trial(objective, recommended), recommended, heatmaps)


def shown_before(name: str, spec: Mapping[str, Any], objective: str, *, recommended: str | None = None) -> Shown:
    """Return what is shown of a study while its numbers are not read yet.

    Args:
        name: Name of the study.
        spec: Spec as plain data.
        objective: Name of the trials' value.
        recommended: Sentence that names the recommended cell, or plain training; None if there is none yet.
    """
    shares = MainShares({"not computed yet: load this page again": 0.0}, "Not computed yet: load this page again.", "")
    note, best = note_of(name, spec, objective, recommended=recommended), _best_trial(objective, recommended)
    return _shown(note, objective, shares, best, recommended)


def baseline_shown_of(name: str, spec: Mapping[str, Any], objective: str, *, recommended: str | None = None) -> Shown:
    """Return what is shown of the study that holds a study's baselines.

    Args:
        name: Name of the study that the baselines belong to.
        spec: Spec as plain data.
        objective: Name of the baselines' value.
        recommended: Sentence that names the recommended cell, or plain training; None if there is none yet.
    """
    shares = MainShares({"none for baselines: see the note": 0.0}, "The study has no shares of baselines.", "")
    note = baseline_note_of(name, spec, objective, recommended=recommended)
    return _shown(note, objective, shares, "The lowest final loss of a baseline with one seed.", recommended)


def _best_trial(objective: str, recommended: str | None) -> str:
    """Return the caption of the dashboard's best trial, which is not the best cell."""
    metric = _metric_of(objective)
    title = metric.title.lower() if metric else objective
    return f"The lowest {title} with one seed, not the recommended cell. {recommended or 'The report names that one.'}"


def _shown(
    note: str,
    objective: str,
    shares: MainShares,
    best: str,
    recommended: str | None,
    heatmaps: Sequence[Heatmap] = (),
) -> Shown:
    captions = {
        "Hyperparameter Importance": shares.caption,
        "Best Trial": best,
        "Intermediate values": "The training loss, whatever the axis says; a step is an epoch.",
        "Timeline": "The last 100 trials. Replicates that were trained side by side have the same times.",
        "Contour": _LINEAR,
        "EDF": _LINEAR,
    }
    return Shown(
        note,
        heatmaps,
        objective=f"{objective}, of one seed",
        importances=shares.bars,
        captions=captions,
        attributes={"recommended": recommended} if recommended else {},
        logarithmic=True,
    )


def _metrics_shown(spec: Mapping[str, Any], headline: str) -> list[str]:
    """Return the metrics of the heatmaps, in the order of the report's: its first one, then by the catalogue."""
    probed = spec["method"].get("mode") == "probe"
    first = "geometric_mean_relative_error" if probed else "final_loss_ratio"
    return [first, *(name for name in METRICS if name in {headline, "mean_relative_error"} - {first})]


def _metric_of(objective: str) -> Metric | None:
    return METRICS.get(re.sub(r"_(train|test)$", "", objective))


def _recommendation(recommended: str | None) -> str:
    return f"**{_literal(recommended)}**" if recommended else ""


def _joined(*paragraphs: str) -> str:
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _heatmaps(metric: Metric, replicates: Replicates, axes: Axes) -> list[Heatmap]:
    cells = list(replicates.summaries(metric.column("train"), higher_is_better=metric.higher_is_better))
    finite = np.array([cell.centre for cell in cells if math.isfinite(cell.centre)])
    if not finite.size:
        return []
    low, high = colour_limits(finite, metric)
    norm, colours = colour_norm(metric, (low, high)), colour_map(metric)
    beyond = ("≤ " if finite.min() < low else "", "", "≥ " if finite.max() > high else "")
    x, y = axes_shown(axes)
    others = [key for key in axes if key not in (x, y)]
    panels: dict[tuple[Hashable, ...], dict[tuple[Hashable, Hashable], CellSummary]] = {}
    for cell in cells:
        values = cell.parameters
        panel = panels.setdefault(tuple(value_key(values[key]) for key in others), {})
        panel[value_key(values[x]), value_key(values[y]) if y else None] = cell
    rows: Sequence[Any] = axes[y] if y else [None]
    heatmaps = []
    for number, panel in enumerate(islice(panels.values(), MAX_HEATMAPS), 1):
        grid = [[panel[value_key(a), value_key(b)] for a in axes[x]] for b in rows]
        fixed = {key: grid[0][0].parameters[key] for key in others if len(axes[key]) > 1}
        heatmaps.append(
            Heatmap(
                id=f"{metric.name.replace('_', '-')}-{number}",
                title=f"{metric.title}{f' ({describe_cell(fixed)})' if fixed else ''}",
                x=plain_label(x),
                y=plain_label(y) if y else "",
                x_values=[list_values([value]) for value in axes[x]],
                y_values=[list_values([value]) for value in rows] if y else [""],
                levels=[[_level(cell, norm) for cell in row] for row in grid],
                words=[[_words(cell, metric) for cell in row] for row in grid],
                colours=[to_hex(colours(level)) for level in np.linspace(0, 1, _COLOURS)],
                scale=tuple(
                    f"{sign}{float(norm.inverse(level)):.3g}"
                    for sign, level in zip(beyond, (0.0, 0.5, 1.0), strict=True)
                ),
            )
        )
    return heatmaps


def _level(cell: CellSummary, norm: Any) -> float | None:
    """Return the position of a cell on the colour scale, from 0 to 1, to three digits; None without a finite value."""
    return round(min(max(float(norm(cell.centre)), 0.0), 1.0), 3) if math.isfinite(cell.centre) else None


def _words(cell: CellSummary, metric: Metric) -> str:
    """Describe a cell and its value in one line."""
    parameters = describe_cell(cell.parameters)
    if not math.isfinite(cell.centre):
        return f"{parameters}: {STATE_LOOK[cell.state][2]}"
    spread = f", spread {cell.spread:.3g}" if math.isfinite(cell.spread) else ""
    return f"{parameters}: {metric.title.lower()} {cell.centre:.4g}{spread}, {cell.n_ok} of {cell.n_expected} seeds"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_literal, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _literal(text: str) -> str:
    """Escape a text so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", text.replace("\n", " "))
