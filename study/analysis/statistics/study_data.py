"""A study as figures and comparisons need it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from study.analysis.statistics.cells import Axes, value_key


@dataclass(frozen=True)
class StudyData:
    """A study as the figures need it.

    ``table``: as in `heatmap_data`. ``rows``: gives every replicate, baselines too, with its jumps and loss curves (as
    `study.record.Record.details`); called once, and only by figures that need it. ``probed``: its jumps were judged,
    not taken. ``spectrum``: gives the eigenvalues of the jumps of one cell and seed, which the record does not hold, as
    a frame of ``epoch``, ``real``, ``imag``; None where they must not be made. ``sampled``: of a study whose cells are
    samples, as of `sobol_indices`; None of a grid or a search.
    """

    name: str
    table: pd.DataFrame
    axes: Axes
    seeds: Sequence[int]
    rows: Callable[[], Iterable[Mapping[str, Any]]] = field(repr=False)
    probed: bool = False
    spectrum: Callable[[Mapping[str, Any], int], pd.DataFrame] | None = field(default=None, repr=False)
    sampled: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)
    headline: str = "mean_relative_error"
    """Metric that pictures show where none is named."""

    @cached_property
    def details(self) -> list[Mapping[str, Any]]:
        """Every replicate with its jumps and curves."""
        return list(self.rows())

    @property
    def title(self) -> str:
        """The study's name as a figure's title begins with it."""
        return f"{self.name}, probed: jumps judged, not taken" if self.probed else self.name

    def replicates(self, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The replicates of a cell by seed, with their jumps and curves; only those that trained."""
        return self._matching("cell", cell)

    def baselines(self, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The baselines of a cell by seed, likewise."""
        return self._matching("baseline", cell)

    def _matching(self, kind: str, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        wanted = {key: value_key(value) for key, value in cell.items()}
        found = [
            row
            for row in self.details
            if row["kind"] == kind
            and row["seed"] in set(self.seeds)
            and row["status"] in ("finished", "diverged")
            and all(value_key(value) == wanted[key] for key, value in row["cell"].items() if key in wanted)
        ]
        return sorted(found, key=lambda row: self.seeds.index(row["seed"]))
