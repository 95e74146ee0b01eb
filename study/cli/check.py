"""Commands for the parts of a study: draw a problem of the package, check a problem or rule of the user's."""

from pathlib import Path
from typing import Annotated

import typer

from study.cli.console import out_console, say
from study.errors import UserError


def problem(
    name: Annotated[str, typer.Argument(help="A problem that comes with the package.")],
    figures: Annotated[Path, typer.Option(help="Folder for the pictures.")],
) -> None:
    """Draw a problem: for pollutant, what Figures 2, 6 and 7 of the paper show."""
    if name != "pollutant":
        raise UserError(f"there are figures of the problem pollutant only, got {name!r}")
    from problems.pollutant.figures import draw

    try:
        for path in draw(figures):
            say(str(path))
    except OSError as error:
        raise UserError(f"{figures} cannot be written to: {error}") from error


def check(
    name: Annotated[str, typer.Argument(help="module:Class, a problem or a rule of your own.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE: a field of the class.")] = None,
) -> None:
    """Put a problem or rule of your own through the tests that it must pass to be studied."""
    from study.checks import check_named

    results = check_named(name, set_ or [])
    for result in results:
        mark = "[green]pass[/green]" if result.passed else "[red]FAIL[/red]"
        out_console.print(f"{mark}  {result.what}", highlight=False, soft_wrap=True)
        if not result.passed:
            say(f"      {result.why}")
    passed = sum(result.passed for result in results)
    say(f"{passed} passed, {len(results) - passed} failed")
    if passed < len(results):
        raise typer.Exit(1)
