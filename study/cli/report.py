"""Commands that make or serve a page on a study. They import nothing that a record names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.console import Folder, Storage, as_user_errors, err_console, opened, say
from study.cli.printing import write_report
from study.errors import UserError

if TYPE_CHECKING:
    import optuna

    from study.record import Record


def report(
    folder: Folder,
    to: Annotated[Path | None, typer.Option(help="FILE.html; DIR/report.html by default.")] = None,
    storage: Storage = None,
) -> None:
    """Write the report: one HTML file that opens offline, with the answer, heatmaps, curves, costs and failures."""
    if to is not None and to.suffix not in (".html", ".htm"):
        raise UserError(f"--to must end in .html, got {to}")
    record = opened(folder, storage)
    with as_user_errors():
        write_report(record, to)


def dashboard(
    folder: Folder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback is open to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    storage: Storage = None,
) -> None:
    """Serve the Optuna dashboard on this study until interrupted, also while it runs. It changes nothing."""
    from dashboards import Shown, serve_optuna
    from study.analysis.pages.optuna_dashboard import note_of, shown_of

    record = opened(folder, storage)
    seen = -1

    def notes(of: "Record") -> dict[str, Shown]:
        return {
            study.study_name: Shown(note_of(study.study_name, of.spec, _objective(study)))
            for study in (of.study, of.baseline)
        }

    def refresh() -> dict[str, Shown] | None:
        nonlocal seen
        if len(record.done()) == seen:
            return None
        now = opened(folder, storage)  # whose spec may be another one
        found, table = len(now.done()), now.table()
        shown = shown_of(now.name, now.spec, _objective(now.study), table, now.grid.axes)
        now.close()
        seen = found
        return {**notes(record), record.name: shown}

    if host not in ("127.0.0.1", "localhost"):
        err_console.print(f"Listening on {host}: whoever reaches this machine can read the study.")
    try:
        serve_optuna(
            record.url,
            host,
            port,
            lambda where: say(f"{where}  (Ctrl-C ends it)"),
            shown=notes(record),
            refresh=refresh,
            pages={"/report": record.folder / "report.html"},
            engine_kwargs=record.engine_options,
        )
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port}: {error}; choose another --port") from error


def _objective(study: "optuna.Study") -> str:
    return (study.metric_names or ["value"])[0]
