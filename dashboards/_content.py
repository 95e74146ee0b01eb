"""Contents of pages, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Heatmap:
    """A heatmap on the dashboard."""

    id: str
    """Letters, digits and hyphens."""
    title: str
    x: str
    """Label of the axis to the right."""
    y: str
    """Label of the axis upwards."""
    x_values: Sequence[str]
    y_values: Sequence[str]
    levels: Sequence[Sequence[float | None]]
    """Place of each cell's value in ``colours``, 0 to 1, by row (y) and column (x); None for a cell without a value."""
    words: Sequence[Sequence[str]]
    """Text on each cell, in the order of the levels."""
    colours: Sequence[str]
    """Colours of the scale, that of the lowest value first."""
    scale: Sequence[str]
    """Text beside the lowest, the middle and the highest colour."""


@dataclass(frozen=True)
class Shown:
    """Additions to the dashboard's page on a study."""

    note: str
    """Markdown."""
    heatmaps: Sequence[Heatmap] = ()
    """Heatmaps in the order in which they are shown."""
    objective: str | None = None
    """Name of the trials' value in place of the stored one; None for the stored one."""
    importances: Mapping[str, float] | None = None
    """Bars of the panel Hyperparameter Importance, from the top: label -> length; None for Optuna's own numbers."""
    captions: Mapping[str, str] = field(default_factory=dict)
    """Start of a panel's heading -> sentence that is shown below it."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attributes of the study that are shown before the stored ones."""
    logarithmic: bool = False
    """True if scales of values that can be logarithmic are so at first."""


@dataclass(frozen=True)
class TextTable:
    """A table of texts."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    """Names of the columns; empty for a list of names and values."""


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    label: str
    share: float
    """Length, as a share of 1."""
    low: float | None
    """Lower end of the interval around the share, if there is one."""
    high: float | None
    """Upper end of that interval."""
    text: str
    """Share and interval in words."""


@dataclass(frozen=True)
class Bars:
    """A chart of bars."""

    title: str
    note: str
    """Help to read the chart."""
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Snippet:
    """A text with a button that copies it."""

    title: str
    text: str


@dataclass(frozen=True)
class Report:
    """Contents of the report. All text is plain: markup in it is shown as it is written."""

    title: str
    question: str
    verdict: Literal["yes", "no", "unsure"]
    answer: Sequence[str]
    """Sentences."""
    details: Sequence[str]
    """Further sentences below the answer."""
    explorer: Mapping[str, Any]
    """Data of the heatmaps, plain and without nan or infinity:

    ========== =============================================================================================
    axes       ``{key, label, values}`` each; the cells are their product, the last axis fastest
    x, y       axes that are shown to the right and upwards at first
    seeds      names of the seeds
    states     letter -> ``{word, look}``: the states of a cell; looks are classes of the page's style
    statuses   per cell, a letter per seed
    ramps      name -> colours as #rrggbb, from that of the lowest value on
    metrics    ``{column, name, title, split, meaning, scale, reference, low, high, ramp, centre, spread,
               values, states, lowest, lowest_as}`` each; per cell ``centre`` and ``spread`` over seeds and
               ``values`` by seed, "inf" or "-inf" if infinite, None if there is none; ``states`` a letter per cell;
               ``lowest`` the index of the cell with the best value, or None; ``lowest_as`` its name
    cells      per cell, per seed: ``{train, test, jumps, baseline, end}`` or None; a curve is
               ``[epochs, losses]``, jumps ``[epochs, ratios (train), ratios (test), taken (0 or 1)]``,
               ``baseline`` an index into ``baselines``, ``end`` how the training ended, in words
    baselines  ``{train, test}`` each
    recommended  index of the study's recommended cell, or None; ``recommended_as`` its name
    first      index of the cell whose curves are shown at first
    note       says what was left out of the curves
    ========== =============================================================================================
    """
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
