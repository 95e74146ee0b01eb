"""Summaries of cells over their seeds: medians in which a diverged seed counts as the worst value."""

import math
import statistics
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

Axes = Mapping[str, Sequence[Any]]
"""Axis key -> the values it takes in the study."""

State = Literal["ok", "partial", "diverged", "infinite", "failed", "pruned", "missing"]
"""State of a cell over its seeds."""

STATUSES = ("finished", "diverged", "failed", "pruned")
"""Statuses of a replicate in the table."""


@dataclass(frozen=True)
class CellSummary:
    """Summary of one metric of one cell over the study's seeds.

    Attributes:
        parameters: Axis key -> the cell's value.
        values: Metric of each seed, in the order of the seeds. It is nan if there is no value, and ±inf (the worst
            value) if the replicate diverged or finished with a metric that overflowed.
        statuses: Status of each seed, as in the table, or ``missing``.
        centre: Median over the seeds that have a value.
        mean: Mean over the seeds; nan unless every seed finished with a finite value.
        spread: Standard deviation over the seeds (n - 1); nan where the mean is, and with one seed.
        state: State of the cell.
    """

    parameters: dict[str, Any]
    values: tuple[float, ...]
    statuses: tuple[str, ...]
    centre: float
    mean: float
    spread: float
    state: State

    @property
    def n_ok(self) -> int:
        """Number of seeds that finished with a finite value."""
        return sum(math.isfinite(value) for value in self.values)

    @property
    def n_diverged(self) -> int:
        """Number of seeds that diverged."""
        return self.statuses.count("diverged")

    @property
    def n_expected(self) -> int:
        """Number of seeds of the study."""
        return len(self.values)

    @property
    def complete(self) -> bool:
        """True if every seed finished with a finite value. Only such a cell can be the best one."""
        return self.state == "ok"


class Replicates:
    """Rows of a table, found by cell and seed. Rows of cells or seeds outside the study are ignored.

    Args:
        table: One row per replicate, with a column per axis, ``seed``, ``status`` and the metrics.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.

    Raises:
        ValueError: A column is missing, a status is unknown, or a replicate has two rows.
    """

    def __init__(self, table: pd.DataFrame, axes: Axes, seeds: Sequence[int]) -> None:
        needed = [*axes, "seed", "status"]
        absent = [name for name in needed if name not in table.columns]
        if absent and not table.empty:
            raise ValueError(
                f"the table must have the columns {', '.join(needed)}; it lacks {', '.join(absent)}. "
                "Is it the table of another study?"
            )
        self._table, self._axes, self._seeds = table, axes, tuple(seeds)
        self._rows: dict[tuple[Hashable, ...], int] = {}
        self._status: list[str] = []
        if table.empty:
            return
        self._status = [str(status) for status in table["status"]]
        unknown = sorted(set(self._status) - set(STATUSES))
        if unknown:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {', '.join(unknown)}")
        for row, key in enumerate(zip(*(map(value_key, table[name]) for name in [*axes, "seed"]), strict=True)):
            if key in self._rows:
                where = dict(zip([*axes, "seed"], key, strict=True))
                raise ValueError(f"the table must have one row per replicate; it has two for {where}")
            self._rows[key] = row

    def summaries(
        self, column: str, *, higher_is_better: bool = False, recorded: bool = False
    ) -> Iterator[CellSummary]:
        """Yield one summary per cell of the grid. The last axis varies fastest.

        Args:
            column: Column of the metric.
            higher_is_better: True if the worst value is -inf, not inf.
            recorded: True to leave out the cells that have no row.
        """
        present = column in self._table.columns
        metric = self._table[column].to_numpy(dtype=np.float64, na_value=np.nan) if present else None
        worst = -math.inf if higher_is_better else math.inf
        for cell in self._recorded() if recorded else product(*self._axes.values()):
            values, statuses = [], []
            for seed in self._seeds:
                row = self._rows.get((*map(value_key, cell), value_key(seed)))
                status = "missing" if row is None else self._status[row]
                value = math.nan
                if status == "diverged":
                    value = worst
                elif status == "finished" and metric is not None and row is not None:
                    value = float(metric[row])
                    value = worst if math.isinf(value) else value
                values.append(value)
                statuses.append(status)
            yield _summary(dict(zip(self._axes, cell, strict=True)), tuple(values), statuses)

    def _recorded(self) -> list[tuple[Any, ...]]:
        """Return the grid's cells that have a row. A search trains few of the many combinations of axis values."""
        positions = [{value_key(value): k for k, value in enumerate(values)} for values in self._axes.values()]
        indices: set[tuple[int, ...]] = set()
        for row_key in self._rows:
            index = [known.get(value) for known, value in zip(positions, row_key, strict=False)]  # ignores the seed
            if None not in index:
                indices.add(tuple(k for k in index if k is not None))
        values = list(self._axes.values())
        return [tuple(values[axis][k] for axis, k in enumerate(index)) for index in sorted(indices)]


def _summary(parameters: dict[str, Any], values: tuple[float, ...], statuses: list[str]) -> CellSummary:
    known = [value for value in values if not math.isnan(value)]
    n_ok = sum(map(math.isfinite, known))
    centre = float(statistics.median(known)) if known else math.nan  # for a few seeds, ten times as fast as numpy's
    state: State
    if math.isinf(centre):
        # A replicate whose metric overflowed may have finished all the same, for example if every jump was rejected.
        state = "diverged" if "diverged" in statuses else "infinite"
    elif known:
        state = "ok" if n_ok == len(values) else "partial"
    else:
        state = "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "missing"
    mean = math.nan if state != "ok" else float(np.mean(known)) if n_ok > 1 else known[0]
    spread = math.nan
    if state == "ok" and n_ok > 1:
        with np.errstate(over="ignore"):  # it may overflow to infinity for values near the largest float
            spread = float(np.std(known, ddof=1))
    return CellSummary(parameters, values, tuple(statuses), centre, mean, spread, state)


def value_key(value: object) -> Hashable:
    """Return a key that is the same for equal axis values, even if stored differently (numpy, float, nan for None)."""
    # fast path: most values are plain, and large grids have many
    if type(value) is int or type(value) is str or (type(value) is float and not math.isnan(value)):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), value_key(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(map(value_key, value))
    if isinstance(value, Hashable):
        return value
    raise ValueError(f"an axis value must be a number, a string or a list of them; got {value!r}")


def restrict(axes: Axes, at: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Return the axes, with every axis in ``at`` cut down to the value chosen there.

    Raises ValueError for an unknown axis or value; the message lists the valid ones.
    """
    chosen = {key: list(values) for key, values in axes.items()}
    for key, value in (at or {}).items():
        if key not in chosen:
            raise ValueError(f"at must name an axis of the study ({', '.join(axes)}); got {key!r}")
        match = [candidate for candidate in chosen[key] if value_key(candidate) == value_key(value)]
        if not match:
            raise ValueError(f"at[{key!r}] must be one of {list_values(axes[key])}; got {value!r}")
        chosen[key] = match[:1]
    return chosen


def list_values(values: Sequence[Any]) -> str:
    """Return axis values as text for a message or a label: floats are short, and lists are as in a spec."""
    return ", ".join(map(_in_words, values))


def _in_words(value: Any) -> str:
    if isinstance(value, (list, tuple, np.ndarray)):
        return f"[{list_values(list(value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_cell(cell: Mapping[str, Any]) -> str:
    """Return the parameters of a cell in one line of text, such as ``m = 8, s = 10``."""
    return ", ".join(f"{axis} = {list_values([value])}" for axis, value in cell.items())


def rising(values: Sequence[Any]) -> list[Any]:
    """Return numbers in rising order, and other values in the order given."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values) if numbers else list(values)
