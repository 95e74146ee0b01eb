"""The one cell that a study recommends, and how it compares with the best plain training.

| symbol | meaning | shape |
|---|---|---|
| y_ij | log of (final training loss of cell i / best plain training's after as many epochs), seed j | (cells, seeds) |

The cell is chosen by the study's seeds: the one whose gain fresh seeds are most likely to confirm, see `to_recommend`.
Its value is taken from fresh seeds where the study has them, because the best of many cells looks better than it is.
Without fresh seeds its interval is corrected for the number of cells and of plain trainings that were tried.

Every place that names a recommended cell takes it from here: report, ``best.yaml``, pictures, terminal and dashboard.
"""

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.analysis.statistics.cells import Axes, CellSummary, Replicates
from study.analysis.statistics.gains import (
    Gains,
    Verdict,
    fresh_interval,
    gains,
    to_recommend,
    verdict_of,
    verdict_of_cells,
    visible_gain,
)
from study.analysis.statistics.paired_losses import Fetch, Pairs
from study.analysis.statistics.plain_training import (
    PlainTraining,
    best_plain,
    comparable_with,
    complete_trainings,
    log_or_nan,
    plain_trainings,
    tuned_keys,
)
from study.replicates.keys import key

Array = NDArray[np.float64]

_MIN_FRESH = 2


@dataclass(frozen=True)
class Estimate:
    """A loss over that of the best plain training: geometric mean over seeds, with a 95 % interval.

    Attributes:
        ratio: Geometric mean over seeds.
        low: Lower end of the interval; None with one seed.
        high: Upper end of the interval; None with one seed.
        seeds: Number of seeds.
        fresh: True for seeds that played no part in the choice. Otherwise the interval is corrected for the choice.
        verdict: ``yes`` if it is a gain, ``no`` if a gain that matters is excluded, else ``unsure``.
    """

    ratio: float
    low: float | None
    high: float | None
    seeds: int
    fresh: bool
    verdict: Verdict


@dataclass(frozen=True)
class TimeRatio:
    """Time of an epoch of the recommended cell / time of an epoch of the best plain training, measured side by side.

    Attributes:
        ratio: Median over pairs.
        low: Lower end of a 95 % interval of the median.
        high: Upper end of it.
        pairs: Number of pairs of short trainings, one after the other.
        device: What they were measured on.
    """

    ratio: float
    low: float
    high: float
    pairs: int
    device: str


@dataclass(frozen=True)
class Recommendation:
    """The recommended cell, the plain training that it is compared with, and the verdict.

    Attributes:
        verdict: ``yes``, ``no`` or ``unsure``, at equal time where time was measured, else at equal steps. Never
            ``yes`` if plain training was not varied.
        cell: Axis -> value; None if no cell can be chosen. If plain training wins, it is the least bad cell.
        why_none: Reason why there is no cell.
        plain: Parameters of the best plain training, with the spec's own values of the keys that were varied.
        recorded_plain: The same as they are recorded.
        tuned: Key that plain training was varied in -> its values in rising order, of trainings that finished.
        tried: The same with values of trainings that did not finish.
        equal_steps: Comparison after as many epochs.
        equal_time: Comparison after as much time; None if time was not measured.
        test: Loss ratio on test data after as many epochs; None if it is not known.
        time: Measured time; None if it was not measured.
        cells: Cells of the study that have a replicate.
        better: Complete cells with a mean below the best plain training.
        diverged: Cells with a diverged seed.
        holes: Cells without a value for some seed yet.
        unsteady: Cells whose loss varies too much between seeds to be told.
        visible: Smallest gain that the study's seeds could have shown in a typical cell; None with one seed.
        smallest_effect: Smallest gain that matters.
        fresh_diverged: Fresh seeds of the cell that diverged.
    """

    verdict: Verdict
    cell: dict[str, Any] | None = None
    why_none: str = ""
    plain: dict[str, Any] = field(default_factory=dict)
    recorded_plain: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, list[Any]] = field(default_factory=dict)
    tried: dict[str, list[Any]] = field(default_factory=dict)
    equal_steps: Estimate | None = None
    equal_time: Estimate | None = None
    test: float | None = None
    time: TimeRatio | None = None
    cells: int = 0
    better: int = 0
    diverged: int = 0
    holes: int = 0
    unsteady: int = 0
    visible: float | None = None
    smallest_effect: float = 0.02
    fresh_diverged: int = 0


def recommend(
    table: pd.DataFrame,
    axes: Axes,
    seeds: Sequence[int],
    fetch: Fetch,
    *,
    defaults: Mapping[str, Any],
    fresh_seeds: Sequence[int] = (),
    smallest_effect: float = 0.02,
    timing: Mapping[str, Any] | None = None,
) -> Recommendation:
    """Choose the cell to recommend, and compare it with the best plain training.

    Args:
        table: Table of replicates, as in `heatmap_data`.
        axes: Axis key -> the study's values.
        seeds: The study's seeds, which choose.
        fetch: Returns replicates by name, with their jumps and curves.
        defaults: Key of training, such as ``training.lr`` -> the spec's own value.
        fresh_seeds: Seeds that confirm the choice.
        smallest_effect: Smallest gain that matters, as a part of the loss.
        timing: Measured time of a cell and of a plain training: ``cell``, ``plain`` and the fields of `TimeRatio`. It
            is used if it is of the cell and the plain training chosen here.
    """
    rows = fetch(lambda name: name.startswith("baseline "))
    trainings = complete_trainings(plain_trainings(rows), seeds)
    references = best_plain(trainings, seeds)
    epochs = Replicates(table, axes, seeds).summaries("final_epoch", recorded=True)
    losses = Replicates(table, axes, seeds).summaries("final_loss_train", recorded=True)
    cells = [(loss, at) for loss, at in zip(losses, epochs, strict=True) if loss.state != "missing"]
    result = Recommendation(
        "unsure",
        tuned=tuned_keys([training.parameters for training in trainings], defaults),
        tried=tuned_keys([row["cell"] for row in rows if row["kind"] == "baseline"], defaults),
        cells=len(cells),
        diverged=sum(cell.n_diverged > 0 for cell, _ in cells),
        holes=sum(any(math.isnan(value) for value in cell.values) for cell, _ in cells),
        smallest_effect=smallest_effect,
    )
    if any(training.reaches_zero(seeds) for training in trainings):
        why = "a plain training ends at a loss of 0 or below, so that ratios of losses are not defined"
        return replace(result, why_none=why)
    compared = [
        (cell, at, reference, y)
        for cell, at in cells
        if cell.complete and (reference := references.get(comparable_with(cell.parameters)))
        if np.isfinite(y := _log_ratios(cell, at, reference, seeds)).all()
    ]
    if not compared:
        verdict, why = _why_no_cell([cell for cell, _ in cells], bool(references))
        return replace(result, verdict=verdict, why_none=why)
    y = np.array([values for *_, values in compared])
    screened = gains(y, tried=len(cells), plains=_most_trainings(trainings))
    in_sample: Verdict = "unsure" if screened is None else verdict_of_cells(screened, smallest_effect)
    place = _choose(compared, screened, in_sample, len(cells), smallest_effect)
    cell, _, reference, _ = compared[place]
    result = replace(
        result,
        cell=dict(cell.parameters),
        plain={**{axis: defaults[axis] for axis in result.tuned if axis in defaults}, **reference.parameters},
        recorded_plain=dict(reference.parameters),
        better=int((y.mean(axis=1) < 0).sum()),
        unsteady=0 if screened is None else screened.unsteady,
        visible=None if screened is None else visible_gain(screened),
        time=_time_of(timing, cell.parameters, reference.parameters),
    )
    pairs = Pairs.of(fetch, cell.parameters, reference.parameters, (*seeds, *fresh_seeds))
    if len(references) == 1 and in_sample == "unsure" and fresh_seeds:
        absolute = [(each.values, at.values) for each, at, _, _ in compared]
        in_sample = _excluded_by_fresh_plain(absolute, pairs.plain, fresh_seeds, len(cells), smallest_effect)
    return _with_estimates(result, pairs, seeds, fresh_seeds, screened, place, in_sample)


def _choose(
    compared: Sequence[tuple[CellSummary, CellSummary, PlainTraining, Array]],
    screened: Gains | None,
    in_sample: Verdict,
    tried: int,
    smallest_effect: float,
) -> int:
    """Return the place of the cell to recommend.

    Cells are compared by their own losses: over a typical loss of plain training, the median of its seeds, because one
    seed of a high rate may have a spike at the epoch that a cell is read at. If the verdict is "yes", the cell is one
    that it speaks of.
    """
    if screened is not None and in_sample == "yes":
        return to_recommend(screened, smallest_effect)
    typical = functools.cache(lambda reference, epoch: reference.typical_log_loss("train", epoch))
    y = np.array(
        [
            [math.log(v) - typical(reference, e) for v, e in zip(cell.values, at.values, strict=True)]
            for cell, at, reference, _ in compared
        ]
    )
    alone = gains(y, tried=tried)
    return int(np.argmin(y.mean(axis=1))) if alone is None else to_recommend(alone, smallest_effect)


def _excluded_by_fresh_plain(
    cells: Sequence[tuple[Sequence[float], Sequence[float]]],
    plain: PlainTraining,
    fresh_seeds: Sequence[int],
    tried: int,
    smallest_effect: float,
) -> Verdict:
    """Return "no" if every steady cell is excluded by the best plain training on fresh seeds, else "unsure".

    These seeds did not choose that training, so its loss is not the lowest of many by luck, and nothing is corrected
    for that. Its uncertainty is added to that of each cell: both bounds are 97.5 %.

    Args:
        cells: Final losses and their epochs of the complete cells, by the study's seeds.
        plain: The best plain training.
        fresh_seeds: Seeds that it was confirmed with.
        tried: Number of cells tried.
        smallest_effect: Smallest gain that matters.
    """
    known = [seed for seed in fresh_seeds if seed in plain.rows and plain.rows[seed]["status"] == "finished"]
    if len(known) < _MIN_FRESH:
        return "unsure"
    epochs = sorted({epoch for _, at in cells for epoch in at})
    losses = {epoch: np.array([plain.log_loss(seed, "train", epoch) for seed in known]) for epoch in epochs}
    y = np.array([[math.log(v) - losses[e].mean() for v, e in zip(*pair, strict=True)] for pair in cells])
    absolute = gains(y, tried=tried)
    if absolute is None or not np.isfinite(y).all():
        return "unsure"
    reach = max(mean - low for mean, low, _ in map(fresh_interval, losses.values()))
    shifted = replace(absolute, low=absolute.low - reach, high=absolute.high + reach, floor=absolute.floor - reach)
    return "no" if verdict_of_cells(shifted, smallest_effect) == "no" else "unsure"


def _with_estimates(
    result: Recommendation,
    pairs: Pairs,
    seeds: Sequence[int],
    fresh_seeds: Sequence[int],
    screened: Gains | None,
    place: int,
    in_sample: Verdict,
) -> Recommendation:
    """Add the estimates of the chosen cell and the verdict to what is known of the choice."""
    fresh_diverged = sum(pairs.cell[s]["status"] == "diverged" for s in fresh_seeds if s in pairs.cell)
    confirmed = [seed for seed in fresh_seeds if pairs.comparable(seed)]
    fresh = len(confirmed) >= _MIN_FRESH and not fresh_diverged
    chosen = confirmed if fresh else [seed for seed in seeds if pairs.comparable(seed)]
    half_widths = (math.nan, math.nan)
    if screened is not None:
        mean = float(screened.mean[place])
        half_widths = (float(screened.low[place]) - mean, float(screened.high[place]) - mean)

    def estimate(y: Iterable[float]) -> Estimate:
        return _estimate(np.array(list(y)), fresh, half_widths, result.smallest_effect)

    equal_steps = estimate(pairs.at_equal_steps(seed, "train") for seed in chosen)
    verdict = in_sample
    if fresh:  # "no" says that no cell gains, and fresh seeds tell of one cell
        verdict = equal_steps.verdict if equal_steps.verdict != "no" or in_sample == "no" else "unsure"
    equal_time = None
    if (time := result.time) is not None:
        middle, fast, slow = (
            estimate(pairs.at_equal_time(seed, ratio) for seed in chosen) for ratio in (time.ratio, time.low, time.high)
        )
        equal_time = _including(middle, fast, slow, result.smallest_effect)
        verdict = _with_time(verdict, equal_time.verdict)
    if verdict == "yes" and (fresh_diverged or not result.tuned):
        verdict = "unsure"  # a gain over a plain training that nobody has tuned says little
    test = np.array([pairs.at_equal_steps(seed, "test") for seed in chosen])
    return replace(
        result,
        verdict=verdict,
        equal_steps=equal_steps,
        equal_time=equal_time,
        test=math.exp(test.mean()) if len(test) and np.isfinite(test).all() else None,
        fresh_diverged=fresh_diverged,
    )


def _why_no_cell(cells: Sequence[CellSummary], plain: bool) -> tuple[Verdict, str]:
    """Return the verdict and the reason if no cell can be chosen."""
    if cells and all(cell.state == "diverged" for cell in cells):
        return "no", f"every one of {len(cells)} cells diverged"
    if not plain:
        return "unsure", "no plain training has finished on every seed yet"
    if any(cell.complete for cell in cells):
        return (
            "unsure",
            f"none of {len(cells)} cells ends above 0 on every seed, so that ratios of losses are not defined",
        )
    diverged = sum(cell.n_diverged > 0 for cell in cells)
    return "unsure", f"none of {len(cells)} cells has a finite loss on every seed ({diverged} with a diverged seed)"


def _most_trainings(trainings: Iterable[PlainTraining]) -> int:
    """Return the largest number of complete plain trainings that a best one was chosen from."""
    counts = Counter(comparable_with(training.parameters) for training in trainings)
    return max(counts.values(), default=1)


def _log_ratios(cell: CellSummary, at: CellSummary, reference: PlainTraining, seeds: Sequence[int]) -> Array:
    return np.array(
        [
            log_or_nan(loss) - reference.log_loss(seed, "train", epoch)
            for seed, loss, epoch in zip(seeds, cell.values, at.values, strict=True)
        ]
    )


def _estimate(y: Array, fresh: bool, half_widths: tuple[float, float], smallest_effect: float) -> Estimate:
    """Make the estimate of log ratios: with its own interval on fresh seeds, else with the corrected one."""
    mean = float(y.mean()) if len(y) else math.nan
    low, high = mean + half_widths[0], mean + half_widths[1]
    if fresh:
        mean, low, high = fresh_interval(y)
    known = math.isfinite(low) and math.isfinite(high)
    return Estimate(
        _exp(mean),
        _exp(low) if known else None,
        _exp(high) if known else None,
        len(y),
        fresh,
        verdict_of(low, high, smallest_effect) if known else "unsure",
    )


def _including(middle: Estimate, fast: Estimate, slow: Estimate, smallest_effect: float) -> Estimate:
    """Return an estimate whose interval includes those at both ends of the measured time."""
    if middle.low is None or middle.high is None:
        return middle
    low = min(each.low for each in (middle, fast, slow) if each.low is not None)
    high = max(each.high for each in (middle, fast, slow) if each.high is not None)
    verdict = verdict_of(math.log(max(low, 1e-300)), math.log(max(high, 1e-300)), smallest_effect)
    return replace(middle, low=low, high=high, verdict=verdict)


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))


def _time_of(timing: Mapping[str, Any] | None, cell: Mapping[str, Any], plain: Mapping[str, Any]) -> TimeRatio | None:
    if timing is None or [key(timing[name], 0) for name in ("cell", "plain")] != [key(cell, 0), key(plain, 0)]:
        return None
    return TimeRatio(**{name: timing[name] for name in ("ratio", "low", "high", "pairs", "device")})


def _with_time(at_steps: Verdict, at_time: Verdict) -> Verdict:
    """Return the verdict when both are known.

    Time is what a user pays. But only the chosen cell was timed, so a gain that it loses in time is no "no".
    """
    if at_time == "yes" or at_steps == "no":
        return "yes" if at_time == "yes" else "no"
    return "unsure"
