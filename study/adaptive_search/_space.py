"""Space of the cells that a search may ask for, in Optuna's terms."""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.replicates.replicate import Value
from study.specification import Spec
from study.specification.axes import DIGITS


class Space:
    """Conversion of a spec's cells to Optuna's parameters, and back.

    For a list of numbers, the parameter is the rank, so that neighbours stay neighbours however they are spaced. For
    other values it is the index, as a category without order. An axis with one value is no parameter.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._choices: dict[str, list[Value]] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        for axis, values in spec.axes.items():
            if axis in spec.ranges:
                low, high, log = spec.ranges[axis].low, spec.ranges[axis].high, spec.ranges[axis].log
                if spec.kind(axis) == "int":
                    self.distributions[axis] = IntDistribution(int(low), int(high), log=log)
                else:
                    self.distributions[axis] = FloatDistribution(low, high, log=log)
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
        """Number of cells; infinite if an axis is a range of real numbers."""
        sizes = [float(len(values)) for values in self._choices.values()]
        for axis in self._spec.ranges:
            distribution = self.distributions[axis]
            if isinstance(distribution, IntDistribution):
                sizes.append(distribution.high - distribution.low + 1)
            else:
                sizes.append(math.inf)
        return math.prod(sizes)

    def cell(self, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """Convert Optuna's parameters to a cell."""
        cell: dict[str, Value] = {}
        for axis in self._spec.axes:
            if axis in self._choices:
                index = parameters.get(axis, 0)
                assert isinstance(index, int)
                cell[axis] = self._choices[axis][index]
            else:
                cell[axis] = self._rounded(axis, parameters[axis])
        return cell

    def _rounded(self, axis: str, value: Value) -> Value:
        """Round a real number to as many digits as a spec has, within its range."""
        if not isinstance(value, float):
            return value
        ends = self._spec.ranges[axis]
        return min(max(float(f"{value:.{DIGITS}g}"), ends.low), ends.high)

    def parameters(self, cell: Mapping[str, Value]) -> dict[str, Value] | None:
        """Convert a cell to Optuna's parameters; None if the cell lies outside the space."""
        parameters: dict[str, Value] = {}
        for axis, value in cell.items():
            if axis in self._choices and value not in self._choices[axis]:
                return None
            if axis in self.distributions:
                parameters[axis] = self._choices[axis].index(value) if axis in self._choices else value
        return parameters

    def random(self, generator: np.random.Generator) -> dict[str, Value]:
        """Draw parameters evenly from the space."""
        parameters: dict[str, Value] = {}
        for axis, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                parameters[axis] = int(generator.integers(len(distribution.choices)))
            elif isinstance(distribution, IntDistribution | FloatDistribution):
                parameters[axis] = _draw(distribution, generator)
        return parameters

    def all(self) -> Iterator[dict[str, Value]]:
        """Yield the parameters of every cell; the space must be finite."""
        choices = [
            range(len(distribution.choices))
            if isinstance(distribution, CategoricalDistribution)
            else range(distribution.low, distribution.high + 1)  # type: ignore[attr-defined]
            for distribution in self.distributions.values()
        ]
        for values in itertools.product(*choices):
            yield dict(zip(self.distributions, values, strict=True))


def _draw(distribution: IntDistribution | FloatDistribution, generator: np.random.Generator) -> int | float:
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return int(generator.integers(distribution.low, distribution.high + 1))
    scale, back = (math.log, math.exp) if distribution.log else (float, float)
    value = back(generator.uniform(scale(distribution.low), scale(distribution.high)))
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value
