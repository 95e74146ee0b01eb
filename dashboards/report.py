"""A report as one HTML file that opens offline: data in, text out."""

import base64
import hashlib
import json
from importlib import resources

from dashboards._content import Report

SCRIPTS = ("charts.js", "heatmap.js")


def render_report(report: Report) -> str:
    """Return the report as the text of one HTML file, which fetches nothing. The same report gives the same text.

    Raises:
        ValueError: the explorer's data hold nan or infinity, which JSON cannot write.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    page = Environment(
        loader=PackageLoader("dashboards", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = _asset("page.css"), "".join(map(_asset, SCRIPTS))
    # a script element can be ended only by what begins with "<"
    data = json.dumps(report.explorer, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return page.get_template("page.html").render(
        report=report,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=Markup(data),
    )


def _asset(name: str) -> str:
    return resources.files("dashboards").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the name by which a Content-Security-Policy allows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
