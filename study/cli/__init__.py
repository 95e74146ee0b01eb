"""The command line: one thin function per command. Nothing heavy is imported before it is needed."""

import gc
import signal
import sys
from collections.abc import Callable

import typer

from study.cli import check, cluster_template, compare_methods, export_packs, figures, report, run, search, status
from study.cli.console import note
from study.cli.signals import on_sigterm, stoppable
from study.errors import UserError

_THRESHOLDS = (100_000, 50, 50)
"""Thresholds of Python's garbage collector: with its own, going through all that was imported, again and again, takes a
tenth of a command's time."""

app = typer.Typer(
    help="Which hyperparameters of a training accelerator matter, and should I switch it on at all?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_commands: tuple[Callable[..., None], ...] = (
    run.run,
    search.search,
    status.status,
    status.table,
    figures.figures,
    figures.heatmap,
    figures.sensitivity,
    figures.compare,
    status.best,
    report.report,
    report.dashboard,
    check.problem,
    check.check,
)
for _command in _commands:
    app.command()(stoppable(_command))
app.command("compare-methods")(stoppable(compare_methods.compare_methods))
app.command("export-packs")(stoppable(export_packs.export_packs))
app.command("import")(stoppable(export_packs.import_outcomes))
app.command("cluster-template")(stoppable(cluster_template.cluster_template))


def main() -> None:
    """Run a command. A mistake that the user can fix is one message and exit status 2, never a traceback."""
    signal.signal(signal.SIGTERM, on_sigterm)
    thresholds = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        app()
    except UserError as error:
        note(f"dmd-study: {error}")
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    finally:
        gc.set_threshold(*thresholds)
