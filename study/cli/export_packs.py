"""Commands for machines without Ray and Optuna: export packs to a file, import their outcomes."""

from pathlib import Path
from typing import Annotated

import typer

from study.cli import results
from study.cli.console import Storage, say


def export_packs(
    spec: Annotated[str, typer.Argument(help="A spec (YAML file) or the name of a preset.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("packs.npz"),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: override a key, e.g. axes.m=[14,20].")
    ] = None,
    done: Annotated[Path | None, typer.Option(help="A folder of the study: leave out what it has trained.")] = None,
) -> None:
    """Write a study's packs to a file, to be trained on a machine with torch and numpy only."""
    from study.execution.offline import export_packs

    file = export_packs(spec, out, set_ or [], done)
    count = sum(len(pack.replicates) for pack in file.packs)
    say(f"{out}: {len(file.packs)} packs, {count} replicates and baselines")
    say(f"There: python -m study.trainer {out.name} --out outcomes.npz --time-limit 480   (again until all have ended)")
    say("Here:  dmd-study import outcomes.npz")


def import_outcomes(
    file: Annotated[Path, typer.Argument(help="What python -m study.trainer wrote, or the folder of make gpu.")],
    out: Annotated[Path | None, typer.Option(help="The study's folder; results/NAME by default.")] = None,
    storage: Storage = None,
) -> None:
    """Add the outcomes of trained packs to the study's record, and draw its pictures."""
    from study.execution.offline import import_outcomes
    from study.record import open_study

    record, _ = import_outcomes(file, out, storage)
    record = open_study(record.folder, storage)
    results.everything(record)
