"""What commands leave behind: pictures, best parameters, and a study's counts on the terminal."""

import os
import shlex
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from study.cli.console import err_console, out_console, say
from study.replicates.metric_catalogue import HEADLINES

if TYPE_CHECKING:
    import pandas as pd

    from study.analysis import FigureOptions, StudyData
    from study.best.file import BestFile
    from study.record import Record

_HOME = ("from accel import Accelerator", 'accelerator = Accelerator.from_best(model, "best.yaml")')
"""How the best parameters are taken into a training loop, beside the file that holds them."""


def write_figures(
    record: "Record",
    to: Path | None = None,
    options: "FigureOptions | None" = None,
    only: Sequence[str] | None = None,
    table: "pd.DataFrame | None" = None,
) -> None:
    """Draw a record's figures into a folder (DIR/figures by default): all that it allows, or only those named.

    ``table``: the record's, where it has been read already.

    Raises ValueError where one that is named cannot be drawn, or none can; then nothing is written.
    """
    from study.analysis import FIGURES, FigureOptions, draw_all, save_figure

    pictures, left_out = [], {}
    data = study_data(record, table)
    if only and "eigenvalues" in only:
        from study.execution.eigenvalues import watch_eigenvalues

        data = replace(data, spectrum=lambda cell, seed: watch_eigenvalues(record.spec, cell, seed))
    for name, drawn in draw_all(data, options or FigureOptions(), only or FIGURES):
        if not isinstance(drawn, ValueError):
            pictures.append(drawn)
        elif only:
            raise drawn
        else:
            left_out[name] = str(drawn)
    if not pictures:
        raise ValueError("\n".join(["no figure can be drawn", *(f"  {name}: {why}" for name, why in left_out.items())]))
    for picture in pictures:
        for path in save_figure(picture.figure, to or record.folder / "figures", picture.stem, frame=picture.frame):
            say(str(path))
    for name, why in left_out.items():
        err_console.print(f"Left out: {name}: {why}", soft_wrap=True, markup=False, highlight=False)


def study_data(record: "Record", table: "pd.DataFrame | None" = None) -> "StudyData":
    """A record, whose table may have been read already, as figures are drawn from it."""
    from study.analysis import StudyData

    grid, probed = record.grid, record.spec["method"].get("mode") == "probe"
    table = record.table() if table is None else table
    return StudyData(record.name, table, grid.axes, grid.seeds, record.details, probed, sampled=grid.sampled)


def write_heatmap(record: "Record", table: "pd.DataFrame | None" = None) -> None:
    """Draw the heatmaps of Figure 3; of a method without jumps, those of its headline over its first axes.

    ``table``: the record's, where it has been read already.
    """
    from study.analysis import FigureOptions

    headline = HEADLINES.get(record.spec["method"]["name"])
    if headline is None or record.grid.sampled is not None:
        write_figures(record, only=["heatmap"], table=table)
        return
    axes = list(record.grid.axes)
    if len(axes) < 2:
        raise ValueError(f"a heatmap needs two axes, and the study has one ({axes[0]}): `dmd-study table` lists it")
    facet = axes[2] if len(axes) > 2 else None
    options = FigureOptions(metric=headline, x=axes[0], y=axes[1], facet=facet)
    write_figures(record, options=options, only=["heatmap"], table=table)


def _is_rule(record: "Record") -> bool:
    """Whether the method is a rule of the package, which a training loop can take home."""
    name = record.spec["method"]["name"]
    return ":" not in name and name not in HEADLINES


def _best_of(
    record: "Record",
    table: "pd.DataFrame",
    metric: str | None = None,
    rule: str | None = None,
    at: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of a record's ``best.yaml``, with the evidence; arguments as of `study.analysis.statistics.best_document`."""
    from study.analysis.statistics.best_document import best_document

    grid, spec = record.grid, record.spec
    return best_document(
        table,
        grid.axes,
        grid.seeds,
        study=record.name,
        spec_hash=record.attributes["spec_hash"],
        method=spec["method"],
        metric=metric,
        rule=rule,
        at=at,
        evidence={
            **{section: spec[section] for section in ("problem", "network", "training", "axes")},
            "trained_with": record.provenance(),
        },
    )


def write_best(
    record: "Record",
    metric: str | None = None,
    rule: str | None = None,
    at: dict[str, Any] | None = None,
    table: "pd.DataFrame | None" = None,
) -> None:
    """Choose the best parameters, print them, and write them to DIR/best.yaml with the evidence and how to use them.

    ``table``: the record's, where it has been read already.
    """
    from study.best.file import write_best

    document = _best_of(record, record.table() if table is None else table, metric, rule, at)
    chosen = document["chosen"]
    for name, rules in document["choices"].items():
        say(f"Best by {name}")
        for one, choice in rules.items():
            mark = "*" if chosen == {"metric": name, "rule": one} else " "
            say(f"{mark} {one + ':':20}{choice.get('unavailable') or _in_words(name, choice)}")
    path = write_best(record.folder / "best.yaml", document)
    say(str(path))
    if chosen is None:
        return
    say("* is what these take:")
    if _is_rule(record):
        say(f'  from accel import Accelerator\n  accelerator = Accelerator.from_best(model, "{path}")')
    say(f"  dmd-study run SPEC --from-best {shlex.quote(str(path))}")


def write_report(record: "Record", to: Path | None = None, table: "pd.DataFrame | None" = None) -> None:
    """Write a record's report to a file (DIR/report.html by default), whole or not at all.

    ``table``: the record's, where it has been read already.

    Raises:
        ValueError: the record has no replicates yet. OSError: the file cannot be written.
    """
    from dashboards import render_report
    from study.analysis.pages.report import report_of
    from study.analysis.statistics.best_document import best_text
    from study.execution.terminal_progress import counting
    from study.record import write_whole

    to = to or record.folder / "report.html"
    with warnings.catch_warnings(record=True) as caught, counting("packs read") as count:
        warnings.simplefilter("always")
        table = record.table() if table is None else table
        details = record.details(count)
    said = sorted({str(one.message).replace(f"{record.folder}{os.sep}", "") for one in caught})
    for text in said:
        err_console.print(f"Warning: {text}", soft_wrap=True, markup=False, highlight=False)
    if table.empty:
        raise ValueError(f"{record.name} has no replicates yet: there is nothing to report")
    document = _best_of(record, table)
    snippets = [("best.yaml", best_text(document))]
    if document["chosen"] is not None and _is_rule(record):
        snippets.insert(0, ("Take the best parameters home", "\n".join(_HOME)))
    with counting("replicates in the report") as count:
        report = report_of(
            record.name,
            record.spec,
            record.attributes["spec_hash"],
            table,
            record.grid.axes,
            details,
            replicates=len(record.grid.names()),
            provenance=record.provenance(),
            choices=document["choices"],
            snippets=snippets,
            warnings=said,
            sampled=record.grid.sampled,
            done=count,
        )
    text = render_report(report)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_whole(to, lambda path: path.write_text(text, encoding="utf-8"))
    say(str(to))


def write_results(record: "Record") -> None:
    """Heatmaps, best parameters and report, as far as the record allows. OSError where files cannot be written."""
    table = record.table()  # once: of a large record it takes seconds
    for what in (write_heatmap, write_best, write_report):
        try:
            what(record, table=table)
        except ValueError as error:
            err_console.print(f"Not written: {error}", soft_wrap=True, markup=False)


def print_comparison(record: "Record", found: "BestFile") -> None:
    """Print what the best of another study gave here beside what it was best at, and whether it pays."""
    from study.best.reuse import compare

    for compared in compare(found, record.table(), record.grid):
        there, here = compared.there, compared.here
        at = "".join(f", {axis} = {value}" for axis, value in compared.at.items())
        lines = Table(title=f"{record.name}{at}: the best of {found.study} by {there.metric} ({there.rule})")
        for heading in ("", f"{found.study}, {_counted(there.seeds)}", f"here, {_counted(len(record.grid.seeds))}"):
            lines.add_column(heading)
        for what, name in (
            (there.metric, "value"),
            ("the same on test data", "value_test"),
            ("final loss ratio", "final_loss_ratio"),
            ("overhead", "overhead"),
        ):
            lines.add_row(what, *(_number(None if one is None else getattr(one, name)) for one in (there, here)))
        out_console.print(lines)
        say(compared.verdict)


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _in_words(metric: str, choice: dict[str, Any]) -> str:
    parameters = ", ".join(f"{axis} = {value}" for axis, value in choice["parameters"].items())
    named = {"value": metric, "value_test": "test", "final_loss_ratio": "final loss ratio", "overhead": "overhead"}
    if metric == "final_loss_ratio":
        del named["final_loss_ratio"]
    numbers = [f"{what} {choice[name]:.4g}" for name, what in named.items() if choice[name] is not None]
    return f"{parameters}: {', '.join(numbers)}"


def print_status(record: "Record") -> None:
    """Print how many replicates have ended how, and why some failed."""
    counts, grid = record.statuses(), record.grid
    total = len(grid.names())
    parts = [f"{counts[name]} {name}" for name in ("finished", "diverged", "failed", "pruned") if name in counts]
    missing = total - int(counts.sum())
    parts += [f"{missing} missing"] if missing else []
    say(f"{record.name}: {total} replicates: {', '.join(parts) or 'none yet'}")
    damaged = list(record.damaged().values())
    for why in damaged[:8]:
        say(f"  cannot be read, and is trained again by the next run: {why}")
    if len(damaged) > 8:
        say(f"  and {len(damaged) - 8} more packs that cannot be read")
    for reason, count in record.failures().items():
        say(f"  {count} failed: {reason}; when that is mended, run with --retry-failed")


def print_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Print a table of names and amounts."""
    lines = Table(show_header=False, title=title)
    for what, amount in pairs:
        lines.add_row(what, amount)
    out_console.print(lines)
