"""How methods stand against plain training at equal cost: ratios over seeds, with what they can be trusted for.

The interval of a median over n seeds is from its lowest to its highest value, which holds the true median in all but
2^(1 - n) of cases whatever the distribution (93.75 % at n = 5): a sample lies on one side of it as coins fall on one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.statistics.equal_cost import (
    Price,
    Row,
    evaluations_per_jump,
    loss_within,
    price_in_epochs,
    price_in_time,
)
from study.replicates.keys import key
from study.replicates.metric_catalogue import SPLITS

PLAIN = "plain"
LOWER = "plain-lower-lr"
"""Plain training at the next lower of its learning rates: a control, since methods may choose that rate too."""
WORDS = {"train": "training", "test": "test"}
STEPS, TIME = WAYS = ("step equivalents", "wall time")
"""What is equal: operations, jumps and the evaluations that a method needs counted, or time."""


@dataclass(frozen=True)
class Standing:
    """One method with its best parameters on one problem.

    ``parameters``: None where no cell of ``tried`` stayed finite on the tuning seeds; then there is no ratio.
    ``ratios``: (way, split) -> its loss over that of plain training which has cost as much, one per seed; infinite for
    one that had diverged by then. ``losses``: split -> at equal step equivalents. ``diverged``: seeds that did at all.
    ``overhead``: way -> cost of all its epochs / cost of plain training's, the median over seeds.
    """

    problem: str
    method: str
    control: bool
    tried: int
    parameters: Mapping[str, Any] | None
    losses: Mapping[str, Sequence[float]]
    ratios: Mapping[tuple[str, str], Sequence[float]]
    diverged: int = 0
    overhead: Mapping[str, float] | None = None

    def middle(self, way: str, split: str) -> tuple[float, float, float]:
        """Median, lowest and highest ratio; NaN where there is none."""
        found = self.ratios.get((way, split)) or [math.nan]
        return float(np.median(found)), min(found), max(found)

    def better(self, way: str, split: str) -> int:
        """Seeds on which it ended below plain training."""
        return sum(ratio < 1 for ratio in self.ratios.get((way, split), ()))

    def all_better(self, way: str, split: str) -> bool:
        """Whether it did on every seed."""
        return 0 < len(self.ratios.get((way, split), ())) == self.better(way, split)


def best_cell(
    rows: Iterable[Row], budget: float, method: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, int]:
    """The cell of lowest training loss within a budget of epochs of plain training, and of how many cells.

    A cell's loss is the median over its seeds; there is no best cell where none is finite. ``method``: the spec's
    section, None of plain training.
    """
    cells: dict[str, Mapping[str, Any]] = {}
    losses: dict[str, list[float]] = {}
    for row in rows:
        name = key(row["cell"], 0)
        cells[name] = row["cell"]
        price = Price() if method is None else price_in_epochs(row, evaluations_per_jump({**method, **row["cell"]}))
        losses.setdefault(name, []).append(loss_within(row, "train", price, budget))
    name = min(losses, key=lambda name: np.median(losses[name]))
    return (cells[name] if np.isfinite(np.median(losses[name])) else None), len(cells)


def stand_plain(problem: str, cell: Mapping[str, Any], tried: int, rows: Sequence[Row]) -> Standing:
    """Plain training itself, at the learning rate that was chosen for it."""
    losses = {split: [_final_loss(row, split) for row in rows] for split in SPLITS}
    diverged = sum(row["status"] == "diverged" for row in rows)
    return Standing(problem, PLAIN, False, tried, cell, losses, {}, diverged, dict.fromkeys(WAYS, 1.0))


def stand(
    problem: str,
    method: str,
    control: bool,
    tried: int,
    parameters: Mapping[str, Any],
    section: Mapping[str, Any],
    *,
    final: Sequence[Row],
    timed: Sequence[Row],
    plain: Sequence[Row],
    budget: float,
) -> Standing:
    """Hold a method's trainings against plain ones of the same seeds.

    ``section``: the method's of the spec. ``timed``: short trainings alone in their packs, baselines among them; none
    of what is plain training too.
    ``budget``: what each may cost, in epochs of plain training.
    """
    evaluations = evaluations_per_jump({**section, **parameters})
    alone = {kind: [row for row in timed if row["kind"] == kind] for kind in ("cell", "baseline")}
    in_time = price_in_time(alone["cell"], alone["baseline"], evaluations)
    against = {row["seed"]: row for row in plain}
    ratios: dict[tuple[str, str], list[float]] = {(way, split): [] for way in WAYS for split in SPLITS}
    losses: dict[str, list[float]] = {split: [] for split in SPLITS}
    overheads: dict[str, list[float]] = {way: [] for way in WAYS}
    for row in final:
        for way, price in ((STEPS, price_in_epochs(row, evaluations)), (TIME, in_time)):
            overheads[way].append(float(price.spent(row["epoch"], row["jump_epoch"])) / budget)
            for split in SPLITS:
                reached = loss_within(row, split, price, budget)
                ratios[way, split].append(_ratio(reached, _final_loss(against[row["seed"]], split)))
                if way == STEPS:
                    losses[split].append(reached)
    diverged = sum(row["status"] == "diverged" for row in final)
    overhead = {way: float(np.median(found)) for way, found in overheads.items()}
    return Standing(problem, method, control, tried, parameters, losses, ratios, diverged, overhead)


def standings_frame(standings: Iterable[Standing]) -> pd.DataFrame:
    """One row for each method on each problem, every way and split in columns of their own."""
    rows = []
    for one in standings:
        row: dict[str, Any] = {"problem": one.problem, "method": one.method, "control": one.control, "cells": one.tried}
        row["parameters"] = in_words(one.parameters)
        row |= {"seeds": len(one.losses.get("test", ())), "diverged": one.diverged}
        for split in SPLITS:
            row[f"loss_{split}"] = float(np.median(one.losses[split])) if one.losses.get(split) else math.nan
        for way in WAYS:
            short = way.replace(" ", "_")
            row[f"overhead_{short}"] = (one.overhead or {}).get(way, math.nan)
            for split in SPLITS:
                name = f"ratio_{split}_{short}"
                row[name], row[f"{name}_lowest"], row[f"{name}_highest"] = one.middle(way, split)
                row[f"{name}_better"] = one.better(way, split)
        rows.append(row)
    return pd.DataFrame(rows)


def in_words(cell: Mapping[str, Any] | None) -> str:
    """Parameters in one line; a learning rate without its section."""
    if cell is None:
        return "none stayed finite"
    said = ((axis.removeprefix("training."), value) for axis, value in cell.items())
    return ", ".join(f"{axis} {value:g}" if isinstance(value, float) else f"{axis} {value}" for axis, value in said)


def verdict(problem: str, standings: Iterable[Standing]) -> str:
    """Which methods end below plain training on every seed, which is best, and what luck and the controls reach."""
    own = [one for one in standings if one.problem == problem and one.ratios]
    methods, controls = ([one for one in own if one.control is kind] for kind in (False, True))
    if not methods:
        return f"{problem}: no method could be tuned."
    seeds = len(methods[0].losses["test"])
    said = [f"{problem}: below plain training on all {seeds} seeds are, of {len(methods)} methods,"]
    for split in SPLITS:
        first, then = ([one.method for one in methods if one.all_better(way, split)] for way in WAYS)
        words = f"in {WORDS[split]} loss none"
        if first or then:
            later = "the same" if then == first else _listed(then)
            words = f"in {WORDS[split]} loss {_listed(first)} at equal {STEPS} and {later} at equal {TIME}"
        said.append(f"{words};" if split == SPLITS[-1] else f"{words},")
    said.append(f"by luck alone {len(methods) * 2.0**-seeds:.1g} would be.")
    for split in SPLITS:
        best = min(methods, key=lambda one: one.middle(STEPS, split)[0])
        median, low, high = best.middle(STEPS, split)
        said.append(
            f"Lowest {WORDS[split]} loss: {best.method}, {number(median)} ({number(low)} to {number(high)}) of it."
        )
        for control in controls:
            if (found := control.middle(STEPS, split)[0]) <= median:
                said.append(f"The control {control.method} does no worse: {number(found)}.")
    return " ".join(said)


def methods_of(standings: Iterable[Standing]) -> dict[str, bool]:
    """Every method in the order of the first problem that has it, controls last; and whether it is one."""
    found = {one.method: one.control for one in standings if one.method != PLAIN}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def number(value: float) -> str:
    """A ratio in two or three digits."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞"
    if 0.001 <= value < 1000:
        return f"{value:.2f}" if 0.1 <= value < 10 else f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return f"{len(found)} ({', '.join(found)})" if found else "none"


def _final_loss(row: Row, split: str) -> float:
    return loss_within(row, split, Price(), math.inf)


def _ratio(after: float, before: float) -> float:
    """Their ratio; infinite where the first is, else 0 where the second is."""
    if math.isinf(after) or after == before == 0:
        return math.inf if math.isinf(after) else 1.0
    return after / before if before else math.inf
