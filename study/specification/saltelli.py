"""Cells for Sobol' indices: SALib's points of the unit cube, mapped to the values of the axes."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.specification.axes import Range

MAX_SAMPLES = 2**14
"""Largest number of samples."""
_SEED = 1
"""Seed of the scrambling. Fixed, so that all readers of a record get the same cells, and more samples only add some."""


def is_sample_count(value: object) -> bool:
    """Return True for a power of two: a Sobol' sequence covers the cube evenly with no other number of points."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return is_integer and 2 <= value <= MAX_SAMPLES and value & (value - 1) == 0  # type: ignore[operator]


def saltelli(axes: Mapping[str, Sequence[Any] | Range], samples: int) -> list[dict[str, Any]]:
    """Return the cells of Saltelli's design for first-order, total and second-order indices, in SALib's order.

    For K axes that vary these are samples (2 K + 2) cells, with repetitions where axes have few values.

    Args:
        axes: axis key -> its range or its list of values, which is sampled by index.
        samples: a power of two.

    Source: Saltelli 2002, Computer Physics Communications 145, 280-297.
    """
    varying = [axis for axis, options in axes.items() if isinstance(options, Range) or len(options) > 1]
    points = _points(len(varying), samples)
    columns = {axis: points[:, k].tolist() for k, axis in enumerate(varying)}
    return [
        {axis: _value(options, columns[axis][row] if axis in columns else 0.0) for axis, options in axes.items()}
        for row in range(len(points))
    ]


@functools.lru_cache(maxsize=8)
def _points(dimensions: int, samples: int) -> NDArray[np.float64]:
    from SALib.sample import sobol  # takes a second to import

    cube = {"num_vars": dimensions, "names": list(map(str, range(dimensions))), "bounds": [[0.0, 1.0]] * dimensions}
    points: NDArray[np.float64] = sobol.sample(cube, samples, calc_second_order=True, seed=_SEED)
    points.flags.writeable = False
    return points


def _value(options: Sequence[Any] | Range, place: float) -> Any:
    """Return the value at a place between 0 and 1."""
    return options.at(place) if isinstance(options, Range) else options[int(place * len(options))]
