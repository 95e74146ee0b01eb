"""Commands that turn a record into figures and tables. They import nothing that a record names."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from study.cli import results
from study.cli.console import At, Folder, Storage, as_user_errors, chosen_values, opened, out_console, say
from study.cli.drawing_library import load_seaborn
from study.errors import UserError

if TYPE_CHECKING:
    from study.analysis import Sensitivity, SobolIndices

Metric = Annotated[
    str | None,
    typer.Option(
        help="Which metric, without _train or _test; mean_relative_error by default, or that of a method without jumps."
    ),
]
X = Annotated[str | None, typer.Option(help="Axis of the heatmap to the right; s, or the first axis there is.")]
Y = Annotated[str | None, typer.Option(help="Axis of the heatmap upwards; m, or the next axis there is.")]
Facet = Annotated[
    str | None,
    typer.Option(help="Axis with one row of heatmaps per value; tolerance, or the next axis of several values."),
]
To = Annotated[Path | None, typer.Option(help="Folder for the pictures; DIR/figures by default.")]


def figures(
    folder: Folder,
    only: Annotated[list[str] | None, typer.Option(help="Only the figure of this name. May be repeated.")] = None,
    metric: Metric = None,
    x: X = None,
    y: Y = None,
    facet: Facet = None,
    at: At = None,
    to: To = None,
    storage: Storage = None,
) -> None:
    """Draw every figure that the record allows: PNG, SVG, PDF and the CSV behind each; say what is left out and why.

    They are heatmap, spread (over seeds), slices (through the best cell), sensitivity, curves (loss with and without
    jumps), jumps (ratio, outcome, rank, spectral radius), plane (final loss ratio against overhead), and eigenvalues
    (of the jumps, on the unit circle). Eigenvalues are drawn only if they are named, since that trains a cell anew.
    """
    load_seaborn()
    from study.analysis import FIGURES

    for name in only or []:
        if name not in FIGURES:
            raise UserError(f"--only must be one of {', '.join(FIGURES)}, got {name!r}")
    record = opened(folder, storage)
    with as_user_errors():
        results.figures(record, to, only=only, metric=metric, x=x, y=y, facet=facet, at=chosen_values(at))


def heatmap(
    folder: Folder,
    metric: Metric = None,
    x: X = None,
    y: Y = None,
    facet: Facet = None,
    at: At = None,
    to: To = None,
    storage: Storage = None,
) -> None:
    """Draw the heatmaps of Figure 3, as figures --only heatmap: PNG, SVG, PDF and the CSV behind them."""
    figures(folder, ["heatmap"], metric, x, y, facet, at, to, storage)


def sensitivity(
    folder: Folder,
    metric: Metric = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    at: At = None,
    to: To = None,
    storage: Storage = None,
) -> None:
    """Say which axes drive a metric: shares of its variance with intervals, effect curves, and Optuna's importances.

    A study with design: saltelli has its Sobol' indices instead: first order, total and second order, with intervals.
    """
    load_seaborn()
    from study.products import write_sensitivity

    if split not in ("train", "test"):
        raise UserError(f"--split must be train or test, got {split!r}")
    record = opened(folder, storage)
    with as_user_errors():
        written = write_sensitivity(record, to, metric=metric, split=split, at=chosen_values(at))  # type: ignore[arg-type]
    if written.importances is None:
        _print_indices(written.drivers)  # type: ignore[arg-type]
    else:
        _print_shares(written.drivers)  # type: ignore[arg-type]
        _print_importances(written.importances)
    results.say_paths(written.paths)


def compare(
    first: Folder,
    second: Annotated[Path, typer.Argument(help="Another study's folder.", metavar="DIR")],
    metric: Metric = None,
    at: At = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the pictures; the second DIR/figures by default.")] = None,
) -> None:
    """Put two studies side by side: the cells and seeds they share, and how much they differ, with intervals."""
    load_seaborn()
    from study.products import write_comparison

    with as_user_errors():
        written = write_comparison(opened(first, None), opened(second, None), to, metric=metric, at=chosen_values(at))
    comparison = written.comparison
    say(f"{comparison.names[1]} against {comparison.names[0]} by {comparison.metric.name}, training set:")
    say(f"{len(comparison.frame)} cells and {len(comparison.seeds)} seeds are in both")
    luck = f" (by luck alone, {comparison.by_luck:g} cells at most would be, in the mean)" if comparison.by_luck else ""
    for words, count in comparison.counted().items():
        say(f"  {count:5} cells {words}" + ("" if words == "not told apart" else luck))
    if comparison.by_luck:
        say("  by intervals over seeds that hold for all cells at once (at least 95 %)")
    else:
        say("  one seed gives no intervals, so no cell is told apart")
    centre, low, high = comparison.overall
    interval = "" if math.isnan(low) else f" ({low:.4g} to {high:.4g}, about 95 % over seeds)"
    what = f"{'ratio' if comparison.relative else 'difference'}, mean over the cells that all seeds finished in both"
    say(f"  {what}: {centre:.4g}{interval}")
    for note in comparison.notes:
        say(note)
    results.say_paths(written.paths)


def _print_shares(found: "Sensitivity") -> None:
    what = found.metric.title.lower() if found.split is None else f"{found.metric.title.lower()} ({found.split})"
    for heading, shares in ((f"Shares of the variance of the {what}", found.shares), ("of divergence", found.diverged)):
        if shares is None:
            continue
        lines = Table(title=heading)
        for column in ("", "share", "how sure", "with noise", "d.f."):
            lines.add_column(column, justify="left" if not column else "right", no_wrap=True)
        for share in shares.shares:
            noise = share is shares.noise
            interval = "-"
            if share.low is not None and share.high is not None:
                interval = f"{share.low:.3f} to {share.high:.3f}"
            elif share.leave_one_out:
                interval = f"{min(share.leave_one_out):.3f} to {max(share.leave_one_out):.3f}"
            rest = ("", "") if noise else (f"{share.raw:.3f}", str(share.degrees))
            lines.add_row(share.name, f"{share.share:.3f}", interval, *rest)
        out_console.print(lines)
    say(f"{found.cells} cells, {found.seeds} seeds. " + " ".join([*_jackknifed(found), *_capped(found), *found.notes]))


def _print_indices(found: "SobolIndices") -> None:
    what = found.metric.title.lower() if found.split is None else f"{found.metric.title.lower()} ({found.split})"
    scale = "logarithm of the " if found.metric.scale in ("ratio", "log") else ""
    lines = Table(title=f"Sobol' indices of the {scale}{what}")
    for column in ("", "index", "value", "about 95 %"):
        lines.add_column(column, justify="right" if column in ("value", "about 95 %") else "left", no_wrap=True)
    for index in found.indices:
        order = "total" if index.order == "total" else f"{index.order} order"
        lines.add_row(index.name, order, f"{index.value:.3f}", f"{index.low:.3f} to {index.high:.3f}")
    out_console.print(lines)
    notes = [
        f"{found.samples} samples in {found.cells} cells; mean over {found.seeds} seed{'s' * (found.seeds > 1)}.",
        "Intervals of about 95 %: SALib's bootstrap over the samples.",
    ]
    say(" ".join([*notes, *_capped(found), *found.notes]))


def _jackknifed(found: "Sensitivity") -> list[str]:
    if found.shares and found.shares.seeds >= 5:
        return ["How sure: intervals of about 95 %, jackknife over seeds."]
    return []


def _capped(found: "Sensitivity | SobolIndices") -> list[str]:
    if not (found.n_capped or found.n_diverged):
        return []
    return [
        f"Held at the cap of {found.cap:.4g}: {found.n_capped} replicates that are worse and {found.n_diverged} "
        f"that diverged, in {found.n_cells_at_cap} cells."
    ]


def _print_importances(found: dict[str, dict[str, float]]) -> None:
    from study.analysis import EVALUATORS

    lines = Table(title="Optuna's importances, which answer other questions")
    lines.add_column("")
    for name in found:
        lines.add_column(name, justify="right")
    for axis in next(iter(found.values())):
        lines.add_row(axis, *(f"{of[axis]:.3f}" for of in found.values()))
    out_console.print(lines)
    for name in found:
        say(f"{name}: {EVALUATORS[name]}.")
