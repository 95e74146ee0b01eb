"""The command that compares methods, each with its own best parameters."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.console import err_console, out_console, say
from study.cli.signals import recording, this_command

if TYPE_CHECKING:
    from study.method_comparison import MethodsFile
    from study.method_comparison.standings import Standing


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
    from study.method_comparison import load_methods, run_methods

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
                say=lambda text: err_console.print(text, markup=False, highlight=False),
            )
        )
        write_standings(loaded, standings, folder)


def write_standings(file: "MethodsFile", standings: "Sequence[Standing]", folder: Path) -> None:
    """Write how methods stand as a page, a table of numbers and a picture, and print the verdicts."""
    from study.analysis import save_figure
    from study.method_comparison.draw_standings import draw_standings
    from study.method_comparison.standings import standings_frame, verdict
    from study.method_comparison.standings_text import standings_page
    from study.record import write_whole

    scale = {problem: file.scale(problem) for problem in dict.fromkeys(one.problem for one in standings)}
    page = folder / "standings.md"
    text = standings_page(file.name, scale, file.choices(), standings)
    write_whole(page, lambda path: path.write_text(text, encoding="utf-8"))
    paths = [page]
    try:
        figure = draw_standings(file.name, scale, standings)
        paths += save_figure(figure, folder / "figures", "standings", frame=standings_frame(standings))
    except ValueError as error:
        err_console.print(f"Not drawn: {error}", soft_wrap=True, markup=False)
    for problem in scale:
        say(verdict(problem, standings))
    for path in paths:
        say(str(path))


def _print_plan(file: "MethodsFile", problems: Iterable[str]) -> None:
    from rich.table import Table

    lines = Table(title=f"{file.name}: nothing is run")
    for heading in ("problem", "method", "cells", "trainings", "epochs"):
        lines.add_column(heading, justify="left" if heading in ("problem", "method") else "right")
    for planned in file.plan(problems):
        lines.add_row(*map(str, planned))
    out_console.print(lines)
