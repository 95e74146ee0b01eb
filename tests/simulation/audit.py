"""Coverage of the other intervals that figures and tables show, in worlds whose truth is known."""

import numpy as np
from SALib.sample import sobol

from study.analysis.statistics.anova import decompose, student_interval
from study.analysis.statistics.gains import fresh_interval
from study.analysis.statistics.sobol import indices_of
from tests.simulation.worlds import SIGMA, Array, World

SHAPE = (4, 5, 3)
"""Grid whose shares are decomposed."""


def cover_cell(world: World, seeds: int, draws: int, random: np.random.Generator) -> tuple[float, float]:
    """Coverage of Student's interval (slices): of any of 112 cells, and of the one with the lowest mean."""
    any_cell, lowest = [], []
    for _ in range(draws):
        y = world.noise(world.deviations(112, random), seeds, random)
        low, high = student_interval(y)
        holds = (low <= 0) & (high >= 0)
        any_cell.append(float(holds.mean()))
        lowest.append(float(holds[y.mean(axis=1).argmin()]))
    return float(np.mean(any_cell)), float(np.mean(lowest))


def cover_mean(world: World, seeds: int, draws: int, random: np.random.Generator) -> float:
    """Coverage of Student's interval of a mean over 20 cells (effect curves of sensitivity, the mean of compare)."""
    holds = []
    for _ in range(draws):
        _, low, high = fresh_interval(world.noise(world.deviations(20, random), seeds, random).mean(axis=0))
        holds.append(low <= world.blow_up_mean <= high)
    return float(np.mean(holds))


def cover_shares(world: World, seeds: int, draws: int, random: np.random.Generator) -> dict[str, float]:
    """Coverage of the shares' jackknife intervals: terms that have an effect, terms that have none, and the noise."""
    a, b, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    effects: Array = SIGMA * (a + b**2 + 0.5 * a * b)
    truth = decompose(effects[..., None], "abc")
    assert truth is not None
    holds: dict[str, list[bool]] = {"with effect": [], "without": [], "noise": []}
    for _ in range(draws):
        sigma = world.deviations(effects.size, random)
        shares = decompose(effects[..., None] + world.noise(sigma, seeds, random).reshape(*SHAPE, seeds), "abc")
        assert shares is not None
        assert shares.noise is not None
        noise = (float(np.mean(sigma**2)) + world.blow_up_variance) * (1 - 1 / effects.size) / seeds
        total = truth.variance + noise
        expected = [*(term.share * truth.variance / total for term in truth.terms), noise / total]
        kinds = ["with effect" if term.share > 1e-9 else "without" for term in truth.terms]
        for kind, share, value in zip([*kinds, "noise"], shares.shares, expected, strict=True):
            if share.low is not None and share.high is not None:
                holds[kind].append(share.low <= value <= share.high)
    return {kind: float(np.mean(values)) for kind, values in holds.items()}


def cover_sobol(samples: int, draws: int, random: np.random.Generator) -> dict[str, float]:
    """Coverage of the bootstrap intervals of Sobol' indices, of Ishigami & Homma's function with a = 7, b = 0.1."""
    of_x, of_y, of_xz = (1 + 0.1 * np.pi**4 / 5) ** 2 / 2, 49 / 8, 0.01 * np.pi**8 * 8 / 225
    parts = [of_x, of_y, 0, of_x + of_xz, of_y, of_xz, 0, of_xz, 0]  # first, total and second order, as `indices_of`
    truth = np.array(parts) / (of_x + of_y + of_xz)
    names = ["x", "y", "z"]
    cube = {"num_vars": 3, "names": names, "bounds": [[-np.pi, np.pi]] * 3}
    holds: dict[str, list[bool]] = {"first": [], "total": [], "second": []}
    for _ in range(draws):
        x, y, z = sobol.sample(cube, samples, calc_second_order=True, seed=int(random.integers(1, 2**31))).T
        indices = indices_of(np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x), names)
        for index, value in zip(indices, truth, strict=True):
            holds[index.order].append(index.low <= value <= index.high)
    return {order: float(np.mean(values)) for order, values in holds.items()}
