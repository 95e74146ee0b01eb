"""Answer to the question whether to switch the method on, in one to three plain sentences.

The numbers are those of `study.analysis.statistics.recommendation`. The sentences claim no more than these support.
"""

import math
from dataclasses import dataclass

from study.analysis.statistics.cells import Replicates, describe_cell, list_values
from study.analysis.statistics.gains import Verdict
from study.analysis.statistics.recommendation import Estimate, Recommendation
from study.analysis.statistics.sensitivity import Sensitivity
from study.analysis.statistics.study_data import StudyData

RECOMMENDED = {"yes": "on", "no": "off", "unsure": "not known"}
"""Verdict -> the recommendation as ``best.yaml`` has it."""

_OPENINGS = {"yes": "Yes", "no": "No", "unsure": "Not known"}


@dataclass(frozen=True)
class Answer:
    """Verdict, and the sentences that explain it.

    Attributes:
        verdict: ``yes``, ``no`` or ``unsure``.
        sentences: One to three sentences: the answer, its cost in time, and what it lacks.
        details: Further sentences: test data, numbers of cells, and which axes matter.
        recommendation: The numbers behind them; None for a study of probes.
    """

    verdict: Verdict
    sentences: tuple[str, ...]
    details: tuple[str, ...] = ()
    recommendation: Recommendation | None = None

    def __str__(self) -> str:
        return " ".join(self.sentences)


def answer(data: StudyData, drives: Sensitivity | None = None) -> Answer:
    """Say whether the method should be switched on, at equal steps and at equal time, and what is not known.

    Args:
        data: The study.
        drives: Sensitivity of the final loss ratio (in a probed study: of the geometric mean relative error).

    Raises:
        ValueError: The study has no replicates yet.
    """
    if data.table.empty:
        raise ValueError("the table has no replicates yet: there is nothing to report")
    if data.probed:
        return Answer("unsure", *_probe_sentences(data, drives))
    result = data.recommendation
    if result.cell is None:
        return Answer(result.verdict, (f"{_OPENINGS[result.verdict]}: {result.why_none}.",), (), result)
    last = [*_what_is_missing(result), *_against_its_own_training(data, result)][:1]
    sentences = [_first_sentence(result), *_time_sentences(result), *last]
    return Answer(result.verdict, tuple(sentences), _details(data, result, drives), result)


def change_in_words(ratio: float) -> str:
    """Write a loss ratio in words: 25 % lower, 12 % higher, or 13 times as high."""
    if ratio >= 2:
        return f"{_times(ratio)} times as high"
    part = abs(1 - ratio)
    return f"{_percent(part)} % {'lower' if ratio < 1 else 'higher'}" if part >= 0.0005 else "0 % lower"


def interval_in_words(estimate: Estimate) -> str:
    """Write an interval and what it rests on in words: 15 to 33 %, 5 fresh seeds."""
    seeds = f"{estimate.seeds} fresh seeds" if estimate.fresh else _counted(estimate.seeds, "seed")
    if estimate.low is None or estimate.high is None:
        return seeds
    low, high = estimate.low, estimate.high
    if high < 1:
        ends = f"{_percent(1 - high)} to {_percent(1 - low)} % lower"
    elif low > 1 and high < 2:
        ends = f"{_percent(low - 1)} to {_percent(high - 1)} % higher"
    elif low >= 2:
        ends = f"{_times(low)} to {_times(high)} times"
    else:
        ends = f"{change_in_words(low)} to {change_in_words(high)}"
    return f"{ends}, {seeds}" if estimate.fresh else f"{ends}, {seeds}, corrected for the choice"


def plain_in_words(result: Recommendation) -> str:
    """Name the plain training that a cell is compared with."""
    if not result.tuned:
        return "plain training"
    settings = ", ".join(f"{_short(axis)} {list_values([result.plain[axis]])}" for axis in result.tuned)
    return f"the best plain training ({settings})"


def _first_sentence(result: Recommendation) -> str:
    assert result.cell is not None
    assert result.equal_steps is not None
    estimate, cell = result.equal_steps, describe_cell(result.cell)
    ends = f"ends {change_in_words(estimate.ratio)} than {plain_in_words(result)}"
    if estimate.ratio >= 2:
        ends = f"ends at {estimate.ratio:.3g} times the loss of {plain_in_words(result)}"
    ends += f" after as many epochs ({interval_in_words(estimate)})"
    if not result.tuned:
        why = "no other plain training finished" if result.tried else "plain training's learning rate was not varied"
        return f"{_OPENINGS[result.verdict]}: {why}; with {cell}, training {ends}."
    if result.verdict == "no" and estimate.ratio < 1 and estimate.verdict != "yes":
        least = f"a gain of {100 * result.smallest_effect:.2g} % or more is excluded"
        return f"No, {least}: with {cell}, training {ends}."
    if result.verdict == "no" and estimate.verdict != "yes":
        which = "the cell" if result.cells == 1 else f"the best of {result.cells} cells"
        return f"No, plain training wins: {which}, {cell}, {ends}."
    return f"{_OPENINGS[result.verdict]}: with {cell}, training {ends}."


def _time_sentences(result: Recommendation) -> list[str]:
    steps, timed = result.equal_steps, result.equal_time
    if result.time is None or timed is None or steps is None:
        return ["Time was not measured."]
    ratio = result.time.ratio
    how_long = "as long as" if abs(ratio - 1) < 0.005 else f"{ratio:.3g} times as long as"
    between = f"{result.time.low:.3g} to {result.time.high:.3g} times, {result.time.device}"
    ends = change_in_words(timed.ratio)
    text = (
        f"An epoch with jumps takes {how_long} one without ({between}); after as much time the loss is "
        f"{ends} ({interval_in_words(timed)})"
    )
    if (steps.verdict, timed.verdict) == ("yes", "no"):
        return [f"{text}: this cell pays in steps, but not in time; others were not timed."]
    if (steps.verdict, timed.verdict) == ("no", "yes"):
        return [f"{text}: this cell pays in time, but not in steps."]
    if timed.verdict == "unsure" and timed.low is not None:
        return [f"{text}, which is within its noise."]
    return [f"{text}."]


def _what_is_missing(result: Recommendation) -> list[str]:
    """Name what the study lacks for a sure answer, and the way to add it: the most important lack only."""
    estimate = result.equal_steps
    assert estimate is not None
    if result.fresh_diverged:
        return [f"This cell diverged on {_counted(result.fresh_diverged, 'fresh seed')}."]
    if edge := _at_the_edge(result):
        return [edge]
    if estimate.low is None:
        return ["With one seed, a gain cannot be told from luck: add `confirm: 5` to the spec, and run it again."]
    if result.verdict == "unsure" and estimate.verdict != "yes" and result.visible is not None and not estimate.fresh:
        gain = f"{100 * result.visible:.2g} %"
        return [f"This study could show a gain of {gain}: more seeds, or `confirm: 5`, show smaller ones."]
    if not result.tuned and result.tried:
        return [f"Of several plain trainings, one finished on every seed; tried: {_what_was_tried(result)}."]
    if not result.tuned:
        return [
            "Add `baseline: {training.lr: [...]}` to the spec and run it again: it trains the missing baselines only."
        ]
    return []


def _against_its_own_training(data: StudyData, result: Recommendation) -> list[str]:
    """Compare the cell with plain training of its own recipe, where another plain training is better."""
    assert result.cell is not None
    recipe = {**{f"training.{key}": value for key, value in data.training.items()}, **result.cell}
    differing = [axis for axis in result.tuned if recipe.get(axis) != result.plain.get(axis)]
    ratio = data.median_of(result.cell, "final_loss_ratio_train")
    if not differing or not math.isfinite(ratio):
        return []
    settings = ", ".join(f"{_short(axis)} {list_values([recipe[axis]])}" for axis in differing)
    seeds = _counted(len(data.seeds), "seed")
    ends = f"{change_in_words(ratio)} than" if ratio < 2 else f"at {ratio:.3g} times the loss of"
    return [f"It ends {ends} plain training with its own {settings} (median of {seeds}), which is not the best."]


def _what_was_tried(result: Recommendation) -> str:
    return "; ".join(f"{_short(axis)} {list_values(values)}" for axis, values in result.tried.items())


def _at_the_edge(result: Recommendation) -> str | None:
    """Warn if plain training is best at the end of the values that were tried."""
    for axis, values in result.tried.items():
        if axis in ("training.momentum", "training.weight_decay"):
            continue  # 0 is the end of what there is
        numbers = all(isinstance(value, int | float) for value in values)
        if numbers and result.plain.get(axis) in (values[0], values[-1]):
            side = "lowest" if result.plain[axis] == values[0] else "highest"
            return (
                f"Plain training is best at the {side} {_short(axis)} tried, {list_values([result.plain[axis]])}: try "
                f"{'lower' if side == 'lowest' else 'higher'} ones too."
            )
    return None


def _details(data: StudyData, result: Recommendation, drives: Sensitivity | None) -> tuple[str, ...]:
    test = (
        "On test data, it has no finite loss ratio."
        if result.test is None
        else (
            f"On test data, it ends {change_in_words(result.test)}."
            if result.test < 2
            else f"On test data, it ends at {result.test:.3g} times the loss."
        )
    )
    cells = f"{result.better} of {result.cells} cells end below {plain_in_words(result)}"
    if result.diverged:
        cells += f", {result.diverged} have a seed that diverged"
    if result.unsteady:
        cells += f", {result.unsteady} vary too widely between seeds to be told"
    if result.holes:
        cells += f", {result.holes} have no value for some seed yet"
    return test, *_operations(data, result), f"{cells}{_largest_shares(drives)}."


def _operations(data: StudyData, result: Recommendation) -> list[str]:
    """Say what the cell costs in operations, which do not depend on the machine."""
    assert result.cell is not None
    overhead = data.median_of(result.cell, "overhead")
    if not math.isfinite(overhead):
        return []
    change = f"{100 * abs(overhead - 1):.3g} % {'more' if overhead >= 1 else 'fewer'}"
    return [f"It costs {change} operations than plain training, without those that judge jumps."]


def _largest_shares(drives: Sensitivity | None) -> str:
    """Name the two largest shares, and the noise: a share below the noise says nothing."""
    if drives is None or drives.shares is None:
        return ""
    ranked = sorted(drives.shares.terms, key=lambda share: -share.share)[:2]
    shares = ", ".join(f"{term.name} {100 * term.share:.0f} %" for term in ranked)
    noise = "" if drives.shares.noise is None else f" (noise: {100 * drives.shares.noise.share:.0f} %)"
    title = drives.metric.title.lower()
    return f"; the largest shares in the variance of the {title} between cells are {shares}{noise}"


def _probe_sentences(data: StudyData, drives: Sensitivity | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    summaries = Replicates(data.table, data.axes, data.seeds).summaries("geometric_mean_relative_error_train")
    cells = [cell for cell in summaries if cell.state != "missing"]
    complete = [cell for cell in cells if cell.complete]
    first = "Not known: this study was a probe: it judged jumps along plain training, but took none."
    if not complete:
        return (first, f"None of {len(cells)} cells has a finite value on every seed."), ()
    best = min(complete, key=lambda cell: cell.centre)
    better = sum(cell.centre < 1 for cell in complete)
    second = (
        f"{better} of {len(cells)} cells propose jumps that lower the loss on (geometric) average; the lowest error "
        f"per jump is that of {describe_cell(best.parameters)}: it multiplies the loss by {best.centre:.3g}"
    )
    shares = _largest_shares(drives).removeprefix("; ")
    return (first, f"{second}."), ((f"{shares[0].upper()}{shares[1:]}.",) if shares else ())


def _short(axis: str) -> str:
    name = axis.partition(".")[2] or axis
    return {"lr": "learning rate"}.get(name, name.replace("_", " "))


def _percent(part: float) -> str:
    return "over 99" if part > 0.995 else f"{100 * part:.2g}"


def _times(ratio: float) -> str:
    return "over 1000" if ratio > 1000 else f"{ratio:.3g}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
