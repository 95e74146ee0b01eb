"""The data of a study that figures and comparisons are made from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from study.analysis.statistics.cells import Axes, value_key


@dataclass(frozen=True)
class StudyData:
    """The data of one study.

    Attributes:
        name: Name of the study.
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        rows: Function that returns every replicate, baselines included, with its jumps and loss curves (see
            `study.record.Record.details`). It is called once, and only by figures that need it.
        probed: True if the study judged its jumps without taking them.
        spectrum: Function of a cell and a seed that returns the eigenvalues of its jumps as a frame with the columns
            ``epoch``, ``real`` and ``imag``. The record does not hold them. None if they must not be computed.
        sampled: Cells of a study whose cells are samples, as in `sobol_indices`; None for a grid or a search.
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
        """All replicates with their jumps and curves."""
        return list(self.rows())

    @property
    def title(self) -> str:
        """The study's name as it opens a figure's title; a probed study says that it is one."""
        return f"{self.name}, probed: jumps judged, not taken" if self.probed else self.name

    def replicates(self, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the replicates of a cell that were trained, in the order of the seeds, with their jumps and curves."""
        return self._matching("cell", cell)

    def baselines(self, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the baselines of a cell that were trained, in the order of the seeds, with their curves."""
        return self._matching("baseline", cell)

    def _matching(self, kind: str, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        wanted = {key: value_key(value) for key, value in cell.items()}
        matching = [
            row
            for row in self.details
            if row["kind"] == kind
            and row["seed"] in set(self.seeds)
            and row["status"] in ("finished", "diverged")
            and all(value_key(value) == wanted[key] for key, value in row["cell"].items() if key in wanted)
        ]
        return sorted(matching, key=lambda row: self.seeds.index(row["seed"]))
