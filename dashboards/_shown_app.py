"""The Optuna dashboard's web application, with the additions that its storage cannot carry. It is read-only."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboards._content import Shown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SCRIPT = "/shown.js"
"""Path of the script that shows captions and presets scales on the dashboard's pages."""
_FENCE = "sandbox allow-scripts; default-src 'unsafe-inline' data:"


class ShownApp:
    """The dashboard as a WSGI application that answers some requests in its own way.

    Args:
        app: the Optuna dashboard.
        shown: returns the additions to a study by the number of the study; None if it has none.
        pages: HTML files to serve as well, by their paths.
        freshen: brings the additions up to date.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        shown: Callable[[int], Shown | None],
        pages: Mapping[str, Path],
        freshen: Callable[[], object],
    ) -> None:
        self._app, self._shown, self._pages, self._freshen = app, shown, pages, freshen

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request. Refuse all that would change a study: only the process that runs it writes to it."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            reason = "This dashboard shows a study and changes nothing in it."
            return _answer(start_response, "403 Forbidden", "application/json", json.dumps({"reason": reason}).encode())
        path = environ["PATH_INFO"].rstrip("/")
        if path in self._pages:
            return _file(start_response, self._pages[path])
        if path == SCRIPT:
            script = resources.files("dashboards").joinpath("page", "optuna.js").read_bytes()
            return _answer(start_response, "200 OK", "text/javascript; charset=utf-8", script)
        if path == "/dashboard" or path.startswith("/dashboard/"):
            return self._changed(environ, start_response, _with_script)
        if study := re.fullmatch(r"/api/studies/(\d+)", path):
            return self._changed(environ, start_response, _in_order(self._shown(int(study[1]))))
        if study := re.fullmatch(r"/shown/(\d+)", path):
            return self._page_data(start_response, self._shown(int(study[1])))
        if study := re.fullmatch(r"/api/studies/(\d+)/param_importances", path):
            self._freshen()  # a page asks only once for as many trials
            additions = self._shown(int(study[1]))
            if additions is not None and additions.importances is not None:
                return _importances(start_response, additions.importances)
        return self._app(environ, start_response)

    def _page_data(self, start_response: "StartResponse", shown: Shown | None) -> list[bytes]:
        """Answer with the data of the script."""
        data = {
            "captions": dict(shown.captions) if shown else {},
            "logarithmic": shown is not None and shown.logarithmic,
        }
        return _answer(start_response, "200 OK", "application/json", json.dumps(data).encode())

    def _changed(
        self, environ: "WSGIEnvironment", start_response: "StartResponse", change: Callable[[bytes], bytes]
    ) -> list[bytes]:
        """Answer as the dashboard does, but change the body of a good answer."""
        answered: list[Any] = []

        def _keep(status: str, headers: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], object]:
            answered[:] = [status, headers]
            return lambda data: None

        for condition in ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH"):  # the browser's copy may lack the change
            environ.pop(condition, None)
        parts = self._app(environ, _keep)
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        status, headers = answered
        if status.startswith("200") and body:
            body = change(body)
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))
        start_response(status, headers)
        return [body]


def _with_script(page: bytes) -> bytes:
    return page.replace(b"</head>", f'<script defer src="{SCRIPT}"></script></head>'.encode(), 1)


def _in_order(shown: Shown | None) -> Callable[[bytes], bytes]:
    """Return a function that puts the heatmaps of a study's data in order, since the dashboard loses it."""
    places = {heatmap.id: place for place, heatmap in enumerate(shown.heatmaps)} if shown else {}

    def change(body: bytes) -> bytes:
        if len(places) < 2:
            return body
        detail = json.loads(body)
        detail["plotly_graph_objects"].sort(key=lambda plot: (places.get(plot["id"], len(places)), plot["id"]))
        return json.dumps(detail).encode()

    return change


def _importances(start_response: "StartResponse", bars: Mapping[str, float]) -> list[bytes]:
    listed = [{"name": name, "importance": length, "distribution": ""} for name, length in bars.items()]
    body = json.dumps({"param_importances": [listed]}).encode()
    return _answer(start_response, "200 OK", "application/json", body)


def _file(start_response: "StartResponse", page: Path) -> list[bytes]:
    try:
        return _answer(start_response, "200 OK", "text/html; charset=utf-8", page.read_bytes())
    except OSError:
        reason = f"There is no {page.name} yet."
        return _answer(start_response, "404 Not Found", "text/plain; charset=utf-8", reason.encode())


def _answer(start_response: "StartResponse", status: str, kind: str, body: bytes) -> list[bytes]:
    # a folder may come from anybody: its page must not reach the dashboard's data or the network
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Content-Security-Policy", _FENCE)]
    start_response(status, headers)
    return [body]
