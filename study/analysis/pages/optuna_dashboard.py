"""Content that the Optuna dashboard shows with a study's trials: a note that explains them, and heatmaps."""

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

_SHOWN = ("mean_relative_error", "final_loss_ratio")
_COLOURS = 17


def note_of(name: str, spec: Mapping[str, Any], objective: str) -> str:
    """Write a study's note in Markdown: the meaning of its parameters, value, attributes and states.

    Args:
        name: Name of the study.
        spec: Spec as plain data.
        objective: Name of the trials' value.
    """
    method, problem, training = spec["method"], spec["problem"], spec["training"]
    axes = [("parameter", "meaning", "values")]
    axes += [(axis, plain_label(axis), written_values(values)) for axis, values in spec["axes"].items()]
    axes += [("seed", "initial weights, order of mini-batches and noise", list_values(spec["seeds"]))]
    metric = METRICS.get(re.sub(r"_(train|test)$", "", objective))
    attributes = [("attribute", "meaning")]
    attributes += [
        (column, known.meaning)
        for known in METRICS.values()
        for column in (known.column("train"), known.name)
        if column in ("geometric_mean_relative_error_train", "final_loss_train", "overhead")
    ]
    attributes += [
        ("status", "finished, diverged (a loss or weight stopped being finite), failed, or pruned"),
        ("epoch", "last epoch, if it did not finish"),
        ("reason", "reason why it failed"),
        ("seconds", "device-seconds of its pack, shared equally by the replicates in it"),
        ("pack", "file in packs/ that holds its curves and jumps"),
    ]
    return "\n\n".join(
        [
            f"# {_literal(name)}",
            f"{_literal(str(method.get('name')))} on {_literal(str(problem.get('name')))}, trained with "
            f"{_literal(str(training.get('optimizer')))}. A trial is one replicate: one cell with one seed. "
            f"The baselines, which are trained without jumps, are in the study {_literal(name)}/baseline.",
            "**[The report](/report)** has the answer, the heatmaps with their spread over seeds, curves and costs "
            "(`dmd-study report` writes it). The heatmaps here show medians over seeds on the training set.",
            f"The value of a trial is `{objective}`: {metric.meaning if metric else objective}; lower is better"
            + (", and below 1 a jump helps." if metric and metric.scale == "ratio" else ".")
            + " The values of a few trials can be very large: choose the logarithmic scale. Values are comparable only "
            "within one problem, network and training.",
            _table(axes),
            _table(attributes),
            "For trials in state Fail, `status` says how they ended. They have no value, and the dashboard's own plots "
            "leave them out. The dashboard's importances are computed from single trials and are dominated by the "
            "largest values and by noise; `dmd-study sensitivity` gives shares with noise subtracted. This page shows "
            "the study and changes nothing in it.",
        ]
    )


def shown_of(name: str, spec: Mapping[str, Any], objective: str, table: pd.DataFrame, axes: Axes) -> Shown:
    """Return the note and the heatmaps of a study.

    A study whose axes have more than `MAX_CELLS` combinations, such as a search over ranges, has no heatmaps.

    Args:
        name: Name of the study.
        spec: Spec as plain data.
        objective: Name of the trials' value.
        table: Table of replicates, as in `heatmap_data`; it may be empty.
        axes: Axis key -> the study's values.
    """
    axes = {key: rising(values) for key, values in axes.items()}
    heatmaps: list[Heatmap] = []
    if not table.empty and math.prod(map(len, axes.values())) <= MAX_CELLS:
        replicates = Replicates(table, axes, spec["seeds"])
        for metric in _SHOWN:
            heatmaps += _heatmaps(METRICS[metric], replicates, axes)
    return Shown(note_of(name, spec, objective), heatmaps)


def _heatmaps(metric: Metric, replicates: Replicates, axes: Axes) -> list[Heatmap]:
    cells = list(replicates.summaries(metric.column("train"), higher_is_better=metric.higher_is_better))
    finite = np.array([cell.centre for cell in cells if math.isfinite(cell.centre)])
    if not finite.size:
        return []
    norm, colours = colour_norm(metric, colour_limits(finite, metric)), colour_map(metric)
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
                scale=tuple(f"{float(norm.inverse(level)):.3g}" for level in (0.0, 0.5, 1.0)),
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
