"""Curves and jumps of replicates as points that a page can hold: fewer, but none of the peaks lost."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.statistics.cells import Axes, value_key
from study.replicates.metrics import proposed_ratios

CURVE_BYTES = 2_800_000
"""What all curves and jumps of a page may take."""
_BYTES_PER_POINT = 12
_SERIES = 3  # training curve, test curve, jumps
_FEWEST_POINTS, _MOST_POINTS = 16, 400
_DIGITS = 4

Name = tuple[Any, ...]


def points_per_curve(replicates: int) -> int:
    """Points of each curve such that the curves of so many replicates fit `CURVE_BYTES`, but 16 at least."""
    fitting = CURVE_BYTES // (_BYTES_PER_POINT * _SERIES * max(1, replicates))
    return max(_FEWEST_POINTS, min(_MOST_POINTS, fitting))


def thin(y: NDArray[np.float64], points: int) -> NDArray[np.intp]:
    """Which of the values (n,) to draw: at most so many, with the first, the last, and of every stretch the extremes.

    A value that is not finite counts as its stretch's largest, so that a curve's end by divergence stays in sight.
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


def shown(value: float) -> float | str | None:
    """A number in few digits as JSON can hold it: infinity in words, nan as None."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(f"{value:.{_DIGITS + 1}g}")


def name_of(cell: Mapping[str, Any], axes: Axes, seed: int) -> Name:
    """A replicate by its axis values and seed, however they were stored."""
    return (*(value_key(cell[axis]) for axis in axes), seed)


def runs_by_name(
    details: Sequence[Mapping[str, Any]], axes: Axes, points: int, done: Callable[[int, int], object]
) -> tuple[dict[Name, dict[str, Any]], list[dict[str, Any]]]:
    """Every replicate's curves and jumps by `name_of`, and the baselines that they point to by index.

    ``details``: as of `study.analysis.report_of`. ``done`` is called with replicates so far, and all.
    """
    baselines: list[dict[str, Any]] = []
    places: dict[Name, int] = {}
    runs: dict[Name, dict[str, Any]] = {}
    shared: list[str] | None = None
    for number, row in enumerate(sorted(details, key=lambda row: row["kind"]), 1):  # baselines come first
        curves = {split: _curve(row, split, points) for split in ("train", "test")}
        if row["kind"] == "baseline":
            shared = [axis for axis in axes if axis in row["cell"]] if shared is None else shared
            places[(*(value_key(row["cell"][axis]) for axis in shared), row["seed"])] = len(baselines)
            baselines.append(curves)
        else:
            at = (*(value_key(row["cell"][axis]) for axis in shared or ()), row["seed"])
            runs[name_of(row["cell"], axes, row["seed"])] = {
                **curves,
                "jumps": _jumps(row, points),
                "baseline": places.get(at),
                "end": _end(row),
            }
        done(number, len(details))
    return runs, baselines


def _curve(row: Mapping[str, Any], split: str, points: int) -> list[list[Any]]:
    epochs, losses = np.asarray(row[f"curve_{split}_epoch"]), np.asarray(row[f"curve_{split}"], dtype=np.float64)
    kept = thin(losses, points)
    return [epochs[kept].tolist() if len(kept) else [], [shown(loss) for loss in losses[kept]]]


def _jumps(row: Mapping[str, Any], points: int) -> list[list[Any]]:
    """Epochs, ratios on both splits, and which were taken; of the jumps that were not rejected unseen."""
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
        *([shown(float(ratio)) for ratio in ratios[split][kept]] for split in ("train", "test")),
        [int(row["jump_accepted"][k]) for k in seen[kept]],
    ]


def _end(row: Mapping[str, Any]) -> str:
    taken = sum(row["jump_accepted"])
    said = f"{row['status']} after {row['epoch']} epochs, {len(row['jump_accepted'])} jumps, {taken} taken"
    reason = str(row["reason"] or "").strip().splitlines()
    return f"{said}: {reason[-1]}" if reason else said
