"""Studies drawn from a world, and how often their verdicts and intervals are wrong."""

from collections import Counter
from dataclasses import replace

import numpy as np

from study.analysis.statistics import gains as statistics
from study.analysis.statistics.gains import (
    Gains,
    fresh_interval,
    to_recommend,
    unsteady_cells,
    verdict_of,
    verdict_of_cells,
)
from tests.simulation.former import pooled_yes
from tests.simulation.worlds import Array, World

EFFECTS = (0.02, 0.05, 0.1)
"""Gains, as parts of the loss. The first is the smallest that counts."""

LOSS = np.log(1.3)
"""Log ratio where every cell loses: the answer is then a plain no."""

FRESH_SEEDS = 5
QUIET_CELLS = 11


def try_studies(world: World, cells: int, seeds: int, draws: int, random: np.random.Generator) -> dict[str, float]:
    """Draw studies and return how often each event happened, as a part of the draws that could show it.

    The cells' own noise is drawn once for all effects, because a shift of a cell shifts its bounds and nothing else
    (`tests/study/analysis/statistics/test_gains.py` checks that).
    """
    counts: Counter[str] = Counter()
    for _ in range(draws):
        sigma = world.deviations(cells, random)
        y = world.noise(sigma, seeds, random)
        fresh = world.noise(sigma, FRESH_SEEDS, random)
        null = statistics.gains(y, tried=cells)
        assert null is not None
        nothing = np.zeros(cells)
        counts["false yes, pooled"] += pooled_yes(y)
        counts["false yes"] += verdict_of_cells(null, 0) == "yes"
        counts["all bounds hold"] += bool(((null.low <= 0) & (null.high >= 0)).all())
        counts["no, all lose"] += verdict_of_cells(_shifted(null, np.full(cells, LOSS))) == "no"
        _count_two_stages(counts, null, fresh, nothing, "0 %")
        for effect in EFFECTS:
            gain = np.log1p(-effect)
            name = f"{100 * effect:g} %"
            single = np.where(np.arange(cells) == 0, gain, 0.0)
            lone = np.where(np.arange(cells) == 0, gain, 1.0)
            quiet = nothing.copy()
            quiet[np.argsort(sigma)[:QUIET_CELLS]] = gain
            _count_verdicts(counts, null, single, f"{name} in a cell")
            _count_verdicts(counts, null, lone, f"{name} in a cell, others lose")
            _count_verdicts(counts, null, quiet, f"{name} in quiet cells")
            _count_two_stages(counts, null, fresh, quiet, name)
    return {name: count / draws for name, count in counts.items()}


def _shifted(null: Gains, effects: Array) -> Gains:
    names = ("mean", "low", "high", "floor", "middle")
    return replace(null, **{name: getattr(null, name) + effects for name in names})


def _count_verdicts(counts: Counter[str], null: Gains, effects: Array, name: str) -> None:
    """Count verdicts on the study's own seeds. A "no" is told apart where the cells that gain are called unsteady."""
    result = _shifted(null, effects)
    verdict = verdict_of_cells(result)
    real = effects < 0
    counts[f"yes, {name}"] += verdict == "yes"
    counts[f"wrong cell, {name}"] += verdict == "yes" and not real[to_recommend(result)]
    named = bool(unsteady_cells(result)[real].any())
    counts[f"false no, {name}"] += verdict == "no" and not named
    counts[f"no but unsteady, {name}"] += verdict == "no" and named


def _count_two_stages(counts: Counter[str], null: Gains, fresh: Array, effects: Array, name: str) -> None:
    """Count what fresh seeds say about the cell that the study's own seeds recommend."""
    cell = to_recommend(_shifted(null, effects))
    _, low, high = fresh_interval(fresh[cell] + effects[cell])
    counts[f"fresh interval holds, {name}"] += low <= effects[cell] <= high
    counts[f"fresh yes, {name}"] += verdict_of(low, high) == "yes"
    counts[f"fresh false yes, {name}"] += high < 0 and effects[cell] >= 0
    counts[f"fresh false no, {name}"] += verdict_of(low, high) == "no" and effects[cell] < 0
