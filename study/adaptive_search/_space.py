"""The cells that a search may ask for, as Optuna sees them."""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.replicates.replicate import Value
from study.specification import Spec
from study.specification.axes import DIGITS


class Space:
    """Cells of a spec as parameters of Optuna, and back.

    Of a list of numbers a parameter is the rank, so that neighbours stay neighbours however they are spaced; of other
    values the index, without an order. An axis of one value is no parameter.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._choices: dict[str, list[Value]] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        for axis, values in spec.axes.items():
            if axis in spec.ranges:
                low, high, log = spec.ranges[axis].low, spec.ranges[axis].high, spec.ranges[axis].log
                whole = spec.kind(axis) == "int"
                self.distributions[axis] = (
                    IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
                )
                continue
            ordered = spec.is_number(axis)
            self._choices[axis] = sorted(values) if ordered else list(values)  # type: ignore[type-var]
            if len(values) > 1:
                last = len(values) - 1
                self.distributions[axis] = (
                    IntDistribution(0, last) if ordered else CategoricalDistribution(range(last + 1))
                )

    @property
    def size(self) -> float:
        """How many cells there are; infinite with a range of real numbers."""
        sizes = [float(len(values)) for values in self._choices.values()]
        for axis in self._spec.ranges:
            drawn = self.distributions[axis]
            sizes.append(drawn.high - drawn.low + 1 if isinstance(drawn, IntDistribution) else math.inf)
        return math.prod(sizes)

    def cell(self, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """The cell that Optuna's parameters stand for."""
        cell: dict[str, Value] = {}
        for axis in self._spec.axes:
            if axis in self._choices:
                index = parameters.get(axis, 0)
                assert isinstance(index, int)
                cell[axis] = self._choices[axis][index]
            else:
                cell[axis] = self._drawn(axis, parameters[axis])
        return cell

    def _drawn(self, axis: str, value: Value) -> Value:
        if not isinstance(value, float):
            return value
        ends = self._spec.ranges[axis]
        return min(max(float(f"{value:.{DIGITS}g}"), ends.low), ends.high)

    def parameters(self, cell: Mapping[str, Value]) -> dict[str, Value] | None:
        """Optuna's parameters of a cell; None where it is none that can be asked for."""
        found: dict[str, Value] = {}
        for axis, value in cell.items():
            if axis in self._choices and value not in self._choices[axis]:
                return None
            if axis in self.distributions:
                found[axis] = self._choices[axis].index(value) if axis in self._choices else value
        return found

    def random(self, generator: np.random.Generator) -> dict[str, Value]:
        """Parameters drawn evenly."""
        found: dict[str, Value] = {}
        for axis, drawn in self.distributions.items():
            if isinstance(drawn, CategoricalDistribution):
                found[axis] = int(generator.integers(len(drawn.choices)))
            elif isinstance(drawn, IntDistribution | FloatDistribution):
                found[axis] = _between(drawn, generator)
        return found

    def all(self) -> Iterator[dict[str, Value]]:
        """Parameters of every cell of a space that is not infinite."""
        each = [
            range(len(drawn.choices))
            if isinstance(drawn, CategoricalDistribution)
            else range(drawn.low, drawn.high + 1)  # type: ignore[attr-defined]
            for drawn in self.distributions.values()
        ]
        for values in itertools.product(*each):
            yield dict(zip(self.distributions, values, strict=True))


def _between(drawn: IntDistribution | FloatDistribution, generator: np.random.Generator) -> int | float:
    if isinstance(drawn, IntDistribution) and not drawn.log:
        return int(generator.integers(drawn.low, drawn.high + 1))
    scale, back = (math.log, math.exp) if drawn.log else (float, float)
    value = back(generator.uniform(scale(drawn.low), scale(drawn.high)))
    value = min(max(value, drawn.low), drawn.high)
    return round(value) if isinstance(drawn, IntDistribution) else value
