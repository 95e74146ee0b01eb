"""Whether to switch the method on, in sentences that say no more than the replicates support.

The best of many noisy cells looks better than it is. So its ratio to the baseline is held against what the best of as
many cells can reach by luck: a cell beats plain training by more than its noise where t s / sqrt(seeds) does not bring
it back to 1, t being Student's for 5 % shared out over all cells tried (Bonferroni).

| symbol | meaning | shape |
|---|---|---|
| y_ij | log of the final loss ratio in cell i with seed j; its mean over seeds is a_i | (cells, seeds) |
| s^2 | variance of y_ij about a_i over the cells with a_i < 0, or that of the best cell where it is larger | |

Seeds shift all cells alike, since they share baselines. So s^2 is (M_seed + (C - 1) M_residual) / C of C such cells,
from the mean squares of cell + seed, and its degrees of freedom are Satterthwaite's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.cells import Axes, CellSummary, Replicates, list_values, restrict
from study.analysis.statistics.sensitivity import Sensitivity

Verdict = Literal["yes", "no", "unsure"]

_METRIC = "final_loss_ratio_train"
_RISK = 0.05
_FEWEST_SEEDS_FOR_NO = 3  # of two, luck reaches so far that hardly any gain could be seen


@dataclass(frozen=True)
class Luck:
    """What the best of many cells can be without any effect.

    ``ratio``: geometric mean over seeds that the best cell has; ``bound``: what it must be below to be more than luck;
    ``upper``: 95 % upper bound of the best cell's, allowing for the choice.
    """

    ratio: float
    bound: float
    upper: float


@dataclass(frozen=True)
class Answer:
    """``verdict``, and the sentences that say it: whether it pays, what it costs, and what matters.

    ``cell``: index of the cell that is best by the final loss ratio within ``at``; None where no cell is complete.
    ``at``: the training that the answer is about, where the study has several.
    """

    verdict: Verdict
    sentences: tuple[str, ...]
    cell: int | None
    at: dict[str, Any]
    luck: Luck | None

    def __str__(self) -> str:
        return " ".join(self.sentences)


def answer(
    table: pd.DataFrame, axes: Axes, seeds: Sequence[int], *, probed: bool = False, drives: Sensitivity | None = None
) -> Answer:
    """Say whether the method should be switched on, for which cost, and what that depends on.

    Parameters
    ----------
    table, axes, seeds
        As in `heatmap_data`.
    probed
        Whether jumps were judged, but none taken.
    drives
        Sensitivity of the final loss ratio (of a probe: of the geometric mean), for the third sentence.

    Raises
    ------
    ValueError
        The table is empty.
    """
    if table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to report")
    if probed:
        return Answer("unsure", _of_probe(table, axes, seeds, drives), None, {}, None)
    at = _training_to_beat(table, axes)
    grid = restrict(axes, at)
    cells = [cell for cell in Replicates(table, grid, seeds).summaries(_METRIC) if cell.state != "missing"]
    complete = [k for k, cell in enumerate(cells) if cell.complete and min(cell.values) > 0]
    if not complete:
        return Answer("no" if _all_diverged(cells) else "unsure", (_no_cell(cells),), None, at, None)
    k = min(complete, key=lambda k: _geometric_mean(cells[k]))
    luck = luck_of_the_best(np.log([cells[k].values for k in complete]), len(cells))
    verdict, first = _verdict(cells[k], luck, len(cells))
    where = f" (at {_named(at)}, where plain training ends lowest)" if at else ""
    at_best = {axis: [value] for axis, value in cells[k].parameters.items()}
    sentences = (f"{first}{where}.", _cost(table, at_best, seeds), _how_many(cells, drives))
    index = 0
    for axis, values in axes.items():
        index = index * len(values) + list(values).index(cells[k].parameters[axis])
    return Answer(verdict, sentences, index, at, luck)


def luck_of_the_best(y: NDArray[np.float64], tried: int) -> Luck | None:
    """Hold the lowest mean of y (cells, seeds), logs of ratios, against luck; None under two seeds.

    ``tried``: cells that it was chosen from, those that did not finish included.
    """
    n = y.shape[1]
    if n < 2:
        return None
    from scipy.stats import t

    means = y.mean(axis=1)
    best = int(np.argmin(means))
    pooled = y[means < 0] if (means < 0).any() else y[[best]]
    size = len(pooled)
    of_seed = size * float(pooled.mean(axis=0).var(ddof=1))
    residual = pooled - pooled.mean(axis=1, keepdims=True) - pooled.mean(axis=0) + pooled.mean()
    of_rest = float((residual**2).sum()) / ((size - 1) * (n - 1)) if size > 1 else 0.0
    variance = (of_seed + (size - 1) * of_rest) / size
    spread = (of_seed / size) ** 2 + ((size - 1) * of_rest / size) ** 2 / max(size - 1, 1)
    freedom = (n - 1) * variance**2 / spread if spread > 0 else n - 1.0
    deviation = math.sqrt(max(variance, float(y[best].var(ddof=1))))
    reach = float(t.isf(_RISK / tried, freedom)) * deviation / math.sqrt(n)
    return Luck(*(math.exp(min(bound, 700.0)) for bound in (float(means[best]), -reach, float(means[best]) + reach)))


def _geometric_mean(cell: CellSummary) -> float:
    return math.exp(float(np.mean(np.log(cell.values))))


def _verdict(best: CellSummary, luck: Luck | None, tried: int) -> tuple[Verdict, str]:
    named, mean, seeds = _named(best.parameters), _geometric_mean(best), best.n_expected
    if mean >= 1:
        return (
            "no",
            f"No: none of {tried} cells beats plain training; the best, {named}, ends at {mean:.3g} of its loss",
        )
    ends = f"the best of {tried} cells, {named}, ends at {mean:.3g} of plain training's loss"
    if luck is None:
        return "unsure", f"Not known: {ends}, but one seed cannot tell a gain from the luck of the best of many"
    ends += f" (geometric mean over {seeds} seeds)"
    if luck.ratio < luck.bound:
        return (
            "yes",
            f"Yes, with the right numbers: {ends}, where the luck of the best of so many ends at {luck.bound:.3g}",
        )
    if seeds < _FEWEST_SEEDS_FOR_NO:
        few = f"{seeds} seeds are too few to tell that from the luck of the best of so many, which reaches"
        return "unsure", f"Not known: {ends}, but {few} {luck.bound:.3g}"
    return "no", (
        f"No, nothing beats plain training by more than its noise: {ends}, and the luck of the best of so many reaches "
        f"{luck.bound:.3g}"
    )


def _cost(table: pd.DataFrame, cell: Axes, seeds: Sequence[int]) -> str:
    """What a cell costs, and what of plain training's cost it takes to end where plain training ends."""
    replicates = Replicates(table, cell, seeds)

    def centre(column: str) -> float:
        return next(replicates.summaries(column)).centre

    overhead, test = centre("overhead"), centre("final_loss_ratio_test")
    said = []
    if math.isfinite(overhead):
        said.append(f"that costs {100 * (overhead - 1):.3g} % more operations than plain training, judging apart")
        share = overhead * centre("steps_to_baseline_loss") / centre("steps")
        if math.isfinite(share):
            said.append(f"plain training's final loss is reached at {100 * share:.3g} % of its cost")
        elif math.isinf(share):
            said.append("plain training's final loss is not reached on half of the seeds or more")
    said.append(f"on test data it ends at {test:.3g}" if math.isfinite(test) else "on test data it has no finite value")
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _how_many(cells: Sequence[CellSummary], drives: Sensitivity | None) -> str:
    better = sum(cell.complete and cell.centre < 1 for cell in cells)
    said = f"{better} of {len(cells)} cells end below plain training"
    if diverged := sum(cell.n_diverged > 0 for cell in cells):
        said += f", in {diverged} a seed diverged"
    if holes := sum(any(math.isnan(value) for value in cell.values) for cell in cells):
        said += f", {holes} are not known on every seed yet"
    return f"{said}{_what_matters(drives)}."


def _what_matters(drives: Sensitivity | None) -> str:
    """The two largest terms; the noise is named beside them, since a term below it says nothing."""
    if drives is None or drives.shares is None:
        return ""
    ranked = sorted(drives.shares.terms, key=lambda share: -share.share)[:2]
    said = ", ".join(f"{term.name} {100 * term.share:.0f} %" for term in ranked)
    noise = "" if drives.shares.noise is None else f" (noise: {100 * drives.shares.noise.share:.0f} %)"
    return f"; what explains the {drives.metric.title.lower()}'s variance between cells most: {said}{noise}"


def _of_probe(table: pd.DataFrame, axes: Axes, seeds: Sequence[int], drives: Sensitivity | None) -> tuple[str, ...]:
    found = Replicates(table, axes, seeds).summaries("geometric_mean_relative_error_train")
    cells = [cell for cell in found if cell.state != "missing"]
    complete = [cell for cell in cells if cell.complete]
    first = "Not known: this study probed, so jumps were judged along plain training, but none was taken."
    if not complete:
        return (first, _no_cell(cells))
    best = min(complete, key=lambda cell: cell.centre)
    better = sum(cell.centre < 1 for cell in complete)
    return (
        first,
        f"{better} of {len(cells)} cells propose jumps that lower the loss on (geometric) average; the best, "
        f"{_named(best.parameters)}, takes it to {best.centre:.3g}{_what_matters(drives)}.",
    )


def _no_cell(cells: Sequence[CellSummary]) -> str:
    if _all_diverged(cells):
        return f"No: every one of {len(cells)} cells diverged."
    diverged = sum(cell.n_diverged > 0 for cell in cells)
    return (
        f"Not known: none of {len(cells)} cells has a finite value on every seed "
        f"({diverged} with a diverged seed; see Failures)."
    )


def _all_diverged(cells: Sequence[CellSummary]) -> bool:
    return all(cell.state == "diverged" for cell in cells)


def _training_to_beat(table: pd.DataFrame, axes: Axes) -> dict[str, Any]:
    """The training, of several, whose baseline ends lowest: it is not to be beaten where nobody would train.

    Empty where problem or network vary as well, since losses of two problems cannot be compared.
    """
    several = [key for key, values in axes.items() if "." in key and not key.startswith("method.") and len(values) > 1]
    if not several or not all(key.startswith("training.") for key in several):
        return {}
    baseline = table["final_loss_train"] / table[_METRIC]
    best, found = math.inf, {}
    for values in product(*(axes[key] for key in several)):
        chosen = np.ones(len(table), dtype=bool)
        for key, value in zip(several, values, strict=True):
            chosen &= np.array([other == value for other in table[key]])
        known = baseline[chosen][np.isfinite(baseline[chosen])]
        if len(known) and float(known.median()) < best:
            best, found = float(known.median()), dict(zip(several, values, strict=True))
    return found


def _named(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} = {list_values([value])}" for axis, value in parameters.items())
