"""A report as one HTML file that opens offline: data in, text out. What a study is, it does not know."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

SCRIPTS = ("charts.js", "heatmap.js")


@dataclass(frozen=True)
class Grid:
    """A table in words. ``head`` names its columns; none for a list of names and values."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: its length as a share of 1, the interval around it if there is one, and both in words."""

    label: str
    share: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Bars:
    """A chart of bars, with what it shows and what must be known to read it."""

    title: str
    note: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Snippet:
    """Text to take away, with a button that copies it."""

    title: str
    text: str


@dataclass(frozen=True)
class Report:
    """What the page holds. All text is plain: markup in it is shown, never obeyed.

    ``explorer``: what the heatmaps are drawn from, as plain data without nan or infinity:

    ========== =============================================================================================
    axes       ``{key, label, values}`` each; the cells are their product, the last axis fastest
    x, y       the axes shown to the right and upwards at first
    seeds      names of the seeds
    states     letter -> ``{word, look}``: the states a cell can be in; looks are classes of the page's style
    statuses   per cell, a letter per seed
    ramps      name -> colours as #rrggbb, the lowest value's first
    metrics    ``{column, name, title, split, meaning, scale, reference, low, high, ramp, centre, spread,
               values, states, best}`` each; per cell ``centre`` and ``spread`` over seeds and ``values`` by
               seed, "inf" or "-inf" where infinite, None where there is none; ``states`` a letter per cell;
               ``best`` the index of the best cell, or None
    cells      per cell, per seed: ``{train, test, jumps, baseline, end}`` or None; a curve is
               ``[epochs, losses]``, jumps ``[epochs, ratios (train), ratios (test), taken (0 or 1)]``,
               ``baseline`` an index into ``baselines``, ``end`` how it ended, in words
    baselines  ``{train, test}`` each
    first      index of the cell whose curves are shown at first
    note       what was left out of the curves
    ========== =============================================================================================
    """

    title: str
    question: str
    verdict: Literal["yes", "no", "unsure"]
    answer: Sequence[str]
    explorer: Mapping[str, Any]
    sensitivity: Sequence[Bars]
    sensitivity_note: str
    best: Grid
    snippets: Sequence[Snippet]
    cost: Grid
    cost_note: str
    provenance: Grid
    spec: str
    failures: Grid
    failures_note: str
    warnings: Sequence[str] = field(default_factory=tuple)


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
