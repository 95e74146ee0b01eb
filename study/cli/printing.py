"""Words on the terminal about a study: its best parameters, its counts, and how a best of another study did."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from study.cli.console import out_console, say

if TYPE_CHECKING:
    from study.analysis import Choice
    from study.best.file import BestFile
    from study.record import Record


def print_best(path: Path, *, take_home: bool) -> None:
    """Print the choices in a ``best.yaml``, and how they are used.

    ``take_home``: the method is a rule that a training loop can take.
    """
    from study.best.file import Unavailable, read_best

    best = read_best(path)
    for metric, rules in best.choices.items():
        say(f"Best by {metric}")
        for rule, choice in rules.items():
            chosen = best.chosen is not None and (best.chosen.metric, best.chosen.rule) == (metric, rule)
            words = choice.unavailable if isinstance(choice, Unavailable) else _in_words(choice)
            say(f"{'*' if chosen else ' '} {rule + ':':20}{words}")
    say(str(path))
    if best.chosen is None:
        return
    say("* is what these take:")
    if take_home:
        say(f'  from accel import Accelerator\n  accelerator = Accelerator.from_best(model, "{path}")')
    say(f"  dmd-study run SPEC --from-best {shlex.quote(str(path))}")


def print_comparison(record: "Record", best: "BestFile") -> None:
    """Print what the best of another study gave here beside what it was best at, and whether it pays."""
    from study.best.reuse import compare

    for compared in compare(best, record.table(), record.grid):
        there, here = compared.there, compared.here
        at = "".join(f", {axis} = {value}" for axis, value in compared.at.items())
        lines = Table(title=f"{record.name}{at}: the best of {best.study} by {there.metric} ({there.rule})")
        for heading in ("", f"{best.study}, {_counted(there.seeds)}", f"here, {_counted(len(record.grid.seeds))}"):
            lines.add_column(heading)
        for what, name in (
            (there.metric, "value"),
            ("the same on test data", "value_test"),
            ("final loss ratio", "final_loss_ratio"),
            ("overhead", "overhead"),
        ):
            lines.add_row(
                what, *(_number(None if choice is None else getattr(choice, name)) for choice in (there, here))
            )
        out_console.print(lines)
        say(compared.verdict)


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _in_words(choice: "Choice") -> str:
    parameters = ", ".join(f"{axis} = {value}" for axis, value in choice.parameters.items())
    named = {choice.metric: choice.value, "test": choice.value_test, "final loss ratio": choice.final_loss_ratio}
    if choice.metric == "final_loss_ratio":
        del named["final loss ratio"]
    named["overhead"] = choice.overhead
    return f"{parameters}: {', '.join(f'{what} {value:.4g}' for what, value in named.items() if value is not None)}"


def print_status(record: "Record") -> None:
    """Print how many replicates have ended how, and why some failed."""
    from study.replicates.outcome import NOT_RECORDED

    say(f"{record.name}: {record.progress()}")
    outcomes = record.jump_outcomes()
    if outcomes.keys() - {NOT_RECORDED}:
        say(f"  jumps: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())}")
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
