"""Commands that make or serve a page on a study. They import nothing that a record names."""

from pathlib import Path
from typing import Annotated

import typer

from study.cli import results
from study.cli.console import Folder, Storage, as_user_errors, note, opened, say
from study.errors import UserError


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
        results.report(record, to)


def dashboard(
    folder: Folder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback is open to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    storage: Storage = None,
) -> None:
    """Serve the Optuna dashboard on this study until interrupted, also while it runs. It changes nothing."""
    from study.products import serve_dashboard

    record = opened(folder, storage)
    if host not in ("127.0.0.1", "localhost"):
        note(f"Listening on {host}: whoever reaches this machine can read the study.")
    try:
        serve_dashboard(
            record,
            lambda: opened(folder, storage),
            host=host,
            port=port,
            ready=lambda where: say(f"{where}  (Ctrl-C ends it)"),
        )
    except (OSError, OverflowError) as error:
        raise UserError(f"cannot listen on {host}:{port}: {error}; choose another --port") from error
