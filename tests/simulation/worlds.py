"""Tables of log ratios whose truth is known: worlds that differ in how the noise of cells and seeds is spread."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIGMA = 0.05
"""Standard deviation of a replicate's log ratio in a typical cell: runs differ by 5 % between seeds."""


@dataclass(frozen=True)
class World:
    """Draws log ratios of cells without any effect. Their centre, the truth, is 0.

    Attributes:
        name: name in the table.
        spread: standard deviation of the logarithm of the cells' standard deviations.
        wild: True for standard deviations from 0.004 to 7, evenly in the logarithm, as in the preset `quick`.
        tenth: True for one cell in ten that is ten times as noisy.
        t3: True for Student's t with 3 degrees of freedom instead of the normal distribution.
        blow_ups: part of the replicates whose loss is 10 to 1000 times as high. Their centre is that of the others.
        shared: standard deviation of the effect of a seed on all cells, in parts of `SIGMA`.
    """

    name: str
    spread: float = 0.0
    wild: bool = False
    tenth: bool = False
    t3: bool = False
    blow_ups: float = 0.0
    shared: float = 0.0

    @property
    def blow_up_mean(self) -> float:
        """Mean of what blow-ups add to a log ratio."""
        return self.blow_ups * (math.log(10) + math.log(1000)) / 2

    @property
    def blow_up_variance(self) -> float:
        """Variance of what blow-ups add to a log ratio."""
        low, high = math.log(10), math.log(1000)
        return self.blow_ups * (low**2 + low * high + high**2) / 3 - self.blow_up_mean**2

    def deviations(self, cells: int, random: np.random.Generator) -> Array:
        """Standard deviations of the cells' own noise, (cells,)."""
        if self.wild:
            return np.exp(random.uniform(math.log(0.004), math.log(7), cells))
        sigma = SIGMA * np.exp(self.spread * random.normal(size=cells))
        if self.tenth:
            sigma[random.random(cells) < 0.1] *= 10
        return sigma

    def noise(self, sigma: Array, seeds: int, random: np.random.Generator) -> Array:
        """Log ratios of cells with these standard deviations, (cells, seeds)."""
        shape = (len(sigma), seeds)
        y = random.standard_t(3, shape) / math.sqrt(3) if self.t3 else random.normal(size=shape)
        y = sigma[:, None] * y + self.shared * SIGMA * random.normal(size=seeds)
        if self.blow_ups:
            y = y + (random.random(shape) < self.blow_ups) * random.uniform(math.log(10), math.log(1000), shape)
        return y


WORLDS = (
    World("equal"),
    World("unequal", spread=1.0),
    World("slightly unequal", spread=0.3),
    World("wild", wild=True),
    World("a tenth noisy", tenth=True),
    World("t3 tails", t3=True),
    World("blow-ups", blow_ups=0.02),
    World("seed effect", shared=3.0),
    World("unequal + seed", spread=1.0, shared=1.0),
)
