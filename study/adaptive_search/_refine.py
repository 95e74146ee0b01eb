"""Choice of new cells between the cells of a grid: in turn where the metric changes fastest, and near the optimum."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from study.replicates.keys import key
from study.replicates.replicate import Value
from study.specification import Spec
from study.specification.axes import DIGITS

FINEST = 1 / 64
"""Smallest distance between cells, as a part of an axis (on a logarithmic scale if the axis is logarithmic)."""


@dataclass(frozen=True)
class _Gap:
    """Gap between two cells next to each other along one axis.

    Attributes:
        middle: Cell half way between the two.
        change: Difference of the metric's logarithm between the two.
        width: Distance of the two, as a part of the axis.
        at_best: True if one of the two is the best cell.
    """

    middle: dict[str, Value]
    change: float
    width: float
    at_best: bool


class Refiner:
    """Asks for the cell half way between two neighbours along an axis of numbers.

    In turn, it takes the two neighbours whose metric differs most, and the best cell with its most distant neighbour.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._values: dict[str, tuple[dict[str, Value], float]] = {}
        self._known: set[str] = set()
        self._turn = 0

    def tell(self, cell: Mapping[str, Value], values: tuple[float, float] | None) -> None:
        """Take in a cell that has ended.

        Args:
            cell: Axis key -> the cell's value.
            values: Metric and overhead of the cell; the overhead is not used. None if nothing can be learned from it.
        """
        self._known.add(key(cell, 0))
        if values is not None:
            self._values[key(cell, 0)] = dict(cell), values[0]

    def ask(self) -> dict[str, Value] | None:
        """Return a cell that is not known; None if no two neighbours have one between them."""
        gaps = list(self._gaps())
        near = [gap for gap in gaps if gap.at_best]
        self._turn += 1
        if near and self._turn % 2 == 0:
            chosen = max(near, key=lambda gap: (gap.width, gap.change))
        elif gaps:
            chosen = max(gaps, key=lambda gap: (gap.change, gap.width))
        else:
            return None
        self._known.add(key(chosen.middle, 0))
        return chosen.middle

    def _gaps(self) -> Iterator[_Gap]:
        lowest = min((value for _, value in self._values.values()), default=math.nan)
        for axis in self._spec.axes:
            if not self._spec.is_number(axis):
                continue
            lines: dict[str, list[tuple[float, dict[str, Value], float]]] = {}
            for cell, value in self._values.values():
                rest = {other: setting for other, setting in cell.items() if other != axis}
                lines.setdefault(key(rest, 0), []).append((float(cell[axis]), cell, value))  # type: ignore[arg-type]
            for line in lines.values():
                line.sort(key=lambda point: point[0])
                for (low, cell, value), (high, _, next_value) in itertools.pairwise(line):
                    half, width = self._half_way(axis, low, high)
                    middle = {**cell, axis: half}
                    if half is not None and key(middle, 0) not in self._known:
                        yield _Gap(middle, abs(value - next_value), width, lowest in (value, next_value))

    def _half_way(self, axis: str, low: float, high: float) -> tuple[Value, float]:
        """Return the value half way between two values, if there is one, and their distance as a part of the axis."""
        ends = [float(value) for value in self._spec.axes[axis]]  # type: ignore[arg-type]
        bottom, top = min(*ends, low), max(*ends, high)
        drawn = self._spec.ranges.get(axis)
        log = bottom > 0 and (drawn.log if drawn else top / bottom >= 100)
        scale = math.log if log else float
        width = (scale(high) - scale(low)) / (scale(top) - scale(bottom))
        if self._spec.kind(axis) == "int":
            half = round(math.sqrt(low * high)) if log else int(low + high) // 2
            return (half, width) if low < half < high else (None, width)
        middle = math.sqrt(low * high) if log else (low + high) / 2
        return (float(f"{middle:.{DIGITS}g}") if width >= 2 * FINEST else None), width
