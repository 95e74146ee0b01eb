"""Standings of methods against plain training at equal cost: loss ratios over seeds, with their intervals.

The interval of a median over n seeds reaches from the lowest to the highest value. It contains the true median in all
but 2^(1 - n) of cases, whatever the distribution (93.75 % at n = 5): each value lies above or below the true median
with equal chance, like a coin, and the interval fails only if all lie on the same side.
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
"""Name of plain training."""
PLAIN_LOWER_RATE = "plain-lower-lr"
"""Name of plain training at its next lower learning rate. It is a control, because methods may choose that rate too."""
SPLIT_WORDS = {"train": "training", "test": "test"}
STEPS, TIME = UNITS = ("step equivalents", "wall time")
"""Units of the cost that is made equal: operations (with jumps and the evaluations that a method needs), or time."""


@dataclass(frozen=True)
class Standing:
    """Result of one method with its best parameters on one problem.

    Attributes:
        problem: Name of the problem.
        method: Name of the method.
        control: True if the method is a control.
        tried: Number of cells that were tuned.
        parameters: Parameters of the best cell; None if no cell stayed finite on the tuning seeds. Then there is no
            ratio.
        losses: Split -> loss of each seed, at equal step equivalents.
        ratios: (unit, split) -> loss of each seed / loss of plain training at equal cost; infinite for a seed that
            had diverged by then.
        diverged: Number of seeds that diverged at any time.
        overhead: Unit -> cost of all the method's epochs / cost of plain training's, the median over seeds.
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

    def middle(self, unit: str, split: str) -> tuple[float, float, float]:
        """Return the median, lowest and highest ratio; NaN if there is none."""
        ratios = self.ratios.get((unit, split)) or [math.nan]
        return float(np.median(ratios)), min(ratios), max(ratios)

    def better(self, unit: str, split: str) -> int:
        """Return the number of seeds on which the method ended below plain training."""
        return sum(ratio < 1 for ratio in self.ratios.get((unit, split), ()))

    def all_better(self, unit: str, split: str) -> bool:
        """Return True if the method ended below plain training on every seed."""
        return 0 < len(self.ratios.get((unit, split), ())) == self.better(unit, split)


def best_cell_within_budget(
    rows: Iterable[Row], budget: float, method: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, int]:
    """Return the cell with the lowest training loss within a budget, and the number of cells.

    A cell's loss is the median over its seeds. The cell is None if no median is finite.

    Args:
        rows: Replicates of all cells.
        budget: Budget, in epochs of plain training.
        method: Method section of the spec; None for plain training.
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


def standing_of_plain(problem: str, cell: Mapping[str, Any], tried: int, rows: Sequence[Row]) -> Standing:
    """Return the standing of plain training itself.

    Args:
        problem: Name of the problem.
        cell: Parameters of plain training, with the learning rate chosen for it.
        tried: Number of learning rates that were tried.
        rows: Replicates, trained on the final seeds.
    """
    losses = {split: [_final_loss(row, split) for row in rows] for split in SPLITS}
    diverged = sum(row["status"] == "diverged" for row in rows)
    return Standing(problem, PLAIN, False, tried, cell, losses, {}, diverged, dict.fromkeys(UNITS, 1.0))


def standing_of_method(
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
    """Compare a method's trainings with plain trainings of the same seeds.

    Args:
        problem: Name of the problem.
        method: Name of the method.
        control: True if the method is a control.
        tried: Number of cells that were tuned.
        parameters: Parameters of the best cell.
        section: Method section of the spec; empty for plain training.
        final: Replicates of the best cell, trained on the final seeds.
        timed: Short trainings of the best cell, alone in their packs, with the baselines that they are timed against;
            empty for plain training.
        plain: Replicates of plain training, trained on the final seeds.
        budget: Budget of each training, in epochs of plain training.
    """
    evaluations = evaluations_per_jump({**section, **parameters})
    timed_by_kind = {kind: [row for row in timed if row["kind"] == kind] for kind in ("cell", "baseline")}
    time_price = price_in_time(timed_by_kind["cell"], timed_by_kind["baseline"], evaluations)
    plain_by_seed = {row["seed"]: row for row in plain}
    ratios: dict[tuple[str, str], list[float]] = {(unit, split): [] for unit in UNITS for split in SPLITS}
    losses: dict[str, list[float]] = {split: [] for split in SPLITS}
    overheads: dict[str, list[float]] = {unit: [] for unit in UNITS}
    for row in final:
        for unit, price in ((STEPS, price_in_epochs(row, evaluations)), (TIME, time_price)):
            overheads[unit].append(float(price.spent(row["epoch"], row["jump_epoch"])) / budget)
            for split in SPLITS:
                reached = loss_within(row, split, price, budget)
                ratios[unit, split].append(_ratio(reached, _final_loss(plain_by_seed[row["seed"]], split)))
                if unit == STEPS:
                    losses[split].append(reached)
    diverged = sum(row["status"] == "diverged" for row in final)
    overhead = {unit: float(np.median(values)) for unit, values in overheads.items()}
    return Standing(problem, method, control, tried, parameters, losses, ratios, diverged, overhead)


def standings_frame(standings: Iterable[Standing]) -> pd.DataFrame:
    """Return one row for each method on each problem, with columns for every unit and split."""
    rows = []
    for result in standings:
        row: dict[str, Any] = {
            "problem": result.problem,
            "method": result.method,
            "control": result.control,
            "cells": result.tried,
            "parameters": describe_parameters(result.parameters),
            "seeds": len(result.losses.get("test", ())),
            "diverged": result.diverged,
        }
        for split in SPLITS:
            row[f"loss_{split}"] = float(np.median(result.losses[split])) if result.losses.get(split) else math.nan
        for unit in UNITS:
            short = unit.replace(" ", "_")
            row[f"overhead_{short}"] = (result.overhead or {}).get(unit, math.nan)
            for split in SPLITS:
                name = f"ratio_{split}_{short}"
                row[name], row[f"{name}_lowest"], row[f"{name}_highest"] = result.middle(unit, split)
                row[f"{name}_better"] = result.better(unit, split)
        rows.append(row)
    return pd.DataFrame(rows)


def describe_parameters(cell: Mapping[str, Any] | None) -> str:
    """Return parameters in one line of text; a learning rate is named without its section."""
    if cell is None:
        return "none stayed finite"
    short = ((axis.removeprefix("training."), value) for axis, value in cell.items())
    return ", ".join(f"{axis} {value:g}" if isinstance(value, float) else f"{axis} {value}" for axis, value in short)


def verdict(problem: str, standings: Iterable[Standing]) -> str:
    """Name the methods that end below plain training on every seed, the best ones, and what luck and controls reach."""
    on_problem = [standing for standing in standings if standing.problem == problem and standing.ratios]
    methods, controls = ([standing for standing in on_problem if standing.control is kind] for kind in (False, True))
    if not methods:
        return f"{problem}: no method could be tuned."
    seeds = len(methods[0].losses["test"])
    sentences = [f"{problem}: {len(methods)} method{'s' * (len(methods) > 1)}, {seeds} seeds."]
    for split in SPLITS:
        by_steps, by_time = ([method.method for method in methods if method.all_better(unit, split)] for unit in UNITS)
        better = "none"
        if by_steps or by_time:
            same = "the same" if by_time == by_steps else _listed(by_time)
            better = f"{_listed(by_steps)} at equal {STEPS}, {same} at equal {TIME}"
        sentences.append(f"Methods with a lower {SPLIT_WORDS[split]} loss than plain training on every seed: {better}.")
    sentences.append(f"By luck alone, {len(methods) * 2.0**-seeds:.1g} methods would be in such a list.")
    for split in SPLITS:
        best = min(methods, key=lambda method: method.middle(STEPS, split)[0])
        median, low, high = best.middle(STEPS, split)
        ratio = f"{short_number(median)} ({short_number(low)} to {short_number(high)})"
        sentences.append(f"Lowest {SPLIT_WORDS[split]} loss: {best.method}, {ratio} times plain training's.")
        for control in controls:
            if (reached := control.middle(STEPS, split)[0]) <= median:
                sentences.append(f"The control {control.method} does no worse: {short_number(reached)}.")
    return " ".join(sentences)


def methods_of(standings: Iterable[Standing]) -> dict[str, bool]:
    """Return every method -> True if it is a control. Controls are last; else the order is that of the standings."""
    controls = {standing.method: standing.control for standing in standings if standing.method != PLAIN}
    return dict(sorted(controls.items(), key=lambda item: item[1]))


def short_number(value: float) -> str:
    """Return a ratio as text, in two or three digits."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞"
    if 0.001 <= value < 1000:
        return f"{value:.2f}" if 0.1 <= value < 10 else f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return f"{len(names)} ({', '.join(names)})" if names else "none"


def _final_loss(row: Row, split: str) -> float:
    return loss_within(row, split, Price(), math.inf)


def _ratio(after: float, before: float) -> float:
    """Return after / before: infinite if ``after`` is, else 0 if ``before`` is infinite; 1 if both are 0."""
    if math.isinf(after) or after == before == 0:
        return math.inf if math.isinf(after) else 1.0
    return after / before if before else math.inf
