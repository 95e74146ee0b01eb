"""Between which cells of a grid to look: where the metric changes fastest, and around the optimum, in turn."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from study.replicates.keys import key
from study.replicates.replicate import Value
from study.specification import Spec
from study.specification.axes import DIGITS

FINEST = 1 / 64
"""Of an axis: neighbours nearer than this (on a logarithmic scale where the axis is one) have nothing between them."""


@dataclass(frozen=True)
class _Gap:
    """Two cells next to each other along one axis, and the cell half way."""

    between: dict[str, Value]
    change: float
    """Of the metric's logarithm."""
    width: float
    """Part of the axis."""
    at_best: bool


class Refiner:
    """Asks for the cell half way between two neighbours along an axis of numbers.

    By turns the two whose metric differs most, and the two farthest apart of those that the lowest cell is one of.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._values: dict[str, tuple[dict[str, Value], float]] = {}
        self._known: set[str] = set()
        self._turn = 0

    def tell(self, cell: Mapping[str, Value], values: tuple[float, float] | None) -> None:
        """A cell has ended, with its metric (and overhead, which is not looked at)."""
        self._known.add(key(cell, 0))
        if values is not None:
            self._values[key(cell, 0)] = dict(cell), values[0]

    def ask(self) -> dict[str, Value] | None:
        """A cell that is not known; None where no two neighbours have one between them."""
        gaps = list(self._gaps())
        near = [gap for gap in gaps if gap.at_best]
        self._turn += 1
        if near and self._turn % 2 == 0:
            found = max(near, key=lambda gap: (gap.width, gap.change))
        elif gaps:
            found = max(gaps, key=lambda gap: (gap.change, gap.width))
        else:
            return None
        self._known.add(key(found.between, 0))
        return found.between

    def _gaps(self) -> Iterator[_Gap]:
        lowest = min((value for _, value in self._values.values()), default=math.nan)
        for axis in self._spec.axes:
            if not self._spec.is_number(axis):
                continue
            lines: dict[str, list[tuple[float, dict[str, Value], float]]] = {}
            for cell, value in self._values.values():
                rest = {other: own for other, own in cell.items() if other != axis}
                lines.setdefault(key(rest, 0), []).append((float(cell[axis]), cell, value))  # type: ignore[arg-type]
            for line in lines.values():
                line.sort(key=lambda each: each[0])
                for (low, cell, one), (high, _, other) in itertools.pairwise(line):
                    half, width = self._half_way(axis, low, high)
                    between = {**cell, axis: half}
                    if half is not None and key(between, 0) not in self._known:
                        yield _Gap(between, abs(one - other), width, lowest in (one, other))

    def _half_way(self, axis: str, low: float, high: float) -> tuple[Value, float]:
        """The value between two, if there is one, and which part of the axis they are apart."""
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
