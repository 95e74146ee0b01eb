"""Style of the study's figures: fonts, colours, and the words on their axes."""

import base64
import html
import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib.style
import numpy as np
import seaborn
from matplotlib.artist import Artist
from matplotlib.axis import Axis, XAxis
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from study.analysis.statistics.cells import State, list_values
from study.replicates.metric_catalogue import Metric

RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that figures are the same on every machine
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "figure.titlesize": 11.5,
    "hatch.linewidth": 0.7,
    "pdf.fonttype": 42,
    "svg.hashsalt": "dmd-study",  # without it, identifiers inside an SVG are random
}
"""Settings of matplotlib."""

_NOTEBOOK_DPI = 100
_TURN = 40
"""Angle in degrees of tick labels that would touch each other."""

INK = "#1a1a1a"

LINES: tuple[dict[str, Any], ...] = (
    {"color": "#000000", "linestyle": "-"},
    {"color": "#0072b2", "linestyle": "-"},
    {"color": "#e69f00", "linestyle": (0, (5, 1.5))},
    {"color": "#009e73", "linestyle": (0, (1, 1))},
    {"color": "#cc79a7", "linestyle": (0, (4, 1, 1, 1))},
    {"color": "#56b4e9", "linestyle": (0, (7, 2))},
    {"color": "#d55e00", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
    {"color": "#7f7f7f", "linestyle": "-"},
)
"""Styles of lines. They differ in brightness and dashes too; the colours (Okabe and Ito) suit every colour vision."""

STAR: dict[str, Any] = {
    "marker": "*",
    "linestyle": "none",
    "markerfacecolor": "#ffd92f",
    "markeredgecolor": "black",
    "markeredgewidth": 0.6,
}
"""Mark of the best cell."""

STATE_LOOK: dict[State, tuple[str, str, str]] = {
    "diverged": ("xxxx", "#d9d9d9", "diverged (half of its seeds or more)"),
    "infinite": ("++++", "#f2f2f2", "finished, value not finite"),
    "failed": ("----", "#f0e6c8", "failed"),
    "pruned": ("\\\\\\\\", "#ffffff", "pruned (stopped early)"),
    "missing": ("....", "#ffffff", "not run yet"),
}
"""State of a cell without a number -> its hatch, the colour of its face, and its words in a legend."""

_AXIS_LABEL = {
    "m": "snapshots per jump $m$",
    "s": "horizon $s$ (steps)",
    "tolerance": r"tolerance $\sigma_k/\sigma_0$",
    "training.lr": "learning rate",
    "training.batch": "batch size",
    "training.epochs": "epochs",
    "training.optimizer": "optimiser",
    "network.hidden": "widths of hidden layers",
    "network.activation": "activation",
}

SPLIT_LABEL = {"train": "Training set", "test": "Test set"}


def house_style() -> AbstractContextManager[None]:
    """Draw with matplotlib's defaults and `RC`, whatever the user has set; the user's settings come back afterwards."""
    return matplotlib.style.context(["default", RC])


class StudyFigure(Figure):
    """A figure of no window that shows itself in a notebook, whatever matplotlib's backend is."""

    def _repr_png_(self) -> bytes:
        """Return the picture as PNG, which a notebook asks for."""
        picture = io.BytesIO()
        with house_style():
            self.savefig(picture, format="png", dpi=_NOTEBOOK_DPI)
        return picture.getvalue()


class ShownFigures(dict[str, Figure]):
    """Figures by name, which a notebook shows one below the other."""

    def _repr_html_(self) -> str:
        """Return all pictures, which a notebook asks for."""
        pictures = []
        for name, figure in self.items():
            assert isinstance(figure, StudyFigure)
            source = base64.b64encode(figure._repr_png_()).decode()
            pictures.append(f'<p><img alt="{html.escape(name)}" src="data:image/png;base64,{source}"></p>')
        return "\n".join(pictures)


def axis_label(key: str) -> str:
    """Return the words for an axis; a key without words is returned as it is."""
    return _AXIS_LABEL.get(key, key)


def value_label(value: Any) -> str:
    """Return the text of a tick: floats are shortened, and a dollar sign is escaped, so that it starts no formula."""
    return list_values([value]).replace("$", r"\$")


def label_width(values: Iterable[Any]) -> float:
    """Return the width in inches of the longest label of these values."""
    return 0.065 * max((len(value_label(value)) for value in values), default=0)  # a letter is about so wide


def turned_height(values: Sequence[Any], room_in: float) -> float:
    """Return the height in inches that labels take if they must be turned, because they would touch; else 0."""
    width = label_width(values)
    return math.sin(math.radians(_TURN)) * width if len(values) > 1 and width + 0.05 > room_in else 0.0


def label_values(axis: Axis, places: Iterable[float], values: Sequence[Any], room_in: float) -> None:
    """Put values at the ticks of an axis; labels of a horizontal axis are turned where they would touch each other.

    Args:
        axis: Axis to label.
        places: Places of the ticks.
        values: Value at each tick.
        room_in: Distance between ticks in inches.
    """
    labels = [value_label(value) for value in values]
    axis.set_ticks(list(places), labels)
    if isinstance(axis, XAxis) and turned_height(values, room_in):
        for tick in axis.get_ticklabels():
            tick.set(rotation=_TURN, ha="right", rotation_mode="anchor")


def setting_label(key: str, value: Any) -> str:
    """Return the text of one axis at one value, as in a panel's title."""
    sign = ">" if key == "tolerance" else "="
    return f"{axis_label(key)} {sign} {value_label(value)}"


def cell_label(cell: Mapping[str, Any]) -> str:
    """Return a cell in one line, with the keys of the spec."""
    return ", ".join(f"{key} = {value_label(value)}" for key, value in cell.items())


def caption(figure: Figure, text: str) -> str:
    """Break a text into lines that fit under a figure."""
    return textwrap.fill(text, int(figure.get_figwidth() / 0.075))  # a letter is about 0.075 inches wide


def in_lines(parts: Sequence[str], letters: float) -> str:
    """Join the parts of a title by commas, with a new line before a part that would make a line too long."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and len(re.sub(r"[${}\\_]|sigma", "", longer)) <= letters:
            lines[-1] = longer
        else:
            lines = [*(f"{line}," if line is lines[-1] else line for line in lines), part]
    return "\n".join(lines)


def in_short_lines(text: str) -> str:
    """Break a text at its commas, and where a line would still be too long for the side of a panel."""
    return "\n".join(textwrap.fill(line, 36) for line in text.replace(", ", ",\n").splitlines())


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str], title: str, **options: Any) -> None:
    """Draw a legend under a figure.

    Args:
        figure: Figure to add the legend to.
        handles: Marks of the legend.
        labels: Text of each mark.
        title: Caption of the figure, printed above the marks.
        **options: Other options of `Figure.legend`.
    """
    size = RC["legend.fontsize"]
    figure.legend(
        handles, labels, title=title, title_fontsize=size, loc="outside lower center", frameon=False, **options
    )


def shown_ticks(n: int, max_labels: int = 12) -> NDArray[np.intp]:
    """Return the indices of at most ``max_labels`` values that get a label: evenly spaced, including the last."""
    step = math.ceil(n / max_labels)
    return np.arange((n - 1) % step, n, step)


def round_ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Return round numbers inside the limits; on a wide log scale, 1, 2 and 5 of each decade.

    Args:
        low: Lower limit.
        high: Upper limit.
        logarithmic: True for a log scale.
    """
    if logarithmic and low > 0 and high / low > 4:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = (1, 2, 5) if high / low < 1e3 else (1,)
        ticks = [digit * 10.0**exponent for exponent in exponents for digit in digits]
        ticks = ticks[:: math.ceil(len(ticks) / 12)] if digits == (1,) else ticks
    else:
        ticks = list(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    slack = 1e-9 * (high - low)
    return [tick for tick in ticks if low - slack <= tick <= high + slack]


def label_plainly(axis: Axis) -> None:
    """Label a logarithmic axis with round numbers, even if it spans less than a decade. Draw all data first."""
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(FixedLocator(round_ticks(low, high, logarithmic=True)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def number_label(value: float) -> str:
    """Return a value as text of five or six characters, to print inside a cell."""
    size = abs(value)
    if not math.isfinite(size):
        return ""
    if size != 0 and (size >= 1e4 or size < 1e-4):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if 0 < size < 0.1:
        return f"{value:.4f}".replace("0.", ".")
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3f}"


def colour_map(metric: Metric) -> Colormap:
    """Return the colours of a metric: blue is better and red is worse than the reference; without one, dark is better.

    Blue and orange-red can be told apart with every common colour vision. The blue end is much darker than the red one,
    so that the best cells are the darkest in a grey print.
    """
    ramp = ["#08306b", "#2171b5", "#6baed6", "#c6dbef", "#f7f7f7", "#fddfd0", "#fbb497", "#f5855f", "#e8553a"]
    if metric.scale not in ("ratio", "signed"):
        ramp = ["#08306b", "#2171b5", "#6baed6", "#c6dbef", "#f7fbff"]
    colours: Colormap = seaborn.blend_palette(
        ramp[::-1] if metric.higher_is_better else ramp, n_colors=256, as_cmap=True
    )
    return colours


def colour_norm(metric: Metric, limits: tuple[float, float]) -> Normalize:
    """Return the scale of all panels: logarithmic for ratios and losses, so that 0.5 and 2 are equally far from 1."""
    if metric.scale in ("ratio", "log") and limits[0] > 0:
        return LogNorm(*limits)
    return Normalize(*limits)
