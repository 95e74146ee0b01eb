"""The data of a study that figures and comparisons are made from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from study.analysis.statistics.cells import Axes, Replicates, value_key
from study.analysis.statistics.paired_losses import Fetch
from study.analysis.statistics.recommendation import Recommendation, recommend
from study.replicates.keys import key as name_of


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
        fetch: Function that returns the replicates whose name meets a condition, as ``rows`` returns all; by default
            it selects them from ``rows``.
        training: Training section of the spec.
        fresh_seeds: Seeds that confirm the recommended cell.
        smallest_effect: Smallest gain that matters, as a part of the final loss.
        timing: Measured time of a cell and of a plain training, see `recommend`.
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
    fetch: Fetch | None = field(default=None, repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, repr=False)
    fresh_seeds: Sequence[int] = ()
    smallest_effect: float = 0.02
    timing: Mapping[str, Any] | None = field(default=None, repr=False)

    @cached_property
    def details(self) -> list[Mapping[str, Any]]:
        """All replicates with their jumps and curves."""
        return list(self.rows())

    @cached_property
    def recommendation(self) -> Recommendation:
        """The recommended cell and the verdict, which every page and picture shows. Not for a study of probes."""
        return recommend(
            self.table,
            self.axes,
            self.seeds,
            self.fetch or self._select,
            defaults={f"training.{key}": value for key, value in self.training.items()},
            fresh_seeds=self.fresh_seeds,
            smallest_effect=self.smallest_effect,
            timing=self.timing,
        )

    @property
    def recommended_cell(self) -> dict[str, Any] | None:
        """The recommended cell; None if the study has none, as a study of probes or one without replicates."""
        return None if self.table.empty or self.probed else self.recommendation.cell

    @property
    def recommended_as(self) -> str:
        """Name of the recommended cell in legends: if plain training wins, it is the least bad one."""
        if self.recommended_cell is None or self.recommendation.verdict != "no":
            return "recommended cell"
        steps = self.recommendation.equal_steps
        gains = steps is not None and steps.ratio < 1
        return "best cell, but its gain is too small" if gains else "best cell, but plain training wins"

    def _select(self, wanted: Callable[[str], bool]) -> list[Mapping[str, Any]]:
        return [row for row in self.details if wanted(f"{row['kind']} {name_of(row['cell'], row['seed'])}")]

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

    def median_of(self, cell: Mapping[str, Any], column: str) -> float:
        """Return the median of a column of the table over the seeds of a cell."""
        grid = {axis: [value] for axis, value in cell.items()}
        return next(Replicates(self.table, grid, self.seeds).summaries(column)).centre

    def best_plain_rows(self) -> list[Mapping[str, Any]]:
        """Return the best plain training by seed, if no cell has its recipe; else nothing."""
        if self.recommended_cell is None:
            return []
        wanted = self.recommendation.recorded_plain
        if wanted.keys() <= self.axes.keys():
            return []
        seeds = set(self.seeds)
        return [
            row for row in self.details if row["kind"] == "baseline" and row["cell"] == wanted and row["seed"] in seeds
        ]

    def _matching(self, kind: str, cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        wanted = {key: value_key(value) for key, value in cell.items()}
        matching = [
            row
            for row in self.details
            if row["kind"] == kind
            and row["seed"] in set(self.seeds)
            and row["status"] in ("finished", "diverged")
            and row["cell"].keys() <= self.axes.keys()  # not a baseline with values of its own
            and all(value_key(value) == wanted[key] for key, value in row["cell"].items() if key in wanted)
        ]
        return sorted(matching, key=lambda row: self.seeds.index(row["seed"]))
