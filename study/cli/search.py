"""The command that lets a sampler ask for cells."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from study.cli import printing, results
from study.cli.console import Storage, note, out_console, say
from study.cli.run import TIME_LIMIT_STATUS, parse_duration_s
from study.cli.signals import recording, this_command

if TYPE_CHECKING:
    from study.record import Record

LOWEST = 5
"""Number of cells that are shown when a search ends."""


def search(
    spec: Annotated[str, typer.Argument(help="A spec (YAML file) or the name of a preset; its axes may be ranges.")],
    trials: Annotated[
        int, typer.Option(help="Cells that the record is to hold in the end; those it holds already count.", min=1)
    ],
    sampler: Annotated[
        str,
        typer.Option(
            help="tpe, gp, qmc or random; nsga2: the metric against the overhead; refine: between cells that are "
            "known, where the metric changes fastest and around the optimum."
        ),
    ] = "tpe",
    metric: Annotated[
        str, typer.Option(help="To be low: mean_relative_error, final_loss_ratio or another such ratio.")
    ] = "mean_relative_error",
    sampler_seed: Annotated[int, typer.Option(help="Seed of what the sampler draws.", min=0)] = 0,
    prune: Annotated[
        bool,
        typer.Option(
            help="Stop replicates that are worse than the median of their seed after 1/4 and 1/2 of the epochs."
        ),
    ] = True,
    out: Annotated[Path | None, typer.Option(help="The study's folder; results/NAME by default.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help='KEY=VALUE: override a key, e.g. axes.s="{from: 5, to: 100, log: true}".'),
    ] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT.")] = None,
    executor: Annotated[str, typer.Option(help="ray, or inline: the same packs in this process.")] = "ray",
    storage: Storage = None,
    nodes: Annotated[int | None, typer.Option(help="Wait until the Ray cluster has so many nodes.", min=1)] = None,
    time_limit: Annotated[str | None, typer.Option(help="End in time: seconds, or 90m, 2h, 1d.")] = None,
    no_timing: Annotated[
        bool, typer.Option("--no-timing", help="Do not measure, at the end, how long the recommended cell takes.")
    ] = False,
) -> None:
    """Train the cells that a sampler asks for, instead of a whole grid, and write the best parameters."""
    from study.adaptive_search import search
    from study.execution.confirmation import missing_confirmations
    from study.record import open_study
    from study.specification import load_spec, parse_assignments

    loaded = load_spec(spec, {**parse_assignments(set_ or []), "design": "search", "samples": None})
    folder = out or Path("results") / loaded.name
    resume = f"run the same command again to go on: {this_command()}"
    with recording(folder, resume):
        search(
            loaded,
            folder,
            trials=trials,
            sampler=sampler,
            metric=metric,
            sampler_seed=sampler_seed,
            prune=prune,
            executor=executor,  # type: ignore[arg-type]
            address=address,
            storage=storage,
            time_limit_s=None if time_limit is None else parse_duration_s(time_limit),
            nodes=nodes,
            timing=not no_timing,
        )
    record = open_study(folder, storage)
    printing.print_counts(record)
    _print_lowest(record, metric, front=sampler == "nsga2")
    cells = len(record.grid.cells or ())
    complete = len(record.table()) == len(record.grid.names())
    confirmed = not missing_confirmations(record, loaded)
    if (cells < trials or not complete or not confirmed) and time_limit is not None:
        note(f"{cells} of {trials} cells; {resume}")
        raise typer.Exit(TIME_LIMIT_STATUS)
    if cells < trials:
        say(f"There are no more than these {cells} cells to ask for")
    results.best(record)
    printing.print_answer(record)


def _print_lowest(record: "Record", metric: str, *, front: bool) -> None:
    """Print the cells of the lowest metric, or (``front``) all that no cell beats in both metric and overhead."""
    table, axes = record.table(), list(record.grid.axes)
    table = table[table["status"] == "finished"]
    seeds = len(record.grid.seeds)
    by_cell = table.groupby(axes, dropna=False, sort=False)[[f"{metric}_train", "overhead"]]
    lowest = by_cell.median()[by_cell.size() == seeds].sort_values([f"{metric}_train", "overhead"])
    if front:
        lowest = lowest[lowest["overhead"] < lowest["overhead"].cummin().shift(fill_value=float("inf"))]
    if lowest.empty:
        return
    title = f"None is lower in both {metric} and overhead" if front else f"Lowest {metric}"
    lines = Table(title=title)
    for heading in (*axes, metric, "overhead"):
        lines.add_column(heading)
    for cell, numbers in (lowest if front else lowest.head(LOWEST)).iterrows():
        values = cell if isinstance(cell, tuple) else (cell,)
        lines.add_row(*map(str, values), *(f"{number:.4g}" for number in numbers))
    out_console.print(lines)
