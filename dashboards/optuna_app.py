"""The Optuna dashboard on a storage, with notes, heatmaps and explanations added. It is read-only."""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dashboards._content import Shown

REFRESH_S = 10.0
"""Seconds between updates of what is added, while a study runs."""
WAIT_S = 5.0
"""Longest time that a page waits for an update."""


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
        shown: what to add, by the names of the studies.
        refresh: called every ten seconds, and when a page asks for importances, in a thread of its own; returns new
            additions, or None to keep the old ones.
        pages: HTML files to serve as well, by their paths, such as ``/report``; they may be written later.
        engine_kwargs: as SQLAlchemy's ``create_engine`` takes them.

    Raises:
        OSError: the port is taken, or the address is not of this machine.
    """
    from optuna.storages import get_storage
    from optuna_dashboard import wsgi

    from dashboards._shown_app import ShownApp
    from dashboards._shown_storage import ShownStorage

    storage = ShownStorage(url, engine_kwargs or {})
    storage.show(shown or {})
    refresher = _Refresher(storage.show, refresh)
    app = ShownApp(wsgi(get_storage(storage)), storage.shown, pages or {}, refresher.freshen)
    server: WSGIServer = make_server(host, port, app, handler_class=_Quiet)
    # in a thread of its own: a request would swallow an interrupt that comes while it is answered
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    with server:
        thread.start()
        refresher.start()
        try:
            ready(f"http://{host}:{server.server_port}/")
            thread.join()
        finally:
            refresher.stop()
            server.shutdown()


class _Refresher(threading.Thread):
    """A thread that brings the additions up to date every `REFRESH_S`, and when asked."""

    def __init__(
        self, show: Callable[[Mapping[str, Shown]], None], refresh: Callable[[], Mapping[str, Shown] | None]
    ) -> None:
        super().__init__(daemon=True)
        self._show, self._refresh = show, refresh
        self._asked, self._change = threading.Event(), threading.Condition()
        self._begun = self._ended = 0
        self._halted = False
        self._last_error = ""

    def run(self) -> None:
        """Refresh until stopped."""
        while not self._halted:
            self._asked.clear()
            with self._change:
                self._begun += 1
            try:
                fresh = self._refresh()
                if fresh is not None:
                    self._show(fresh)
            except Exception as error:  # the study may be written to just now: read it again later
                if str(error) != self._last_error:
                    self._last_error = str(error)
                    _logger.warning(
                        "The heatmaps on the dashboard could not be updated and stay as they were: %s", error
                    )
            with self._change:
                self._ended += 1
                self._change.notify_all()
            self._asked.wait(REFRESH_S)

    def freshen(self) -> None:
        """Refresh now, and wait for it, `WAIT_S` at most."""
        with self._change:
            wanted = self._begun + 1
            self._asked.set()
            self._change.wait_for(lambda: self._ended >= wanted, WAIT_S)

    def stop(self) -> None:
        """End the thread after what it does just now."""
        self._halted = True
        self._asked.set()


class _Quiet(WSGIRequestHandler):
    """A handler that prints no line per request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
