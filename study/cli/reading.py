"""Commands that look at what is recorded. They import nothing that a record names."""

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from study.cli.console import Folder, Storage, as_user_errors, opened, say
from study.cli.outputs import print_status, write_best, write_heatmap
from study.errors import UserError

At = Annotated[list[str] | None, typer.Option(help="AXIS=VALUE: look at this value of an axis only. May be repeated.")]


def status(folder: Folder, storage: Storage = None) -> None:
    """Count what is recorded, also while the study runs."""
    print_status(opened(folder, storage))


def table(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option(help="FILE.csv or FILE.parquet; CSV on standard output by default.")
    ] = None,
    storage: Storage = None,
) -> None:
    """One row per replicate, with every metric."""
    if to is not None and to.suffix not in (".csv", ".parquet"):
        raise UserError(f"--to must end in .csv or .parquet, got {to}")
    frame = opened(folder, storage).table()
    if to is None:
        frame.to_csv(sys.stdout, index=False)
        return
    try:
        if to.suffix == ".parquet":
            # a column of Parquet holds one type; an axis may mix them, as training.batch does
            frame = frame.astype({name: "string" for name in frame if frame[name].dtype == object})
            frame.to_parquet(to)
        else:
            frame.to_csv(to, index=False)
    except OSError as error:
        raise UserError(f"{to} cannot be written: {error}") from error
    say(str(to))


def heatmap(
    folder: Folder,
    metric: Annotated[str, typer.Option(help="Which metric, without _train or _test.")] = "mean_relative_error",
    x: Annotated[str, typer.Option(help="Axis to the right.")] = "s",
    y: Annotated[str, typer.Option(help="Axis upwards.")] = "m",
    facet: Annotated[str, typer.Option(help="Axis with one row of panels per value.")] = "tolerance",
    at: At = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the pictures; DIR/figures by default.")] = None,
    storage: Storage = None,
) -> None:
    """Draw the heatmaps of Figure 3: PNG, SVG, PDF and the CSV behind them."""
    record = opened(folder, storage)
    with as_user_errors():
        write_heatmap(record, to, metric=metric, x=x, y=y, facet=facet, at=_chosen(at))


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
    with as_user_errors():
        write_best(record, metric, rule, _chosen(at))


def _chosen(at: Iterable[str] | None) -> dict[str, Any]:
    from study.spec import parse_yaml

    chosen: dict[str, Any] = {}
    for text in at or []:
        axis, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError("must be AXIS=VALUE, for example tolerance=1e-6")
            loaded = parse_yaml(value)
        except ValueError as error:
            raise UserError(f"--at {text}: {error}") from error
        with contextlib.suppress(ValueError):
            # YAML 1.1 reads 1e-3 as a string
            loaded = float(loaded) if isinstance(loaded, str) else loaded
        chosen[axis] = tuple(loaded) if isinstance(loaded, list) else loaded
    return chosen
