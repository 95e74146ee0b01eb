"""The command that compares methods, each with its own best parameters."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.console import note, out_console, say
from study.cli.signals import recording, this_command

if TYPE_CHECKING:
    from study.method_comparison import MethodsFile


def compare_methods(
    file: Annotated[str, typer.Argument(help="A comparison (YAML file), or the name of one: methods.")] = "methods",
    out: Annotated[Path | None, typer.Option(help="Its folder; results/NAME by default.")] = None,
    problem: Annotated[
        list[str] | None, typer.Option(help="Only this problem, here and in what is written. May be repeated.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: override a key, e.g. training.epochs=100.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT.")] = None,
    executor: Annotated[
        str, typer.Option(help="inline: packs in this process; or ray, which is started for every study anew.")
    ] = "inline",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained; train nothing.")] = False,
) -> None:
    """Tune every method on every problem, train the best with fresh seeds, and set it beside plain training."""
    from study.method_comparison import load_methods, run_methods, write_standings
    from study.method_comparison.standings import verdict

    loaded = load_methods(file, set_ or [])
    folder = out or Path("results") / loaded.name
    if dry_run:
        _print_plan(loaded, loaded.among(problem or ()))
        return
    resume = f"run the same command again to train what is missing: {this_command()}"
    with recording(folder, resume):
        standings = list(
            run_methods(
                loaded,
                folder,
                problems=problem or (),
                executor=executor,  # type: ignore[arg-type]
                address=address,
                say=note,
            )
        )
        written = write_standings(loaded, standings, folder)
    if written.not_drawn is not None:
        note(f"Not drawn: {written.not_drawn}")
    for studied in dict.fromkeys(standing.problem for standing in standings):
        say(verdict(studied, standings))
    for path in written.paths:
        say(str(path))


def _print_plan(file: "MethodsFile", problems: Iterable[str]) -> None:
    from rich.table import Table

    lines = Table(title=f"{file.name}: nothing is run")
    for heading in ("problem", "method", "cells", "trainings", "epochs"):
        lines.add_column(heading, justify="left" if heading in ("problem", "method") else "right")
    for planned in file.plan(problems):
        lines.add_row(*map(str, planned))
    out_console.print(lines)
