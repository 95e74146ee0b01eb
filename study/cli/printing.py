"""Words on the terminal about a study: its counts, its answer, its parameters, and those of another study."""

import shlex
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from study.cli.console import note, out_console, say

if TYPE_CHECKING:
    from study.analysis import Choice, StudyData
    from study.best.file import BestFile
    from study.record import Record
    from study.specification import Spec


def print_best(path: Path, *, take_home: bool) -> None:
    """Print the recommended cell and the other choices in a ``best.yaml``, and how they are used.

    ``take_home``: the method is a rule that a training loop can take.
    """
    from study.best.file import Recommended, Unavailable, read_best

    best = read_best(path)
    mark = "*" if best.chosen is None else " "
    if isinstance(best.recommendation, Unavailable):
        say(f"  recommended: none: {best.recommendation.unavailable}")
    else:
        say(f"{mark} recommended: {best.recommended}: {_parameters(best.recommendation.parameters)}")
    for metric, rules in best.other_choices.items():
        say(f"  {rules.get('question', metric)} ({metric}):")
        for rule, choice in rules.items():
            if isinstance(choice, str):
                continue
            chosen = best.chosen is not None and (best.chosen.metric, best.chosen.rule) == (metric, rule)
            words = choice.unavailable if isinstance(choice, Unavailable) else _in_words(choice)
            say(f"{'*' if chosen else ' '}   {rule + ':':20}{words}")
    say(str(path))
    if best.chosen is None and not isinstance(best.recommendation, Recommended):
        return
    say("* is what these take:")
    if take_home:
        say(
            f"  from accel import Accelerator\n"
            f'  accelerator = Accelerator.from_best(model, "{path}", optimizer=optimizer)'
        )
    say(f"  dmd-study run SPEC --from-best {shlex.quote(str(path))}")


def print_reuse(record: "Record", best: "BestFile") -> None:
    """Print what another study's parameters gave here, and the answer of both studies."""
    from study.best.reuse import reused

    print_counts(record)
    lines = Table(title=escape(f"{record.name}: the parameters of {best.study} ({best.why_chosen})"))
    for heading in ("here at", "loss / loss of the same plain training", "on test data", "operations / plain training"):
        lines.add_column(heading)
    for result in reused(record.table(), record.grid):
        at = escape(_parameters(result.at)) or "all"
        if result.here is None:
            lines.add_row(at, escape(f"not known: {result.why}"), "-", "-")
        else:
            lines.add_row(at, *(_number(getattr(result.here, n)) for n in ("value", "value_test", "overhead")))
    out_console.print(lines)
    say(f"There: {' '.join(best.answer)}")
    say(f"Here: {record.answer()}")


def warn_of_best(best: "BestFile", spec: "Spec") -> None:
    """Warn if another study recommends to leave its method off, or trained in another way than this spec does."""
    from study.best.reuse import differences_in_training

    texts = differences_in_training(best, spec)
    if best.recommended == "off":
        texts.insert(0, " ".join([f"{best.study} recommends to leave it off.", *best.answer[:1]]))
    for text in texts:
        note(f"Warning: {text}")


def print_answer(record: "Record", data: "StudyData | None" = None) -> None:
    """Print the study's answer in one to three sentences, or the reason why it has none yet."""
    from study.analysis.statistics.answer import answer

    try:
        say(str(answer(data or record.study_data())))
    except ValueError as reason:
        say(f"No answer yet: {reason}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _in_words(choice: "Choice") -> str:
    named = {choice.metric: choice.value, "test": choice.value_test, "final loss ratio": choice.final_loss_ratio}
    if choice.metric == "final_loss_ratio":
        del named["final loss ratio"]
    named["overhead"] = choice.overhead
    numbers = ", ".join(f"{what} {value:.4g}" for what, value in named.items() if value is not None)
    return f"{_parameters(choice.parameters)}: {numbers}"


def _parameters(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} = {value}" for axis, value in cell.items())


def print_status(record: "Record") -> None:
    """Print how many replicates have ended how, why some failed, and the answer so far."""
    print_counts(record)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # packs that cannot be read are named above
        print_answer(record)


def print_counts(record: "Record") -> None:
    """Print how many replicates have ended how, and why some failed."""
    from study.replicates.outcome import NOT_RECORDED

    say(f"{record.name}: {record.progress()}")
    outcomes = record.jump_outcomes()
    if outcomes.keys() - {NOT_RECORDED}:
        say(f"  jumps: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())}")
    kept = record.attributes.get("products", {})
    if kept.get("chosen") == "onednn":
        say(
            f"  matrix products: onednn, which took {kept.get('onednn_ms')} ms for a step of {kept.get('samples')} "
            f"samples, and torch {kept.get('torch_ms')} ms"
        )
    damaged = list(record.damaged().values())
    for why in damaged[:8]:
        say(f"  cannot be read, and is trained again by the next run: {why}")
    if len(damaged) > 8:
        say(f"  and {len(damaged) - 8} more packs that cannot be read")
    for reason, count in record.failures().items():
        say(f"  {count} failed: {reason}. Fix the cause, then run again with --retry-failed")


def print_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Print a table of names and amounts."""
    lines = Table(show_header=False, title=title)
    for what, amount in pairs:
        lines.add_row(what, amount)
    out_console.print(lines)
