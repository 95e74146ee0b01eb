"""A report as one HTML file that opens offline: data in, text out. What a study is, it does not know."""

import base64
import hashlib
import json
from importlib import resources

from dashboards._content import Report

SCRIPTS = ("charts.js", "heatmap.js")


def render_report(report: Report) -> str:
    """The report as the text of one HTML file: the same for the same report, and with nothing to be fetched.

    Raises:
        ValueError: the explorer's data hold nan or infinity, which JSON has no words for.
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
    # within a script element only "<" can begin what ends it
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
    """As a Content-Security-Policy names an inline script or style that may be used."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
