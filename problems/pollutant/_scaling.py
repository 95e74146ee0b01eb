"""Scaling of concentrations to numbers that a network learns well, and back."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
OutputScaling = Literal["minmax", "standard", "log"]
OUTPUT_SCALINGS: tuple[OutputScaling, ...] = ("minmax", "standard", "log")

LOG_FLOOR = 1e-4
"""Fraction of the largest concentration below which the log scaling turns linear.

The largest concentration of every sample is above it. Below it, zeros and small numerical undershoots are harmless.
"""


@dataclass(frozen=True)
class OutputScaler:
    """The map ``scaled = (g(c) - shift) / factor``, with g(c) = arsinh(c / floor), or g(c) = c if ``floor`` is None."""

    shift: Array
    factor: Array
    floor: float | None

    def scale(self, c: Array) -> Array:
        """Return the scaled values of concentrations (samples, outputs), in the same shape."""
        return ((c if self.floor is None else np.arcsinh(c / self.floor)) - self.shift) / self.factor

    def unscale(self, scaled: Array) -> Array:
        """Undo `scale`."""
        value = scaled * self.factor + self.shift
        return value if self.floor is None else self.floor * np.sinh(value)


def fit(c: Array, kind: OutputScaling) -> OutputScaler:
    """Fit a scaler to training outputs ``c``, (samples, outputs).

    ``minmax``: one global minimum and maximum -> [-1, 1], the range of softsign (the paper's "convenient ranges of the
    activation function"). ``standard``: mean 0 and standard deviation 1 for each output; an output that is constant,
    as at nodes where the wind always blows in, becomes 0. ``log``: arsinh(c / floor), which is
    log(2 c / floor) for c well above the floor of 1e-4 of the largest value, then as ``minmax``.
    """
    if kind == "standard":
        deviation = c.std(axis=0)
        # a constant column has a deviation of rounding size, which must not be scaled up to 1
        constant = deviation <= 1e-12 * np.abs(c).max()
        return OutputScaler(c.mean(axis=0), np.where(constant, 1.0, deviation), None)
    floor = LOG_FLOOR * float(c.max()) if kind == "log" else None
    value = c if floor is None else np.arcsinh(c / floor)
    low, high = float(value.min()), float(value.max())
    half_range = 0.5 * (high - low) or 1.0
    return OutputScaler(np.asarray(0.5 * (low + high)), np.asarray(half_range), floor)
