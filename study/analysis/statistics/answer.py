"""Answer to the question whether to switch the method on, in sentences that claim no more than the replicates support.

The best of many noisy cells looks better than it is. So its ratio to the baseline is compared with the ratio that the
best of as many cells can reach by luck. A cell beats plain training by more than its noise if its log ratio a_i is
below -t s / sqrt(seeds), where t is Student's t for a risk of 5 % divided by the number of cells tried (Bonferroni).

| symbol | meaning | shape |
|---|---|---|
| y_ij | log of the final loss ratio in cell i with seed j; its mean over seeds is a_i | (cells, seeds) |
| s^2 | variance of y_ij about a_i over the cells with a_i < 0, or that of the best cell if it is larger | |

A seed shifts all cells alike, because the cells share its baseline. So for C such cells s^2 is
(M_seed + (C - 1) M_residual) / C, from the mean squares of the model cell + seed, with Satterthwaite's degrees of
freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.cells import Axes, CellSummary, Replicates, describe_cell, restrict
from study.analysis.statistics.sensitivity import Sensitivity

Verdict = Literal["yes", "no", "unsure"]

_METRIC = "final_loss_ratio_train"
_RISK = 0.05
_MIN_SEEDS_FOR_NO = 3  # with two seeds, luck reaches so far that hardly any gain could be seen


@dataclass(frozen=True)
class Luck:
    """The best cell's final loss ratio, compared with the ratio that the best of many cells reaches by luck.

    Attributes:
        ratio: Geometric mean over seeds of the best cell.
        bound: Limit of luck: a ratio below it is a gain.
        upper: 95 % upper bound of the best cell's ratio, corrected for choosing the best of many.
    """

    ratio: float
    bound: float
    upper: float


@dataclass(frozen=True)
class Answer:
    """Verdict, and the sentences that explain it.

    Attributes:
        verdict: ``yes``, ``no`` or ``unsure``.
        sentences: Text that says whether the method pays, what it costs and which axes matter.
        cell: Index of the best cell by the final loss ratio, within ``at``; None if no cell is complete.
        at: Training that the answer is about, if the study has several; else empty.
        luck: Comparison of the best cell with luck; None if it cannot be made.
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
    """Say whether the method should be switched on, what it costs, and which axes matter.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds.
        probed: True if jumps were judged, but none was taken.
        drives: Sensitivity of the final loss ratio (in a probed study: of the geometric mean relative error), for the
            third sentence.

    Raises:
        ValueError: The table is empty.
    """
    if table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to report")
    if probed:
        return Answer("unsure", _probe_sentences(table, axes, seeds, drives), None, {}, None)
    at = _training_to_beat(table, axes)
    grid = restrict(axes, at)
    cells = [cell for cell in Replicates(table, grid, seeds).summaries(_METRIC) if cell.state != "missing"]
    complete = [k for k, cell in enumerate(cells) if cell.complete and min(cell.values) > 0]
    if not complete:
        return Answer("no" if _all_diverged(cells) else "unsure", (_no_cell(cells),), None, at, None)
    k = min(complete, key=lambda k: _geometric_mean(cells[k]))
    luck = luck_of_the_best(np.log([cells[k].values for k in complete]), len(cells))
    verdict, first = _verdict(cells[k], luck, len(cells))
    where = f"; this is for {describe_cell(at)}, where plain training ends lowest" if at else ""
    best_axes = {axis: [value] for axis, value in cells[k].parameters.items()}
    sentences = (f"{first}{where}.", _cost_sentence(table, best_axes, seeds), _cells_sentence(cells, drives))
    index = 0
    for axis, values in axes.items():
        index = index * len(values) + list(values).index(cells[k].parameters[axis])
    return Answer(verdict, sentences, index, at, luck)


def luck_of_the_best(y: NDArray[np.float64], tried: int) -> Luck | None:
    """Compare the lowest mean of y with luck; None with fewer than two seeds.

    Args:
        y: Logarithms of ratios, (cells, seeds).
        tried: Number of cells that the best was chosen from, including those that did not finish.
    """
    n = y.shape[1]
    if n < 2:
        return None
    from scipy.stats import t

    means = y.mean(axis=1)
    best = int(np.argmin(means))
    pooled = y[means < 0] if (means < 0).any() else y[[best]]
    size = len(pooled)
    m_seed = size * float(pooled.mean(axis=0).var(ddof=1))
    residual = pooled - pooled.mean(axis=1, keepdims=True) - pooled.mean(axis=0) + pooled.mean()
    m_residual = float((residual**2).sum()) / ((size - 1) * (n - 1)) if size > 1 else 0.0
    variance = (m_seed + (size - 1) * m_residual) / size
    satterthwaite = (m_seed / size) ** 2 + ((size - 1) * m_residual / size) ** 2 / max(size - 1, 1)
    freedom = (n - 1) * variance**2 / satterthwaite if satterthwaite > 0 else n - 1.0
    deviation = math.sqrt(max(variance, float(y[best].var(ddof=1))))
    reach = float(t.isf(_RISK / tried, freedom)) * deviation / math.sqrt(n)
    return Luck(*(math.exp(min(log, 700.0)) for log in (float(means[best]), -reach, float(means[best]) + reach)))


def _geometric_mean(cell: CellSummary) -> float:
    return math.exp(float(np.mean(np.log(cell.values))))


def _verdict(best: CellSummary, luck: Luck | None, tried: int) -> tuple[Verdict, str]:
    parameters, mean, seeds = describe_cell(best.parameters), _geometric_mean(best), best.n_expected
    if mean >= 1:
        lost = f"none of {tried} cells beats plain training"
        return "no", f"No: {lost}; the best, {parameters}, ends at {mean:.3g} times its loss"
    ends = f"the best of {tried} cells, {parameters}, ends at {mean:.3g} times plain training's loss"
    if luck is None:
        return "unsure", f"Not known: {ends}, but with one seed a gain cannot be told from luck"
    ends += f" (geometric mean over {seeds} seeds)"
    by_luck = f"by luck alone, the best of {tried} cells could reach {luck.bound:.3g}"
    if luck.ratio < luck.bound:
        return "yes", f"Yes, with the right parameters: {ends}; {by_luck}"
    if seeds < _MIN_SEEDS_FOR_NO:
        return "unsure", f"Not known: {ends}, but {seeds} seeds are too few to tell: {by_luck}"
    return "no", f"No: no cell beats plain training by more than its noise; {ends}; {by_luck}"


def _cost_sentence(table: pd.DataFrame, cell: Axes, seeds: Sequence[int]) -> str:
    """Say what the best cell costs, and at which part of plain training's cost it reaches plain training's loss."""
    replicates = Replicates(table, cell, seeds)

    def centre(column: str) -> float:
        return next(replicates.summaries(column)).centre

    overhead, test = centre("overhead"), centre("final_loss_ratio_test")
    clauses = []
    if math.isfinite(overhead):
        more = f"{100 * (overhead - 1):.3g} % more operations than plain training"
        clauses.append(f"the best cell costs {more}, not counting those that judge jumps")
        share = overhead * centre("steps_to_baseline_loss") / centre("steps")
        if math.isfinite(share):
            clauses.append(f"it reaches plain training's final loss at {100 * share:.3g} % of plain training's cost")
        elif math.isinf(share):
            clauses.append("on half of the seeds or more, it does not reach plain training's final loss")
    clauses.append(
        f"on test data, it ends at {test:.3g} times plain training's loss"
        if math.isfinite(test)
        else "on test data, it has no finite loss ratio"
    )
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def _cells_sentence(cells: Sequence[CellSummary], drives: Sensitivity | None) -> str:
    """Count the cells by how they ended, and name the axes that matter."""
    better = sum(cell.complete and cell.centre < 1 for cell in cells)
    text = f"{better} of {len(cells)} cells end below plain training"
    if diverged := sum(cell.n_diverged > 0 for cell in cells):
        text += f", {diverged} have a seed that diverged"
    if holes := sum(any(math.isnan(value) for value in cell.values) for cell in cells):
        text += f", {holes} have no value for some seed yet"
    return f"{text}{_largest_shares(drives)}."


def _largest_shares(drives: Sensitivity | None) -> str:
    """Name the two largest shares, and the noise: a share below the noise says nothing."""
    if drives is None or drives.shares is None:
        return ""
    ranked = sorted(drives.shares.terms, key=lambda share: -share.share)[:2]
    shares = ", ".join(f"{term.name} {100 * term.share:.0f} %" for term in ranked)
    noise = "" if drives.shares.noise is None else f" (noise: {100 * drives.shares.noise.share:.0f} %)"
    title = drives.metric.title.lower()
    return f"; the largest shares in the variance of the {title} between cells are {shares}{noise}"


def _probe_sentences(
    table: pd.DataFrame, axes: Axes, seeds: Sequence[int], drives: Sensitivity | None
) -> tuple[str, ...]:
    summaries = Replicates(table, axes, seeds).summaries("geometric_mean_relative_error_train")
    cells = [cell for cell in summaries if cell.state != "missing"]
    complete = [cell for cell in cells if cell.complete]
    first = "Not known: this study was a probe: it judged jumps along plain training, but took none."
    if not complete:
        return (first, _no_cell(cells))
    best = min(complete, key=lambda cell: cell.centre)
    better = sum(cell.centre < 1 for cell in complete)
    return (
        first,
        f"{better} of {len(cells)} cells propose jumps that lower the loss on (geometric) average; the best, "
        f"{describe_cell(best.parameters)}, multiplies it by {best.centre:.3g}{_largest_shares(drives)}.",
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
    """Return the values of the training axes with which the baseline ends lowest, if the study has several trainings.

    Beating a training that nobody would use means nothing. Empty if problem or network vary as well, because losses of
    two problems cannot be compared.
    """
    several = [key for key, values in axes.items() if "." in key and not key.startswith("method.") and len(values) > 1]
    if not several or not all(key.startswith("training.") for key in several):
        return {}
    baseline = table["final_loss_train"] / table[_METRIC]
    lowest, training = math.inf, {}
    for values in product(*(axes[key] for key in several)):
        chosen = np.ones(len(table), dtype=bool)
        for key, value in zip(several, values, strict=True):
            chosen &= np.array([other == value for other in table[key]])
        known = baseline[chosen][np.isfinite(baseline[chosen])]
        if len(known) and float(known.median()) < lowest:
            lowest, training = float(known.median()), dict(zip(several, values, strict=True))
    return training
