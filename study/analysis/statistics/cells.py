"""One cell over its seeds: the median with a diverged seed as the worst value, and what is missing is counted."""

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

STATUSES = ("finished", "diverged", "failed", "pruned")


@dataclass(frozen=True)
class CellSummary:
    """One metric of one cell over the study's seeds.

    ``values``: one per seed, in the order of the seeds; nan where there is none, ±inf (the worst value) where the
    replicate diverged or the metric of a finished one overflowed. ``statuses``: one per seed, as in the table, or
    ``missing``. ``centre``: median over the seeds that have a value.
    ``mean`` and ``spread`` (standard deviation over seeds, n - 1): nan unless every seed finished with a finite value.
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
        """Whether every seed finished with a finite value. Only such a cell can be the best one."""
        return self.state == "ok"


class Replicates:
    """The rows of a table, found by cell and seed. Rows of other cells or seeds than asked for are left alone.

    ``table``: one row per replicate, with a column per axis, ``seed``, ``status`` and the metrics. Raises ValueError
    for a missing column, an unknown status, or two rows for one replicate.
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
        """One summary per cell of the grid, the last axis fastest; with ``recorded``, only of those with a row."""
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
        """The grid's cells that have a row; of a search there are few, of a product of many values."""
        places = [{value_key(value): place for place, value in enumerate(values)} for values in self._axes.values()]
        found: set[tuple[int, ...]] = set()
        for row in self._rows:
            where = [known.get(value) for known, value in zip(places, row, strict=False)]  # its seed left out
            if None not in where:
                found.add(tuple(place for place in where if place is not None))
        values = list(self._axes.values())
        return [tuple(values[axis][place] for axis, place in enumerate(where)) for where in sorted(found)]


def _summary(parameters: dict[str, Any], values: tuple[float, ...], statuses: list[str]) -> CellSummary:
    known = [value for value in values if not math.isnan(value)]
    n_ok = sum(map(math.isfinite, known))
    centre = float(statistics.median(known)) if known else math.nan  # numpy's takes ten times as long for a few seeds
    state: State
    if math.isinf(centre):
        # A run that finished although its metric overflowed (say, every jump was rejected) did not diverge.
        state = "diverged" if "diverged" in statuses else "infinite"
    elif known:
        state = "ok" if n_ok == len(values) else "partial"
    else:
        state = "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "missing"
    mean = math.nan if state != "ok" else float(np.mean(known)) if n_ok > 1 else known[0]
    spread = math.nan
    if state == "ok" and n_ok > 1:
        with np.errstate(over="ignore"):  # of values near the largest there are, it is infinite
            spread = float(np.std(known, ddof=1))
    return CellSummary(parameters, values, tuple(statuses), centre, mean, spread, state)


def value_key(value: object) -> Hashable:
    """A key that is equal for equal axis values, however they were stored (numpy, float for int, nan for None)."""
    # most are plain, and of many cells there are many
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
    """The axes with those of ``at`` cut to the one value chosen; ValueError lists the axes or values there are."""
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
    """Axis values as read in a message or a label, floats short."""
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


def rising(values: Sequence[Any]) -> list[Any]:
    """Numbers in rising order, other values in the order given."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(values) if numbers else list(values)
