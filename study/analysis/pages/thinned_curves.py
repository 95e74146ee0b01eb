"""Curves and jumps of replicates, thinned to as many points as a page can hold. All peaks are kept."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.statistics.cells import Axes, value_key
from study.replicates.metrics import proposed_ratios

CURVE_BYTES = 2_800_000
"""Number of bytes that all curves and jumps of a page may take."""
_BYTES_PER_POINT = 12
_SERIES = 3  # training curve, test curve, jumps
_MIN_POINTS, _MAX_POINTS = 16, 400
_DIGITS = 4

Name = tuple[Any, ...]
"""Name of a replicate, see `replicate_name`."""


def points_per_curve(replicates: int) -> int:
    """Return the number of points per curve, from 16 to 400, with which the curves of all replicates fit a page."""
    fitting = CURVE_BYTES // (_BYTES_PER_POINT * _SERIES * max(1, replicates))
    return max(_MIN_POINTS, min(_MAX_POINTS, fitting))


def thin(y: NDArray[np.float64], points: int) -> NDArray[np.intp]:
    """Choose at most ``points`` values of y (n,) to draw: the first, the last, and the extremes of every stretch.

    A value that is not finite counts as the largest of its stretch, so that a curve that diverges shows it.
    """
    n = len(y)
    if n <= points:
        return np.arange(n)
    height = np.where(np.isfinite(y), y, np.inf)
    edges = np.linspace(0, n, max(1, (points - 2) // 2) + 1).astype(int)
    kept = {0, n - 1}
    for start, end in pairwise(edges):
        kept |= {start + int(np.argmin(height[start:end])), start + int(np.argmax(height[start:end]))}
    return np.array(sorted(kept))


def json_number(value: float) -> float | str | None:
    """Return a number in few digits as JSON can hold it: infinity as text, nan as None."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(f"{value:.{_DIGITS + 1}g}")


def replicate_name(cell: Mapping[str, Any], axes: Axes, seed: int) -> Name:
    """Return the name of a replicate: its axis values and seed. Equal values give equal names, however they are stored.

    Args:
        cell: Axis key -> the cell's value.
        axes: Axis key -> the study's values.
        seed: Seed of the replicate.
    """
    return (*(value_key(cell[axis]) for axis in axes), seed)


def runs_by_name(
    details: Sequence[Mapping[str, Any]], axes: Axes, points: int, done: Callable[[int, int], object]
) -> tuple[dict[Name, dict[str, Any]], list[dict[str, Any]]]:
    """Return the curves and jumps of every replicate by its name, and the baselines, to which they point by index.

    Args:
        details: One row per replicate, baselines included, as in `study.analysis.pages.report.report_of`.
        axes: Axis key -> the study's values.
        points: Largest number of points per curve.
        done: Called after each replicate with the number of replicates done and the number of all.
    """
    baselines: list[dict[str, Any]] = []
    baseline_indices: dict[Name, int] = {}
    runs: dict[Name, dict[str, Any]] = {}
    shared: list[str] | None = None
    for number, row in enumerate(sorted(details, key=lambda row: row["kind"]), 1):  # baselines come first
        curves = {split: _curve(row, split, points) for split in ("train", "test")}
        if row["kind"] == "baseline" and not row["cell"].keys() <= axes.keys():
            pass  # plain training with values of its own: no cell is compared with it here
        elif row["kind"] == "baseline":
            shared = [axis for axis in axes if axis in row["cell"]] if shared is None else shared
            baseline_indices[(*(value_key(row["cell"][axis]) for axis in shared), row["seed"])] = len(baselines)
            baselines.append(curves)
        else:
            baseline = (*(value_key(row["cell"][axis]) for axis in shared or ()), row["seed"])
            runs[replicate_name(row["cell"], axes, row["seed"])] = {
                **curves,
                "jumps": _jumps(row, points),
                "baseline": baseline_indices.get(baseline),
                "end": _end(row),
            }
        done(number, len(details))
    return runs, baselines


def _curve(row: Mapping[str, Any], split: str, points: int) -> list[list[Any]]:
    epochs, losses = np.asarray(row[f"curve_{split}_epoch"]), np.asarray(row[f"curve_{split}"], dtype=np.float64)
    kept = thin(losses, points)
    return [epochs[kept].tolist() if len(kept) else [], [json_number(loss) for loss in losses[kept]]]


def _jumps(row: Mapping[str, Any], points: int) -> list[list[Any]]:
    """Return epochs, ratios on both splits and acceptance of the jumps, without those rejected before evaluation."""
    losses = {
        (split, when): np.asarray(row[f"jump_{split}_{when}"], dtype=np.float64)
        for split in ("train", "test")
        for when in ("before", "after")
    }
    seen = np.flatnonzero(~np.all([np.isnan(loss) for loss in losses.values()], axis=0))
    ratios = {s: proposed_ratios(losses[s, "before"][seen], losses[s, "after"][seen]) for s in ("train", "test")}
    kept = thin(ratios["train"], points)
    return [
        [row["jump_epoch"][k] for k in seen[kept]],
        *([json_number(float(ratio)) for ratio in ratios[split][kept]] for split in ("train", "test")),
        [int(row["jump_accepted"][k]) for k in seen[kept]],
    ]


def _end(row: Mapping[str, Any]) -> str:
    taken = sum(row["jump_accepted"])
    text = f"{row['status']} after {row['epoch']} epochs, {len(row['jump_accepted'])} jumps, {taken} taken"
    reason = str(row["reason"] or "").strip().splitlines()
    return f"{text}: {reason[-1]}" if reason else text
