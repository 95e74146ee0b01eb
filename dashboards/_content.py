"""What pages are handed: plain data, whatever a study is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Heatmap:
    """A picture on the dashboard. ``levels``: where in ``colours`` each value is, 0 to 1, None where it has none.

    ``id``: letters, digits and hyphens. ``words``: what is said of each cell, (y, x) as the levels. ``scale``: what is
    written beside the lowest, the middle and the highest colour.
    """

    id: str
    title: str
    x: str
    y: str
    x_values: Sequence[str]
    y_values: Sequence[str]
    levels: Sequence[Sequence[float | None]]
    words: Sequence[Sequence[str]]
    colours: Sequence[str]
    scale: Sequence[str]


@dataclass(frozen=True)
class Shown:
    """What is shown beside a study: a note in Markdown, and heatmaps."""

    note: str
    heatmaps: Sequence[Heatmap] = ()


@dataclass(frozen=True)
class TextTable:
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
    best: TextTable
    snippets: Sequence[Snippet]
    cost: TextTable
    cost_note: str
    jumps: TextTable
    provenance: TextTable
    spec: str
    failures: TextTable
    failures_note: str
    warnings: Sequence[str] = field(default_factory=tuple)
