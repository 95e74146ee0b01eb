"""Data that a page's heatmaps and curves are drawn from: plain data without nan, small enough for a page."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from study.analysis.figures.style import STATE_LOOK, axis_label, colour_map
from study.analysis.pages.thinned_curves import json_number, points_per_curve, replicate_name, runs_by_name
from study.analysis.statistics.cells import Axes, Replicates, State, list_values
from study.analysis.statistics.heatmap_data import colour_limits
from study.analysis.statistics.shown_axes import choose_places
from study.replicates.metric_catalogue import METRICS, Metric

_COLOURS = 65
_LETTER_OF_STATUS = {"finished": "i", "diverged": "d", "failed": "f", "pruned": "s", "missing": "-"}
"""Status of a seed without a finite value -> letter of the state that is shown for it."""

_LETTERS: dict[State, str] = {
    "ok": "o",
    "partial": "p",
    "diverged": "d",
    "infinite": "i",
    "failed": "f",
    "pruned": "s",
    "missing": "-",
}
_LOOKS: dict[State, str] = {
    "diverged": "crossed",
    "infinite": "ruled",
    "failed": "hatched",
    "pruned": "empty",
    "missing": "empty",
}
_WORDS: dict[State, str] = {
    "ok": "finished",
    "partial": "not every seed finished",
    **{s: look[2] for s, look in STATE_LOOK.items()},
}
_PLAIN_AXES = ("problem.", "network.", "training.")


def explorer(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    details: Sequence[Mapping[str, Any]],
    *,
    recommended: int | None = None,
    recommended_as: str = "recommended cell",
    preferred: str | None = None,
    done: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Build the ``explorer`` of a `dashboards.Report`.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        details: One row per replicate, baselines included, with its jumps and curves (see
            `study.record.Record.details`).
        recommended: Index of the study's recommended cell, whose curves are shown first; None if it has none.
        recommended_as: Its name in the legend.
        preferred: Metric that is shown first.
        done: Called after each replicate with the number of replicates done and the number of all.
    """
    cells = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    replicates = Replicates(table, axes, seeds)
    metrics, ramps = [], {}
    for metric in METRICS.values():
        known = [column for column in metric.columns if column in table.columns]
        # a method without jumps has no value of a metric per jump
        if metric.name == preferred or (known and table[known].notna().any(axis=None)):
            ramps["down" if metric.higher_is_better else metric.scale] = [
                to_hex(colour_map(metric)(level)) for level in np.linspace(0, 1, _COLOURS)
            ]
            metrics += [_metric(metric, split, replicates, axes) for split in metric.splits]
    metrics.sort(key=lambda metric: metric["name"] != preferred)
    points = points_per_curve(len(details))
    runs, baselines = runs_by_name(details, axes, points, done)
    runs_of_cells = [[runs.get(replicate_name(cell, axes, seed)) for seed in seeds] for cell in cells]
    x, y = axes_shown(axes)
    longest = max((len(row["curve_train"]) for row in details), default=0)
    return {
        "axes": [
            {"key": k, "label": plain_label(k), "values": [list_values([v]) for v in vs]} for k, vs in axes.items()
        ],
        "x": x,
        "y": y or x,
        "seeds": [str(seed) for seed in seeds],
        "states": {letter: {"word": _WORDS[s], "look": _LOOKS.get(s, "")} for s, letter in _LETTERS.items()},
        "statuses": [
            "".join(_LETTER_OF_STATUS[status] for status in cell.statuses) for cell in replicates.summaries("seed")
        ],
        "ramps": ramps,
        "metrics": metrics,
        "cells": runs_of_cells,
        "baselines": baselines,
        "recommended": recommended,
        "recommended_as": recommended_as,
        "first": next((k for k, run in enumerate(runs_of_cells) if any(run)), 0)
        if recommended is None
        else recommended,
        "note": (
            f"Curves and jumps are thinned to at most {points} points: the lowest and the highest of every stretch. "
            f"The longest curve has {longest} points."
            if longest > points
            else ""
        ),
    }


def axes_shown(axes: Axes) -> tuple[str, str | None]:
    """Return the axes shown first, to the right and upwards, as `choose_places` does; None if there is only one."""
    x, y, facet = choose_places(axes)
    assert x is not None  # a study has an axis
    return x, y or facet


def written_values(written: Any) -> str:
    """Return the values of an axis as text, as the spec gives them: a list, or a range."""
    return f"{written['from']} to {written['to']}" if isinstance(written, Mapping) else list_values(written)


def plain_label(key: str) -> str:
    """Return a figure's label of an axis as plain text, without mathematical markup."""
    return axis_label(key).replace("$", "").replace(r"\sigma", "σ")


def _metric(metric: Metric, split: str | None, replicates: Replicates, axes: Axes) -> dict[str, Any]:
    cells = list(replicates.summaries(metric.column(split), higher_is_better=metric.higher_is_better))
    finite = np.array([value for cell in cells for value in (cell.centre, *cell.values) if math.isfinite(value)])
    low, high = colour_limits(finite, metric) if finite.size else (0.5, 2.0)
    several = [key for key, values in axes.items() if key.startswith(_PLAIN_AXES) and len(values) > 1]
    sign = -1.0 if metric.higher_is_better else 1.0
    ranked = [(sign * cell.centre, k) for k, cell in enumerate(cells) if cell.complete]
    # the mark is that of the training set, and none of a metric per jump across trainings
    marked = bool(ranked) and split != "test" and not (metric.per_jump and several)
    title = metric.title if split is None else f"{metric.title}, {'training' if split == 'train' else 'test'} set"
    return {
        "column": metric.column(split),
        "name": metric.name,
        "title": title,
        "split": split,
        "meaning": metric.meaning,
        "scale": metric.scale if low > 0 or metric.scale != "log" else "linear",
        "reference": {"ratio": 1, "signed": 0}.get(metric.scale),
        "low": json_number(low),
        "high": json_number(high),
        "ramp": "down" if metric.higher_is_better else metric.scale,
        "centre": [json_number(cell.centre) for cell in cells],
        "spread": [json_number(cell.spread) for cell in cells],
        "values": [[json_number(value) for value in cell.values] for cell in cells],
        "states": "".join(_LETTERS[cell.state] for cell in cells),
        "lowest": min(ranked)[1] if marked else None,
        "lowest_as": f"{'highest' if metric.higher_is_better else 'lowest'} value of all cells",
    }
