"""The Optuna dashboard on a storage, with notes and heatmaps added. It is read-only."""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dashboards._content import Shown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


REFRESH_S = 10.0
"""Seconds between updates of the notes and heatmaps, while a study runs."""


_logger = logging.getLogger(__name__)


def serve_optuna(
    url: str,
    host: str,
    port: int,
    ready: Callable[[str], None],
    *,
    shown: Mapping[str, Shown] | None = None,
    refresh: Callable[[], Mapping[str, Shown] | None] = lambda: None,
    pages: Mapping[str, Path] | None = None,
    engine_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Serve the dashboard on every study of an Optuna storage, until interrupted. Nothing is written to the storage.

    Args:
        url: URL of the storage, as Optuna takes it.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        ready: called with the page's address once it can be opened.
        shown: notes and heatmaps to add, by the names of the studies.
        refresh: called every ten seconds in a thread of its own; returns new additions, or None to keep the old ones.
        pages: HTML files to serve as well, by their paths, such as ``/report``; they may be written later.
        engine_kwargs: as SQLAlchemy's ``create_engine`` takes them.

    Raises:
        OSError: the port is taken, or the address is not of this machine.
    """
    from optuna.storages import get_storage
    from optuna_dashboard import wsgi

    from dashboards._shown_storage import ShownStorage

    storage = ShownStorage(url, engine_kwargs or {})
    storage.show(shown or {})
    app = _only_read(wsgi(get_storage(storage)), pages or {})
    server: WSGIServer = make_server(host, port, app, handler_class=_Quiet)
    # in a thread of its own: a request would swallow an interrupt that comes while it is answered
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    stopped = threading.Event()
    refresher = threading.Thread(target=_keep_fresh, args=(storage.show, refresh, stopped), daemon=True)
    with server:
        thread.start()
        refresher.start()
        try:
            ready(f"http://{host}:{server.server_port}/")
            thread.join()
        finally:
            stopped.set()
            server.shutdown()


def _keep_fresh(
    show: Callable[[Mapping[str, Shown]], None],
    refresh: Callable[[], Mapping[str, Shown] | None],
    stopped: threading.Event,
) -> None:
    last_error = ""
    while not stopped.is_set():
        try:
            fresh = refresh()
            if fresh is not None:
                show(fresh)
        except Exception as error:  # the study may be written to just now: read it again later
            if str(error) != last_error:
                last_error = str(error)
                _logger.warning("The heatmaps on the dashboard could not be updated and stay as they were: %s", error)
        stopped.wait(REFRESH_S)


def _only_read(app: "WSGIApplication", pages: Mapping[str, Path]) -> "WSGIApplication":
    """Refuse all requests that would change a study: only the process that runs it writes to it."""

    def wrapped(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            reason = "This dashboard shows a study and changes nothing in it."
            return _answer(start_response, "403 Forbidden", "application/json", json.dumps({"reason": reason}).encode())
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            return app(environ, start_response)
        try:
            return _answer(start_response, "200 OK", "text/html; charset=utf-8", page.read_bytes())
        except OSError:
            reason = f"There is no {page.name} yet."
            return _answer(start_response, "404 Not Found", "text/plain; charset=utf-8", reason.encode())

    return wrapped


def _answer(start_response: "StartResponse", status: str, kind: str, body: bytes) -> list[bytes]:
    # a folder may come from anybody: its page must not reach the dashboard's data or the network
    fence = "sandbox allow-scripts; default-src 'unsafe-inline' data:"
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Content-Security-Policy", fence)]
    start_response(status, headers)
    return [body]


class _Quiet(WSGIRequestHandler):
    """A handler that prints no line per request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
