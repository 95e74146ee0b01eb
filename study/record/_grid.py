"""The cells that a record is read by."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from study.planning.cells import distinct
from study.record._rows import hashable
from study.replicates.keys import key
from study.specification import split_axis
from study.specification.axes import parse_axis, within
from study.specification.saltelli import saltelli


@dataclass(frozen=True)
class StudyGrid:
    """The cells that a record is read by: those of the spec that ran last.

    ``axes``: axis key -> its values. ``cells``: the cells that a search has asked for or that were drawn as samples;
    None if they are all combinations of the values. ``sampled``: the cells of a study with design saltelli in the order
    that indices are computed from, with repetitions.
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
        """Return the names of all replicates, in order."""
        cells: Iterable[Mapping[str, Any]] | None = self.cells
        if cells is None:
            cells = (dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values()))
        return [key(cell, seed) for cell in cells for seed in self.seeds]


def grid_of(spec: Mapping[str, Any], recorded: Callable[[], Iterable[str]]) -> StudyGrid:
    """Return the cells of a recorded spec.

    Args:
        spec: plain data, as a record holds it.
        recorded: returns the keys of all recorded replicates; called for a search only, whose cells they are.
    """
    written, seeds = spec["axes"], tuple(spec["seeds"])
    if spec.get("design") == "search":
        cells = _cells_within(written, recorded())
        return StudyGrid(_values_of(cells, written), seeds, tuple(cells))
    if spec.get("design") == "saltelli":
        options = {
            axis: parse_axis(values) if isinstance(values, dict) else list(map(hashable, values))
            for axis, values in written.items()
        }
        sampled = saltelli(options, spec["samples"])
        return StudyGrid(_values_of(sampled, written), seeds, tuple(distinct(sampled)), tuple(sampled))
    return StudyGrid({axis: tuple(map(hashable, values)) for axis, values in written.items()}, seeds)


def _cells_within(axes: Mapping[str, Any], recorded: Iterable[str]) -> list[dict[str, Any]]:
    """Return the cells of these replicates that lie within the axes, each once."""
    cells = {}
    for name in recorded:
        kind, _, text = name.partition(" ")
        if kind != "cell":
            continue
        parameters = json.loads(text)
        cell = {axis: hashable(parameters[axis]) for axis in axes}
        if all(within(values, cell[axis]) for axis, values in axes.items()):
            cells[key(cell, 0)] = cell
    return list(cells.values())


def _values_of(cells: Iterable[Mapping[str, Any]], axes: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values that each axis takes in these cells."""
    cells = list(cells)
    return {axis: tuple(dict.fromkeys(cell[axis] for cell in cells)) for axis in axes}
