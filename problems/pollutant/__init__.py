"""Dispersion of a reactive pollutant in the atmosphere: the regression problem of Tano, Portwood and Ragusa (2020).

A network learns the map from six parameters (`RANGES`) of a steady convection-diffusion-reaction problem to the
pollutant's concentration c3 at the nodes of the mesh. `flow` and `transport` hold the equations. They say
where these differ from the printed ones: the signs of the reactions in equation 8, and the wind of equations 6 and 7.
Numerical libraries are imported only while data are made.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from problems._problem import Data, Progress, Sizes
from problems.pollutant import _scaling
from problems.pollutant._errors import NotConvergedError
from problems.pollutant._scaling import OUTPUT_SCALINGS, OutputScaler, OutputScaling
from problems.pollutant.dataset import RANGES, Dataset, load_or_generate

__all__ = ["RANGES", "Dataset", "NotConvergedError", "OutputScaler", "Pollutant"]


@dataclass(frozen=True)
class Pollutant:
    """The pollutant problem; the defaults are the paper's scale.

    Inputs are scaled to [-1, 1] by their sampling ranges, which are known beforehand and cover both splits.

    Args:
        samples: number of parameter sets, training and test together.
        seed: seed of the Latin hypercube, and so of the split.
        output_scaling: ``minmax`` (one global minimum and maximum -> [-1, 1]), ``standard`` (each node to mean 0 and
            deviation 1) or ``log``; fitted on the training samples alone.
        nodes_x: number of mesh nodes along the ground.
        nodes_y: number of mesh nodes above the ground; nodes_x * nodes_y is the number of outputs. Fewer nodes, such
            as 30 x 10, give the same physics on a coarser mesh, for quick studies.
        test_fraction: share of the samples that is kept for testing.
    """

    samples: int = 1000
    seed: int = 0
    output_scaling: OutputScaling = "minmax"
    nodes_x: int = 89
    nodes_y: int = 30
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        wrong = []
        for name, least in (("samples", 2), ("seed", 0), ("nodes_x", 3), ("nodes_y", 3)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                wrong.append(f"{name} must be a whole number >= {least}, not {value!r}")
        if self.output_scaling not in OUTPUT_SCALINGS:
            wrong.append(f"output_scaling must be one of {', '.join(OUTPUT_SCALINGS)}, not {self.output_scaling!r}")
        fraction = self.test_fraction
        if not isinstance(fraction, (int, float)) or isinstance(fraction, bool) or not 0.0 < fraction < 1.0:
            wrong.append(f"test_fraction must be a number between 0 and 1, both excluded, not {fraction!r}")
        elif not wrong and not 1 <= self._test_samples() < self.samples:
            wrong.append(
                f"test_fraction {fraction!r} of {self.samples} samples leaves "
                f"{self.samples - self._test_samples()} for training and {self._test_samples()} for testing; "
                "each needs at least one"
            )
        if wrong:
            raise ValueError("pollutant: " + "; ".join(wrong))

    def sizes(self) -> Sizes:
        """Return the shapes of the data, without computing anything."""
        test = self._test_samples()
        return Sizes(len(RANGES), self.nodes_x * self.nodes_y, self.samples - test, test)

    def data(self, progress: Progress | None = None) -> Data:
        """Return scaled inputs and concentrations, in random order; the last ``test_fraction`` of them are for testing.

        Raises:
            OSError: the cache folder cannot be used.
            NotConvergedError: a sample cannot be solved; the message names its six parameters.
        """
        raw = self.raw(progress)
        low, high = np.array(list(RANGES.values())).T
        inputs = 2.0 * (raw.parameters - low) / (high - low) - 1.0
        targets = self._scaler(raw).scale(raw.c3)
        train = self.sizes().train_samples
        return Data(inputs[:train], targets[:train], inputs[train:], targets[train:])

    def raw(self, progress: Progress | None = None) -> Dataset:
        """Return unscaled parameters and concentrations of all samples, training samples first."""
        return load_or_generate(self.samples, self.seed, self.nodes_x, self.nodes_y, progress)

    def unscale(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the concentrations of scaled outputs (rows, nodes): the inverse of the output scaling."""
        return self._scaler(self.raw()).unscale(outputs)

    def _scaler(self, raw: Dataset) -> OutputScaler:
        return _scaling.fit(raw.c3[: self.sizes().train_samples], self.output_scaling)

    def _test_samples(self) -> int:
        return round(self.test_fraction * self.samples)
