"""The cells that a record is read by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from study.replicates.keys import key
from study.specification import split_axis


@dataclass(frozen=True)
class StudyGrid:
    """The cells that a record is read by: those of the spec that ran last.

    ``axes``: axis key -> its values. ``cells``: where they are not all combinations of the values, those they are, as
    a search has asked for them or samples were drawn. ``sampled``: of the design saltelli, the cells in the order that
    indices are computed from, with repetitions.
    """

    axes: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    cells: tuple[Mapping[str, Any], ...] | None = None
    sampled: tuple[Mapping[str, Any], ...] | None = None

    @property
    def plain_axes(self) -> list[str]:
        """Axes that are not the method's, and that baselines therefore share."""
        return [axis for axis in self.axes if split_axis(axis)[0] != "method"]

    def names(self) -> list[str]:
        """Names of its replicates, in order."""
        cells: Iterable[Mapping[str, Any]] | None = self.cells
        if cells is None:
            cells = (dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values()))
        return [key(cell, seed) for cell in cells for seed in self.seeds]
