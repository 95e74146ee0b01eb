"""Commands that look at a record. They import nothing that a record names."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from study.cli import results
from study.cli.console import At, Folder, Storage, as_user_errors, chosen_values, opened, print_warnings, say, say_again
from study.cli.printing import print_answer, print_status
from study.errors import UserError


def status(folder: Folder, storage: Storage = None) -> None:
    """Count what is recorded, also while the study runs, and say what the study answers so far."""
    from study.record import kept_results

    if kept := kept_results(folder, storage):
        say_again(kept.status)
    else:
        print_status(opened(folder, storage))


def table(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option(help="FILE.csv or FILE.parquet; CSV on standard output by default.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Print or write one row per replicate, with every metric."""
    if to is not None and to.suffix not in (".csv", ".parquet"):
        raise UserError(f"--to must end in .csv or .parquet, got {to}")
    from study.products import write_table

    record = opened(folder, storage)
    if to is None:
        record.table().to_csv(sys.stdout, index=False)
        return
    try:
        say(str(write_table(record, to)))
    except OSError as error:
        raise UserError(f"{to} cannot be written: {error}") from error


def best(
    folder: Folder,
    metric: Annotated[
        str | None,
        typer.Option(help="By which metric: mean_relative_error by default, final_loss_ratio or another such ratio."),
    ] = None,
    rule: Annotated[str | None, typer.Option(help="minimum (by default), or one-standard-error.")] = None,
    at: At = None,
    storage: Storage = None,
) -> None:
    """Choose the best parameters and write them to DIR/best.yaml, with the evidence and how to use them."""
    record = opened(folder, storage)
    with as_user_errors(), print_warnings():
        data = record.study_data()
        results.best(record, metric, rule, chosen_values(at), data)
        print_answer(record, data)
